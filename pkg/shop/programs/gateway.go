package programs

import (
	"context"
	"slices"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/gateway"
	"github.com/leveretmq/leveret/queues"
)

// Gateway returns gatewayd, the shop's REST API. Its own setting is gateway.transport.
func Gateway() service.Program {
	return service.Program{
		Service: queues.Gateway,
		About:   "gatewayd is the shop's REST API, for its customers.",
		Defaults: map[string]string{
			"health.address": "127.0.0.1:8090", "http.address": "127.0.0.1:8080",
			"http.tls": "off", // customers have no certificates; a proxy in front of it has the public one
		},
		Keys:      slices.Concat(gatewayKeys(), addressKeys(), storeKeys()),
		OtherKeys: Keys(),
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			var own struct {
				Transport string `config:"transport"`
			}
			if err := rt.Decode("gateway", &own); err != nil {
				return err
			}
			s, err := gateway.OpenStore(ctx, rt.DatabasePath)
			if err != nil {
				return err
			}
			if err := keep(rt, s.Store, s.Memories()...); err != nil {
				return err
			}
			var to gateway.Callers
			for _, c := range []struct {
				name string
				into *leveret.Caller
			}{{"order", &to.Order}, {"user", &to.User}, {"auth", &to.Auth}} {
				if *c.into, err = caller(rt, own.Transport, c.name); err != nil {
					return err
				}
			}
			edge, err := gateway.New(s, rt.Client, to, gateway.Config{
				Logger: rt.Logger, TracerProvider: rt.TracerProvider, MeterProvider: rt.MeterProvider,
			})
			if err != nil {
				return err
			}
			rt.ServeHTTP(edge)
			rt.Go("keys", edge.Run)
			return nil
		},
	}
}

func gatewayKeys() []config.Key {
	return []config.Key{transport("gateway.transport", "the gateway calls order, user and auth", overHTTP, overAMQP)}
}
