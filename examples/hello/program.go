package hello

import (
	"context"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/service"
)

// Program is the service as something to run: hellod, or a part of a test. Connection, log, health, metrics, signals and
// draining come with it.
func Program() service.Program {
	return service.Program{
		Service: Service,
		About:   "hellod greets people.",
		Keys: []config.Key{{
			Name: "hello.salutation", Type: config.String, Default: "Hello", Usage: "what it says before the name",
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
