package programs

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/gateway"
	"github.com/leveretmq/leveret/queues"
)

// Gateway returns gatewayd, the shop's REST API. Its own settings are gateway.*.
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
				Transport      string        `config:"transport"`
				ClientAttempts int           `config:"client_attempts"`
				ClientInterval time.Duration `config:"client_interval"`
				ClientRequests int           `config:"client_requests"`
				MaxRequests    int           `config:"max_requests"`
				TrustedProxies []string      `config:"trusted_proxies"`
			}
			if err := rt.Decode("gateway", &own); err != nil {
				return err
			}
			limits := gateway.Limits{
				ClientAttempts: own.ClientAttempts, ClientInterval: own.ClientInterval,
				ClientRequests: own.ClientRequests, MaxRequests: own.MaxRequests,
			}
			for _, text := range own.TrustedProxies {
				network, err := netip.ParsePrefix(text)
				if err != nil {
					return leveret.Errorf(leveret.InvalidArgument, "gateway.trusted_proxies: %q is no network such as 10.0.0.0/8", text)
				}
				limits.TrustedProxies = append(limits.TrustedProxies, network)
			}
			s, err := gateway.OpenStore(ctx, rt.DatabaseSource)
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
				Limits: limits,
			})
			if err != nil {
				return err
			}
			rt.Project(gateway.NewHistory(rt.Conn, s, rt.Logger, rt.MeterProvider))
			rt.ServeHTTP(edge)
			rt.Go("keys", edge.Run)
			return nil
		},
	}
}

func gatewayKeys() []config.Key {
	return []config.Key{
		transport("gateway.transport", "the gateway calls order, user and auth", overHTTP, overAMQP),
		{Name: "gateway.client_attempts", Type: config.Int, Default: "100", Usage: "how many log-ins and registrations one IP address may try at once"},
		{Name: "gateway.client_interval", Type: config.Duration, Default: "500ms", Usage: "how often one more is allowed after that"},
		{Name: "gateway.client_requests", Type: config.Int, Default: "256", Usage: "how many requests of one IP address are handled at once"},
		{Name: "gateway.max_requests", Type: config.Int, Default: "4096", Usage: "how many requests of all together are handled at once"},
		{
			Name: "gateway.trusted_proxies", Type: config.Strings,
			Usage: "networks of the proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8; of others it is ignored",
		},
	}
}
