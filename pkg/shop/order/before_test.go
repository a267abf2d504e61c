package order

import (
	"database/sql"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// A row is an order as version 0.1.0 has stored it.
type row struct {
	queues.PlaceOrderCommand

	status              Status
	received            time.Time
	placedBy, decidedBy string
}

// upgraded returns a service whose store is one that version 0.1.0 has left.
func upgraded(t *testing.T, rows ...row) *bundle {
	t.Helper()
	source := shoptest.Source(t, "order")
	old := fstest.MapFS{}
	require.NoError(t, fs.WalkDir(migrations, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "time_limit") || strings.Contains(path, "repeated") {
			return err
		}
		content, err := fs.ReadFile(migrations, path)
		old[path] = &fstest.MapFile{Data: content}
		return err
	}))
	before, err := store.Open(t.Context(), source, old)
	require.NoError(t, err)
	require.NoError(t, before.InTx(t.Context(), func(tx *sql.Tx) error {
		for _, o := range rows {
			var placed, decided sql.NullInt64
			if o.placedBy != "" {
				placed = store.Micros(o.received.Add(time.Second))
			}
			if o.status.Final() {
				decided = store.Micros(o.received.Add(2 * time.Second))
			}
			_, err := tx.ExecContext(t.Context(), `
				INSERT INTO orders (order_id, customer_id, card_token, lines, total, currency, state, reason, authorization_id, received_at,
					placed_at, placed_by, decided_at, decided_by)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`, o.OrderID, o.CustomerID, o.CardToken,
				`[{"sku":"TEA-GREEN","quantity":2,"unit_price":{"amount":999,"currency":"EUR"}}]`, 1998, "EUR", o.status.State, o.status.Reason,
				"0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d42", o.received.UnixMicro(), placed, o.placedBy, decided, o.decidedBy)
			if err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, before.Close())
	b := &bundle{path: source, payment: &leverettest.StubCaller{Service: queues.Order}}
	b.answer(authorize)
	b.closes(nil)
	b.open(t)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })
	return b
}

// TestStoreOfTheVersionBefore: its orders are there, and those that are not finished are checked.
func TestStoreOfTheVersionBefore(t *testing.T) {
	t.Parallel()
	ago := time.Now().Add(-2 * DefaultTimeLimit)
	long := row{PlaceOrderCommand: request(), status: Status{State: StatePlaced}, received: ago, placedBy: "m-1"}
	short := row{PlaceOrderCommand: request(), status: Status{State: StatePlaced}, received: time.Now(), placedBy: "m-1"}
	done := row{PlaceOrderCommand: request(), status: Status{State: StateConfirmed}, received: ago, placedBy: "m-1", decidedBy: "m-2"}
	b := upgraded(t, long, short, done)
	require.NoError(t, b.replaceChecks(t.Context()))
	require.Equal(t, short.Lines, b.order(t, short.PlaceOrderCommand).Lines)
	b.check(t, long.PlaceOrderCommand)
	require.Equal(t, owed[StatePlaced], shoptest.Names(b.messages(t)))
	b.check(t, long.PlaceOrderCommand)
	require.Equal(t, expired, b.status(t, long.PlaceOrderCommand))
	require.Equal(t, short.status, b.status(t, short.PlaceOrderCommand))
	require.Equal(t, done.status, b.status(t, done.PlaceOrderCommand))
	a, err := ReadAudit(t.Context(), b.path)
	require.NoError(t, err)
	require.Len(t, a.Orders, 3)
}

// TestNotAnnouncedByTheVersionBefore: version 0.1.0 has committed a change, and was killed before it announced that. The message
// that it was handling comes again to this version, which announces the change, once. Another message about the order announces
// nothing.
func TestNotAnnouncedByTheVersionBefore(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status              Status
		placedBy, decidedBy string
		deliver             func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) func(...leverettest.Option) leverettest.Delivered
		announced           []string
	}{
		"placed":                 {Status{State: StatePlaced}, "m-1", "", placing, []string{"order.placed", "inventory.reserve"}},
		"placed, then paid":      {Status{State: StateCaptured}, "m-1", "", placing, []string{"inventory.reserve"}},
		"placed, then set aside": {Status{State: StateReserved}, "m-1", "", placing, []string{"order.placed"}},
		"declined":               {Status{StateCancelled, queues.CancelDeclined}, "", "m-1", placing, []string{"order.cancelled"}},
		"confirmed": {Status{State: StateConfirmed}, "m-0", "m-1", func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) func(...leverettest.Option) leverettest.Delivered {
			t.Helper()
			return deliver(t, b, queues.PaymentCaptured, captured(r))
		}, []string{"order.confirmed"}},
		"out of stock": {Status{StateCancelled, queues.CancelOutOfStock}, "m-0", "m-1", func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) func(...leverettest.Option) leverettest.Delivered {
			t.Helper()
			return deliver(t, b, queues.StockRejected, rejected(r))
		}, []string{"order.cancelled"}},
		"requested": {requested, "m-0", "m-1", func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) func(...leverettest.Option) leverettest.Delivered {
			t.Helper()
			return deliver(t, b, queues.AbandonOrder, queues.AbandonOrderCommand{OrderID: r.OrderID})
		}, []string{"order.cancelled"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request()
			b := upgraded(t, row{PlaceOrderCommand: r, status: tc.status, received: time.Now(), placedBy: tc.placedBy, decidedBy: tc.decidedBy})
			handle := tc.deliver(t, b, r)
			if name != "requested" { // that command has only this use
				require.NoError(t, handle().Err)
				require.Empty(t, b.messages(t), "another message")
			}
			for range 2 {
				require.NoError(t, handle(leverettest.With(leveret.MessageID("m-1"))).Err)
				require.Equal(t, tc.announced, shoptest.Names(b.messages(t)))
				b.restart(t)
			}
			require.Equal(t, tc.status, b.status(t, r))
			require.Zero(t, b.asked(), "nothing is authorised again")
		})
	}
}

func placing(t *testing.T, b *bundle, r queues.PlaceOrderCommand) func(...leverettest.Option) leverettest.Delivered {
	t.Helper()
	return deliver(t, b, queues.PlaceOrder, r)
}

// TestCancelledByTheVersionBefore: version 0.1.0 has cancelled an order, and the message that it was handling is lost, or what it
// has announced. The cancellation is announced once more, and payment is asked; once for each order. An order that is known to be
// settled is left alone, as one that version 0.1.0 may still announce.
func TestCancelledByTheVersionBefore(t *testing.T) {
	t.Parallel()
	ago := time.Now().Add(-100 * DefaultTimeLimit)
	for _, reason := range []string{queues.CancelDeclined, queues.CancelOutOfStock, queues.CancelRequested} {
		r, recent, confirmed := request(), request(), request()
		cancelled := Status{StateCancelled, reason}
		b := upgraded(t,
			row{PlaceOrderCommand: r, status: cancelled, received: ago, decidedBy: "m-1"},
			row{PlaceOrderCommand: recent, status: cancelled, received: time.Now(), decidedBy: "m-1"},
			row{PlaceOrderCommand: confirmed, status: Status{State: StateConfirmed}, received: ago, placedBy: "m-1", decidedBy: "m-2"})
		require.NoError(t, b.replaceChecks(t.Context()))
		b.closes(leveret.ErrNotConnected)
		b.check(t, r)
		require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))
		b.closes(nil)
		b.check(t, r)
		require.Equal(t, 2, b.askedToClose())
		require.NoError(t, b.replaceChecks(t.Context()))
		require.Empty(t, b.later(t), "it is settled")
		require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))
		require.Equal(t, cancelled, b.status(t, r))
	}
}

// TestCancelledBesideThisVersion: version 0.1.0, beside this one, has cancelled an order of this one, whose messages were sent
// again before. Its cancellation is announced once more all the same.
func TestCancelledBesideThisVersion(t *testing.T) {
	t.Parallel()
	b, r := setup(t), request()
	b.closes(nil)
	require.NoError(t, b.Place(t.Context(), r))
	b.check(t, r)
	b.forget(t)
	require.NoError(t, b.store.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE orders SET state = 'cancelled', reason = 'out_of_stock', decided_at = 5, decided_by = 'm-1' WHERE order_id = $1", r.OrderID)
		return err
	}))
	b.check(t, r)
	require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))
	require.Equal(t, 1, b.askedToClose())
	require.NoError(t, b.replaceChecks(t.Context()))
	require.Empty(t, b.later(t))
}
