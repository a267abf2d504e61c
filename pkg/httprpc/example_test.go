package httprpc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

type Question struct {
	Name string `json:"name"`
	Loud bool   `json:"loud,omitempty"`
}

type Greeting struct {
	Text string `json:"text"`
}

var (
	Greet   = leveret.NewRequest[Question, Greeting]("greeter.greet", leveret.HTTP("GET /greetings/{name}"))
	Greeter = leveret.NewService("greeter", leveret.Answers(Greet))
	Visitor = leveret.NewService("visitor", leveret.Calls(Greet))
)

// A service answers a request over HTTP, and another one makes it. There is no broker. The handler and the call are the
// same as over RabbitMQ.
func Example() {
	h := leveret.NewHandlers(Greeter, leveret.HandlersConfig{})
	Greet.Answer(h, func(_ context.Context, q Question) (Greeting, error) {
		if q.Name == "nobody" {
			return Greeting{}, leveret.Errorf(leveret.NotFound, "there is nobody")
		}
		return Greeting{Text: "Hello, " + q.Name}, nil
	})
	handler, err := httprpc.NewServer(h, httprpc.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(handler) // in a program: an http.Server with its time limits
	defer server.Close()

	caller, err := httprpc.NewCaller(httprpc.CallerConfig{Service: Visitor, URLs: []string{server.URL}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer caller.Close()
	ctx := context.Background()
	greeting, err := Greet.Call(ctx, caller, Question{Name: "Ada"})
	fmt.Println(greeting.Text, err)
	_, err = Greet.Call(ctx, caller, Question{Name: "nobody"})
	fmt.Println(errors.Is(err, leveret.NotFound), err)

	// Any other client does, too.
	response, err := http.Get(server.URL + "/greetings/Ada?loud=perhaps")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	fmt.Println(response.Status, response.Header.Get("Content-Type"))
	// Output:
	// Hello, Ada <nil>
	// true not_found: there is nobody
	// 400 Bad Request application/problem+json
}
