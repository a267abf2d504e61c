package programs

import (
	"context"
	"slices"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/queues"
)

// Order returns orderd, which accepts orders and sees each one through. Its own settings are order.payment.transport and
// order.time_limit.
func Order() service.Program {
	return service.Program{
		Service:   queues.Order,
		Outbox:    true,
		About:     "orderd accepts orders and sees each one through to confirmation or cancellation.",
		Defaults:  listens("order", "127.0.0.1:8091"),
		Keys:      slices.Concat(orderKeys(), addressKeys(), storeKeys()),
		OtherKeys: Keys(),
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			var own struct {
				TimeLimit time.Duration `config:"time_limit"`
				Payment   struct {
					Transport string `config:"transport"`
				} `config:"payment"`
			}
			if err := rt.Decode("order", &own); err != nil {
				return err
			}
			if own.TimeLimit < time.Second {
				return leveret.Errorf(leveret.InvalidArgument, "order.time_limit is %v; it must be 1s at least", own.TimeLimit)
			}
			s, err := order.OpenStore(ctx, rt.DatabaseSource)
			if err != nil {
				return err
			}
			if err := keep(rt, s.Store); err != nil {
				return err
			}
			o, err := relay(ctx, rt, s.Store)
			if err != nil {
				return err
			}
			payment, err := caller(rt, own.Payment.Transport, "payment")
			if err != nil {
				return err
			}
			orders := order.New(s, o, payment, order.Config{TimeLimit: own.TimeLimit, Logger: rt.Logger, MeterProvider: rt.MeterProvider})
			orders.Register(rt.Handlers)
			rt.Go("checks", orders.Run)
			return serve(rt)
		},
	}
}

func orderKeys() []config.Key {
	return []config.Key{
		transport("order.payment.transport", "order asks payment to authorise or close a payment", overHTTP, overGRPC, overAMQP),
		{
			Name: "order.time_limit", Type: config.Duration, Default: "30m",
			Usage: "how long an order may take until it is confirmed, at least 1s; one that takes longer is closed, and cancelled",
		},
	}
}
