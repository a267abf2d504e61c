package hello

import (
	"context"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/service"
)

// Program returns the service as a program, to be run as hellod or in a test. Package service adds the connection,
// logging, health checks, metrics, signals and graceful shutdown.
func Program() service.Program {
	return service.Program{
		Service: Service,
		About:   "hellod greets people.",
		Keys: []config.Key{{
			Name: "hello.salutation", Type: config.String, Default: "Hello", Usage: "the word before the name",
		}},
		Setup: func(_ context.Context, rt *service.Runtime) error {
			var own struct {
				Salutation string `config:"salutation"`
			}
			if err := rt.Decode("hello", &own); err != nil {
				return err
			}
			NewGreeter(own.Salutation, rt.Client).Register(rt.Handlers)
			return nil
		},
	}
}
