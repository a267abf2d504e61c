// Package programs assembles the shop's services into programs. Each program is the whole of a binary: orderd, for
// example, is programs.Order, and the CLI's command `serve order` runs the same program.
package programs

import (
	"context"
	"slices"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/notify"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

// All returns the shop's programs, sorted by name.
func All() []service.Program {
	return []service.Program{Auth(), Gateway(), Inventory(), notify.Program(Keys()...), Order(), Payment(), User()}
}

// Keys returns the settings that these programs have in addition to the common ones. Each program accepts the keys of
// the others, so that all can read the same file.
func Keys() []config.Key {
	return slices.Concat(addressKeys(), authKeys(), gatewayKeys(), orderKeys(), paymentKeys(), userKeys())
}

// keep closes a store when the program shuts down, and includes it in /readyz.
func keep(rt *service.Runtime, s *store.Store) {
	rt.Close("store", s.Close)
	rt.Ready("store", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) //nolint:contextcheck // a check has none
		defer cancel()
		return s.Ping(ctx)
	})
}
