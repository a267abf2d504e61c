package shoptest

import (
	"context"
	"database/sql"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

// Outbox returns the outbox of a store.
func Outbox(t *testing.T, s *store.Store) *outbox.Outbox {
	t.Helper()
	o, err := s.Outbox(t.Context(), outbox.Config{})
	require.NoError(t, err)
	return o
}

// Relay sends what the outbox of a service's store holds, one message after the other in the order in which they were
// stored, and removes it. A relay of package outbox sends the same, but later and several at once.
func Relay(t *testing.T, s *store.Store, o *outbox.Outbox, service *leveret.Service, to leveret.Sender) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	entries, err := o.List(ctx, outbox.Ready, 1000)
	require.NoError(t, err)
	if len(entries) == 0 {
		return
	}
	for _, listed := range entries {
		e, err := o.Get(ctx, listed.ID) // with its body
		require.NoError(t, err)
		all := slices.Concat(service.Contracts(leveret.RoleSends), service.Contracts(leveret.RolePublishes))
		i := slices.IndexFunc(all, func(c leveret.Contract) bool { return c.Spec().Name == e.Contract })
		require.NotEqual(t, -1, i, "%s sends %s, and does not declare it", service.Name(), e.Contract)
		require.NoError(t, to.Send(ctx, &leveret.Message{Contract: all[i], ID: e.ID, Headers: e.Headers, Body: e.Body}))
	}
	require.NoError(t, s.InTx(ctx, func(tx *sql.Tx) error {
		for _, e := range entries {
			if _, err := tx.ExecContext(ctx, "DELETE FROM leveret_outbox WHERE message_id = $1", e.ID); err != nil {
				return err
			}
		}
		return nil
	}))
}
