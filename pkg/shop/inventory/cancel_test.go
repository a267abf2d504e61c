package inventory

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
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

// nothing is set aside.
var nothing = map[string]int64{}

// TestTransitionsAreAsDocumented compares every cell of the table in docs/orders.md with the code.
func TestTransitionsAreAsDocumented(t *testing.T) {
	t.Parallel()
	table := shoptest.Table(t, "../../../docs/orders.md", "reservation")
	states := []State{StateNone, StateReserved, StateRejected, StateReleased, StateCancelled}
	require.Len(t, table, len(states))
	for _, s := range states {
		require.Len(t, table[string(s)], 3)
		for _, e := range []Event{EventInStock, EventOutOfStock, EventCancelled} {
			next := s.Next(e)
			require.Equal(t, table[string(s)][string(e)], string(next), "%s, then %s", s, e)
			require.Equal(t, next, next.Next(e), "events are idempotent")
		}
		require.Equal(t, s, s.Next("stolen"))
	}
}

func cancelled(q queues.ReserveStockCommand) queues.OrderCancelledEvent {
	return queues.OrderCancelledEvent{OrderID: q.OrderID, Reason: queues.CancelRequested, CancelledAt: time.Now()}
}

// TestCancelled goes through the sequences in which the command and the cancellation can arrive.
func TestCancelled(t *testing.T) {
	t.Parallel()
	const reserve, cancel = "reserve", "cancel"
	for _, tc := range []struct {
		sku       string
		sequence  []string
		published []string
		want      State
		goods     Goods
	}{
		{SKUScarce, []string{reserve, cancel}, []string{"reserved", "released"}, StateReleased, Goods{Taken: 1, Returned: 1, Held: nothing}},
		{SKUScarce, []string{reserve, cancel, cancel}, []string{"reserved", "released", "released"}, StateReleased, Goods{Taken: 1, Returned: 1, Held: nothing}},
		{SKUScarce, []string{reserve, cancel, reserve}, []string{"reserved", "released", "reserved"}, StateReleased, Goods{Taken: 1, Returned: 1, Held: nothing}},
		{SKUScarce, []string{cancel, reserve}, nil, StateCancelled, Goods{}},
		{SKUScarce, []string{cancel, cancel, reserve, reserve}, nil, StateCancelled, Goods{}},
		{SKUSoldOut, []string{reserve, cancel}, []string{"rejected"}, StateRejected, Goods{}},
		{SKUSoldOut, []string{cancel, reserve}, nil, StateCancelled, Goods{}},
	} {
		t.Run(fmt.Sprint(tc.sku, tc.sequence), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			q := reservation(queues.StockLine{SKU: tc.sku, Quantity: 2})
			before, err := b.store.Available(t.Context(), tc.sku)
			require.NoError(t, err)
			for _, message := range tc.sequence {
				if message == reserve {
					require.NoError(t, b.Reserve(t.Context(), q))
				} else {
					require.NoError(t, b.OnOrderCancelled(t.Context(), cancelled(q)))
				}
			}
			want := []string{}
			for _, name := range tc.published {
				want = append(want, "inventory."+name)
			}
			require.Equal(t, want, shoptest.Names(b.messages(t)))
			a := b.audit(t)
			require.Equal(t, []AuditedReservation{{q.OrderID, tc.want}}, a.Reservations)
			require.Equal(t, tc.goods, a.Goods()[q.OrderID])
			after, err := b.store.Available(t.Context(), tc.sku)
			require.NoError(t, err)
			require.Equal(t, before, after, "the stock is back")
		})
	}
}

// TestReturnedGoodsAreForOthers: the last mug of a cancelled order can be reserved for the next one.
func TestReturnedGoodsAreForOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := queues.StockLine{SKU: SKUScarce, Quantity: 25}
	first := reservation(all)
	require.NoError(t, b.Reserve(t.Context(), first))
	require.NoError(t, b.OnOrderCancelled(t.Context(), cancelled(first)))
	require.NoError(t, b.Reserve(t.Context(), reservation(all)))
	require.Equal(t, []string{"inventory.reserved", "inventory.released", "inventory.reserved"}, shoptest.Names(b.messages(t)))
}

// TestCancelledAtOnce: the command and the cancellation arrive together, each of them several times.
func TestCancelledAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	for range 10 {
		q := reservation(queues.StockLine{SKU: SKUScarce, Quantity: 5}, queues.StockLine{SKU: SKUPlenty, Quantity: 1})
		for range 2 {
			wg.Go(func() {
				if err := b.Reserve(t.Context(), q); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if err := b.OnOrderCancelled(t.Context(), cancelled(q)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	a := b.audit(t)
	for id, g := range a.Goods() {
		require.Equal(t, Goods{Taken: 1, Returned: 1, Held: nothing}, g, id)
	}
	require.False(t, slices.ContainsFunc(a.Stock, func(s Shelf) bool { return s.Reserved != 0 }))
}

func TestReleaseInterrupted(t *testing.T) {
	t.Parallel()
	shoptest.Interrupted(t, func(t *testing.T) shoptest.Case {
		t.Helper()
		b := setup(t)
		q := reservation(queues.StockLine{SKU: SKUScarce, Quantity: 1})
		require.NoError(t, b.Reserve(t.Context(), q))
		handle := func(options ...leverettest.Option) leverettest.Delivered {
			return leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, cancelled(q), options...)
		}
		return b.interrupted(t, handle, func() {
			require.Equal(t, Goods{Taken: 1, Returned: 1, Held: nothing}, b.audit(t).Goods()[q.OrderID])
		})
	})
}

// TestNewReason: a cancellation for a reason that this version does not know is a cancellation.
func TestNewReason(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q := reservation(queues.StockLine{SKU: SKUScarce, Quantity: 1})
	require.NoError(t, b.Reserve(t.Context(), q))
	lost := cancelled(q)
	lost.Reason = "lost_at_sea"
	got := leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, lost)
	require.Equal(t, leveret.VerdictAck, got.Verdict, "%v", got.Err)
	require.Empty(t, b.audit(t).Goods()[q.OrderID].Held)
}

// TestOldStore: a store that was written before orders could be cancelled keeps its decisions.
func TestOldStore(t *testing.T) {
	t.Parallel()
	old := fstest.MapFS{}
	for _, name := range []string{"migrations/sqlite/00001_stock.sql", "migrations/sqlite/00002_shelves.sql"} {
		data, err := migrations.ReadFile(name)
		require.NoError(t, err)
		old[name] = &fstest.MapFile{Data: data}
	}
	path := filepath.Join(t.TempDir(), "inventory.db")
	s, err := store.Open(t.Context(), path, old)
	require.NoError(t, err)
	q, none := reservation(queues.StockLine{SKU: SKUScarce, Quantity: 2}), reservation(queues.StockLine{SKU: SKUSoldOut, Quantity: 1})
	require.NoError(t, s.InTx(t.Context(), func(tx *sql.Tx) error {
		for _, statement := range []string{
			`UPDATE stock SET reserved = 2 WHERE sku = 'MUG-LIMITED'`,
			`INSERT INTO movements (order_id, sku, quantity, message_id, at) VALUES ('` + q.OrderID + `', 'MUG-LIMITED', 2, 'm', 1)`,
			`INSERT INTO reservations VALUES ('` + q.OrderID + `', '[{"sku":"MUG-LIMITED","quantity":2}]', '[]', 1)`,
			`INSERT INTO reservations VALUES ('` + none.OrderID + `', '[{"sku":"MUG-SOLDOUT","quantity":1}]', '[{"sku":"MUG-SOLDOUT","requested":1}]', 1)`,
		} {
			if _, err := tx.ExecContext(t.Context(), statement); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, s.Close())

	b := &bundle{path: path}
	b.open(t)
	defer func() { require.NoError(t, b.store.Close()) }()
	require.ElementsMatch(t, []AuditedReservation{{q.OrderID, StateReserved}, {none.OrderID, StateRejected}}, b.audit(t).Reservations)
	require.NoError(t, b.OnOrderCancelled(t.Context(), cancelled(q)))
	require.NoError(t, b.OnOrderCancelled(t.Context(), cancelled(none)))
	require.Equal(t, map[string]Goods{q.OrderID: {Taken: 1, Returned: 1, Held: nothing}}, b.audit(t).Goods())
	require.ErrorContains(t, b.exec(t, "DELETE FROM movements"), "only appended")
}
