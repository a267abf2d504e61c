package grpcrpc_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	greetv1 "github.com/leveretmq/leveret/pkg/grpcrpc/internal/testproto/leveret/test/v1"
	"github.com/leveretmq/leveret/pkg/leveret"
)

type Question struct {
	Name string `json:"name"`
}

type Answer struct {
	Text string `json:"text"`
}

// A request, the services that answer and make it, and the method of a generated service that it travels by.
var (
	Greet   = leveret.NewRequest[Question, Answer]("greeter.greet")
	Greeter = leveret.NewService("greeter", leveret.Answers(Greet))
	Guest   = leveret.NewService("guest", leveret.Calls(Greet))

	greet = grpcrpc.Unary(Greet, greetv1.GreetService_Greet_FullMethodName,
		func(q Question) *greetv1.GreetRequest { return &greetv1.GreetRequest{Name: q.Name} },
		func(p *greetv1.GreetRequest) Question { return Question{Name: p.GetName()} },
		func(a Answer) *greetv1.GreetResponse { return &greetv1.GreetResponse{Text: a.Text} },
		func(p *greetv1.GreetResponse) Answer { return Answer{Text: p.GetText()} })
)

func Example() {
	// The handlers are those that a worker serves over RabbitMQ.
	h := leveret.NewHandlers(Greeter, leveret.HandlersConfig{})
	Greet.Answer(h, func(_ context.Context, q Question) (Answer, error) {
		if q.Name == "" {
			return Answer{}, leveret.Errorf(leveret.InvalidArgument, "name: is required")
		}
		return Answer{Text: "Hello, " + q.Name}, nil
	})
	server, err := grpcrpc.NewServer(h, grpcrpc.ServerConfig{}, greet)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()

	caller, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{Service: Guest, Addresses: []string{listener.Addr().String()}}, greet)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := Greet.Call(context.Background(), caller, Question{Name: "Ada"})
	fmt.Println(answer.Text, err)
	_, err = Greet.Call(context.Background(), caller, Question{})
	fmt.Println(err, leveret.IsRemote(err))

	if err := caller.Close(); err != nil {
		log.Fatal(err)
	}
	server.GracefulStop()
	fmt.Println(<-served)
	// Output:
	// Hello, Ada <nil>
	// invalid_argument: name: is required true
	// <nil>
}
