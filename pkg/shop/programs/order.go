package programs

import (
	"context"
	"slices"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/queues"
)

// Order returns orderd, which accepts orders and sees each one through. Its own setting is order.payment.transport.
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
				Transport string `config:"transport"`
			}
			if err := rt.Decode("order.payment", &own); err != nil {
				return err
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
			payment, err := caller(rt, own.Transport, "payment")
			if err != nil {
				return err
			}
			order.New(s, o, payment).Register(rt.Handlers)
			return serve(rt)
		},
	}
}

func orderKeys() []config.Key {
	return []config.Key{transport("order.payment.transport", "order asks payment to authorise a payment", overHTTP, overGRPC, overAMQP)}
}
