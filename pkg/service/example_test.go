package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/service"
)

type Greeting struct {
	Name string `json:"name"`
}

// hello is a whole service. Its main function would be: func main() { service.Main(hello()) }.
func hello() service.Program {
	greet := leveret.NewCommand[Greeting]("hello.greet")
	return service.Program{
		Service: leveret.NewService("hello", leveret.Handles(greet)),
		Version: "1.0.0",
		About:   "hellod greets people.",
		Keys: []config.Key{
			{Name: "hello.word", Type: config.String, Default: "Hello", Usage: "what to say to people"},
		},
		Setup: func(_ context.Context, rt *service.Runtime) error {
			var own struct {
				Word string `config:"word"`
			}
			if err := rt.Decode("hello", &own); err != nil {
				return err
			}
			if own.Word == "" {
				return errors.New("hello.word is empty")
			}
			greet.Handle(rt.Handlers, func(ctx context.Context, g Greeting) error {
				rt.Logger.InfoContext(ctx, own.Word, "name", g.Name)
				return nil
			})
			return nil
		},
	}
}

// A program is a value: its process is service.Main, and a test or another program runs it with arguments of its own.
func ExampleProgram() {
	code := hello().Run(context.Background(), []string{"--version"}, os.Stdout, os.Stderr)
	fmt.Println("exit code", code)
	code = hello().Run(context.Background(), []string{
		"--broker-url", "amqp://127.0.0.1:1/", "--broker-connect-timeout", "10ms",
		"--health-address", "off", "--log-level", "error",
	}, os.Stdout, io.Discard)
	fmt.Println("exit code", code)
	// Output:
	// hellod 1.0.0
	// exit code 0
	// exit code 7
}
