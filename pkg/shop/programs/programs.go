// Package programs assembles the shop's services into programs. Each program is the whole of a binary: orderd, for
// example, is programs.Order, and the CLI's command `serve order` runs the same program.
package programs

import (
	"context"
	"slices"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
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
	return slices.Concat(addressKeys(), authKeys(), gatewayKeys(), orderKeys(), paymentKeys(), storeKeys(), userKeys())
}

// storeKeys returns the key that says for how long the services remember what they have handled.
func storeKeys() []config.Key {
	return []config.Key{{
		Name: "store.retention", Type: config.Duration, Default: "168h",
		Usage: "how long idempotency keys and the like are remembered; at least 1h, so that it outlasts all retries",
	}}
}

// keep closes a store when the program shuts down, lets the program take no messages while the store cannot be written,
// gives the store's errors their codes, and lets it forget what is older than store.retention.
func keep(rt *service.Runtime, s *store.Store, more ...store.Memory) error {
	rt.Close("store", s.Close)
	rt.Required("store", s.Writable)
	rt.Use(s.Codes)
	remembered, err := retention(rt)
	if err != nil {
		return err
	}
	rt.Go("retention", func(ctx context.Context) error { return s.Forget(ctx, rt.Logger, remembered, more...) })
	return nil
}

// lease is how long the messages of a process that was killed wait for another one, or for the same one after its restart.
// A customer may be waiting for what follows from them.
const lease = 2 * time.Second

// relay returns the outbox of a store, whose messages the program sends. It remembers for store.retention which messages
// were handled.
func relay(ctx context.Context, rt *service.Runtime, s *store.Store) (*outbox.Outbox, error) {
	remembered, err := retention(rt)
	if err != nil {
		return nil, err
	}
	o, err := s.Outbox(ctx, outbox.Config{Lease: lease, Remember: remembered, Logger: rt.Logger, MeterProvider: rt.MeterProvider})
	if err != nil {
		return nil, err
	}
	rt.Relay(o)
	return o, nil
}

// retention returns store.retention.
func retention(rt *service.Runtime) (time.Duration, error) {
	var own struct {
		Retention time.Duration `config:"retention"`
	}
	if err := rt.Decode("store", &own); err != nil {
		return 0, err
	}
	if own.Retention < time.Hour {
		return 0, leveret.Errorf(leveret.InvalidArgument, "store.retention is %v; it must be at least 1h, so that it outlasts all retries", own.Retention)
	}
	return own.Retention, nil
}
