package comparand

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/measure"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/payment"
)

// The handlers that a receiver can have.
const (
	// Nothing records the effect, and answers.
	Nothing = "nothing"
	// Stores is the payment service's own handler, with its store. Receivers share the store's file.
	Stores = "store"
)

// Program returns a receiver. Its settings are compare.handler, compare.effects, the file of the [measure.EffectLog],
// and compare.delay.
func Program() service.Program {
	return service.Program{
		Service: Receiver,
		Name:    "receiver",
		About:   "receiver does the work that leveret compare asks for.",
		Keys: []config.Key{
			{
				Name: "compare.handler", Type: config.String, Default: Nothing, OneOf: []string{Nothing, Stores},
				Usage: "what the work is",
			},
			{Name: "compare.effects", Type: config.String, Usage: "the file in which the work is recorded"},
			{
				Name: "compare.delay", Type: config.Duration, Default: "0s",
				Usage: "how long the work takes, beside what it takes anyway",
			},
		},
		Defaults: map[string]string{
			"health.address": "off", "http.address": "127.0.0.1:0", "grpc.address": "127.0.0.1:0",
		},
		Setup: setup,
	}
}

func setup(ctx context.Context, rt *service.Runtime) error {
	var own struct {
		Handler string        `config:"handler"`
		Effects string        `config:"effects"`
		Delay   time.Duration `config:"delay"`
	}
	if err := rt.Decode("compare", &own); err != nil {
		return err
	}
	log, err := measure.OpenEffectLog(own.Effects)
	if err != nil {
		return err
	}
	rt.Close("effects", log.Close)
	w := &work{log: log}
	w.delay.Store(int64(own.Delay))
	if own.Handler == Stores {
		s, err := payment.OpenStore(ctx, rt.DatabaseSource)
		if err != nil {
			return err
		}
		rt.Close("store", s.Close)
		w.payment = payment.New(s, nil, payment.Processor{}) // it only authorises, and sends nothing
	}
	w.register(rt.Handlers)
	// No way is instrumented.
	h, err := httprpc.NewServer(rt.Handlers, httprpc.ServerConfig{Title: "Receiver", Logger: rt.Logger})
	if err != nil {
		return err
	}
	rt.ServeHTTP(h)
	g, err := grpcrpc.NewServer(rt.Handlers, grpcrpc.ServerConfig{Logger: rt.Logger}, Methods()...)
	if err != nil {
		return err
	}
	rt.ServeGRPC(g)
	return nil
}
