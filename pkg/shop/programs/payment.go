package programs

import (
	"context"
	"slices"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/payment"
	"github.com/leveretmq/leveret/queues"
)

// Payment returns paymentd, which authorises, captures, voids and refunds payments. Its own setting is payment.delay.
func Payment() service.Program {
	return service.Program{
		Service:   queues.Payment,
		Outbox:    true,
		About:     "paymentd authorises, captures, voids and refunds payments.",
		Defaults:  listens("payment", "127.0.0.1:8093"),
		Keys:      slices.Concat(paymentKeys(), storeKeys()),
		OtherKeys: Keys(),
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			var own struct {
				Delay time.Duration `config:"delay"`
			}
			if err := rt.Decode("payment", &own); err != nil {
				return err
			}
			s, err := payment.OpenStore(ctx, rt.DatabaseSource)
			if err != nil {
				return err
			}
			if err := keep(rt, s.Store, s.Memories()...); err != nil {
				return err
			}
			o, err := relay(ctx, rt, s.Store)
			if err != nil {
				return err
			}
			payment.New(s, o, payment.Processor{Delay: own.Delay}).Register(rt.Handlers)
			return serve(rt, methods("payment")...)
		},
	}
}

func paymentKeys() []config.Key {
	return []config.Key{{
		Name: "payment.delay", Type: config.Duration, Default: "0s",
		Usage: "how long the simulated card processor takes to answer",
	}}
}
