package hello

import (
	"context"
	"errors"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/service"
)

// Program returns the service as a program, to be run as hellod or in a test. Package service adds the connection,
// logging, health checks, metrics, signals and graceful shutdown. A worker serves the handlers over RabbitMQ; Setup has
// them served over HTTP and gRPC, too.
func Program() service.Program {
	return service.Program{
		Service:   Service,
		About:     "hellod greets people.",
		Keys:      keys(),
		OtherKeys: greeterKeys(), // the command line may use the same file
		// three transports: begin
		Defaults: map[string]string{"http.address": "127.0.0.1:8080", "grpc.address": "127.0.0.1:9080"},
		// three transports: end
		Setup: func(_ context.Context, rt *service.Runtime) error {
			var own struct {
				Salutation string `config:"salutation"`
			}
			if err := rt.Decode("hello", &own); err != nil {
				return err
			}
			NewGreeter(own.Salutation, rt.Client).Register(rt.Handlers)
			// three transports: begin
			overHTTP, badHTTP := httprpc.NewServer(rt.Handlers, httprpc.ServerConfig{})
			overGRPC, badGRPC := grpcrpc.NewServer(rt.Handlers, grpcrpc.ServerConfig{}, CountMethod)
			if err := errors.Join(badHTTP, badGRPC); err != nil {
				return err
			}
			rt.ServeHTTP(overHTTP)
			rt.ServeGRPC(overGRPC)
			// three transports: end
			return nil
		},
	}
}

func keys() []config.Key {
	return []config.Key{
		{Name: "hello.salutation", Type: config.String, Default: "Hello", Usage: "the word before the name"},
	}
}
