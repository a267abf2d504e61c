// Package programs puts the shop's services together with what every binary shares. A program is the whole of its binary:
// orderd is programs.Order, and so is the command that runs it from elsewhere.
package programs

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

// All returns the shop's programs, in the order of their names.
func All() []service.Program {
	return []service.Program{Inventory(), Order(), Payment()}
}

// Keys returns the settings that these programs have beside everybody's. A program knows those of the others, so that all
// may read one file.
func Keys() []config.Key { return paymentKeys() }

// keep closes a store on the way down, and makes /readyz look whether it can be read.
func keep(rt *service.Runtime, s *store.Store) {
	rt.Close("store", s.Close)
	rt.Ready("store", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) //nolint:contextcheck // a check has none
		defer cancel()
		return s.Ping(ctx)
	})
}
