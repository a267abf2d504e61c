package programs

import (
	"context"

	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/inventory"
	"github.com/leveretmq/leveret/queues"
)

// Inventory returns inventoryd, which keeps the stock and sets goods aside.
func Inventory() service.Program {
	return service.Program{
		Service:   queues.Inventory,
		Outbox:    true,
		About:     "inventoryd keeps the stock and sets the goods of an order aside, either all or none.",
		Defaults:  map[string]string{"health.address": "127.0.0.1:8092"},
		Keys:      storeKeys(),
		OtherKeys: Keys(),
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			s, err := inventory.OpenStore(ctx, rt.DatabaseSource)
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
			inventory.New(o).Register(rt.Handlers)
			return nil
		},
	}
}
