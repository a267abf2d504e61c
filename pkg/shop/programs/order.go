package programs

import (
	"context"

	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/queues"
)

// Order returns orderd, which accepts orders and sees each one through.
func Order() service.Program {
	return service.Program{
		Service:  queues.Order,
		About:    "orderd accepts orders and sees each one through to confirmation or cancellation.",
		Defaults: map[string]string{"health.address": "127.0.0.1:8091"},
		Shared:   Keys(),
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			s, err := order.OpenStore(ctx, rt.DatabasePath)
			if err != nil {
				return err
			}
			keep(rt, s.Store)
			order.New(s, rt.Client, rt.Client).Register(rt.Handlers)
			return nil
		},
	}
}
