package programs

import (
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/service"
	shopproto "github.com/leveretmq/leveret/pkg/shop/internal/proto"
)

// The transports over which one service calls another.
const (
	overHTTP = "http"
	overGRPC = "grpc"
	overAMQP = "amqp"
)

// transport returns the key that says how a service reaches others; the first transport is the default.
func transport(name, whom string, transports ...string) config.Key {
	return config.Key{
		Name: name, Type: config.String, Default: transports[0], OneOf: transports,
		Usage: "how " + whom + ": " + oneOf(transports),
	}
}

func oneOf(transports []string) string {
	said := map[string]string{overHTTP: "HTTP", overGRPC: "gRPC", overAMQP: "request and reply over RabbitMQ"}
	text := said[transports[0]]
	for i, t := range transports[1:] {
		if i == len(transports)-2 {
			text += " or " + said[t]
		} else {
			text += ", " + said[t]
		}
	}
	return text
}

// A peer is a service that others call, and where it listens by default.
type peer struct{ name, http, grpc string }

var peers = []peer{
	{"order", "127.0.0.1:8081", ""},
	{"payment", "127.0.0.1:8083", "127.0.0.1:9083"},
	{"user", "127.0.0.1:8084", ""},
	{"auth", "127.0.0.1:8085", "127.0.0.1:9085"},
}

// addressKeys returns the keys that say where the services that others call are reached.
func addressKeys() []config.Key {
	var keys []config.Key
	for _, p := range peers {
		keys = append(keys, config.Key{
			Name: "peers." + p.name + ".http_url", Type: config.URLs, Default: "http://" + p.http,
			Usage: "where others call the " + p.name + " service over HTTP; several processes are called in turn",
		})
		if p.grpc != "" {
			keys = append(keys, config.Key{
				Name: "peers." + p.name + ".grpc_address", Type: config.Strings, Default: p.grpc,
				Usage: "where others call it over gRPC, as host:port; several processes are called in turn",
			})
		}
	}
	return keys
}

// listens returns the default addresses of a service, for [service.Program.Defaults].
func listens(name, health string) map[string]string {
	defaults := map[string]string{"health.address": health}
	for _, p := range peers {
		if p.name == name {
			defaults["http.address"] = p.http
			if p.grpc != "" {
				defaults["grpc.address"] = p.grpc
			}
		}
	}
	return defaults
}

// serve serves the requests that a service answers over HTTP and, if it has methods, over gRPC, beside RabbitMQ.
func serve(rt *service.Runtime, methods ...grpcrpc.Method) error {
	h, err := httprpc.NewServer(rt.Handlers, httprpc.ServerConfig{
		Title: "The shop's " + rt.Handlers.Service().Name() + " service", Logger: rt.Logger,
		TracerProvider: rt.TracerProvider, MeterProvider: rt.MeterProvider,
	})
	if err != nil {
		return err
	}
	rt.ServeHTTP(h)
	if len(methods) == 0 {
		return nil
	}
	g, err := grpcrpc.NewServer(rt.Handlers, grpcrpc.ServerConfig{
		TracerProvider: rt.TracerProvider, MeterProvider: rt.MeterProvider, Logger: rt.Logger,
	}, methods...)
	if err != nil {
		return err
	}
	rt.ServeGRPC(g)
	return nil
}

// caller returns the way from a service to another one.
func caller(rt *service.Runtime, over, to string) (leveret.Caller, error) {
	from := rt.Handlers.Service()
	where, err := whereIs(rt, to)
	if err != nil {
		return nil, err
	}
	switch over {
	case overHTTP:
		c, err := httprpc.NewCaller(httprpc.CallerConfig{
			Service: from, URLs: where.http, TLS: rt.ClientTLS, TracerProvider: rt.TracerProvider, MeterProvider: rt.MeterProvider,
		})
		if err != nil {
			return nil, fmt.Errorf("peers.%s.http_url: %w", to, err)
		}
		rt.Close("HTTP to "+to, c.Close)
		return c, nil
	case overGRPC:
		c, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{
			Service: from, Addresses: where.grpc, TLS: rt.ClientTLS, TracerProvider: rt.TracerProvider, MeterProvider: rt.MeterProvider,
		}, called(from, methods(to))...)
		if err != nil {
			return nil, fmt.Errorf("peers.%s.grpc_address: %w", to, err)
		}
		rt.Close("gRPC to "+to, c.Close)
		return c, nil
	case overAMQP:
		return rt.Client, nil
	default:
		return nil, fmt.Errorf("there is no transport %q", over)
	}
}

// addresses are where a service is reached.
type addresses struct{ http, grpc []string }

// whereIs returns where a service is reached, by the settings.
func whereIs(rt *service.Runtime, name string) (addresses, error) {
	var http struct {
		URL []string `config:"http_url"`
	}
	var both struct {
		URL     []string `config:"http_url"`
		Address []string `config:"grpc_address"`
	}
	for _, p := range peers {
		switch {
		case p.name != name:
		case p.grpc == "":
			err := rt.Decode("peers."+name, &http)
			return addresses{http: http.URL}, err
		default:
			err := rt.Decode("peers."+name, &both)
			return addresses{both.URL, both.Address}, err
		}
	}
	return addresses{}, fmt.Errorf("it is not known where %s is reached", name)
}

// methods returns how a service's requests map to gRPC.
func methods(to string) []grpcrpc.Method {
	return map[string][]grpcrpc.Method{"payment": shopproto.Payment(), "auth": shopproto.Auth()}[to]
}

// called returns the methods that a service calls.
func called(from *leveret.Service, all []grpcrpc.Method) []grpcrpc.Method {
	calls := from.Contracts(leveret.RoleCalls)
	return slices.DeleteFunc(all, func(m grpcrpc.Method) bool { return !slices.Contains(calls, m.Contract()) })
}
