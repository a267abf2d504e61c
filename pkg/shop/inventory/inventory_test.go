package inventory

import (
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

// bundle is a service with its own store.
type bundle struct {
	*Service
	store    *Store
	path     string
	sent     leverettest.Recorder
	handlers *leveret.Handlers
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{path: shoptest.Source(t, "inventory")}
	b.open(t)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })
	return b
}

func (b *bundle) open(t *testing.T) {
	t.Helper()
	s, err := OpenStore(t.Context(), b.path)
	require.NoError(t, err)
	b.store, b.Service = s, New(shoptest.Outbox(t, s.Store))
	h := leveret.NewHandlers(queues.Inventory, leveret.HandlersConfig{})
	b.Register(h)
	b.handlers = h
}

// messages returns what was sent, after sending what is stored.
func (b *bundle) messages(t *testing.T) []*leveret.Message {
	t.Helper()
	shoptest.Relay(t, b.store.Store, b.outbox, queues.Inventory, &b.sent)
	return b.sent.Messages()
}

// forget forgets what was sent, and returns it.
func (b *bundle) forget(t *testing.T) []*leveret.Message {
	t.Helper()
	defer b.sent.Reset()
	return b.messages(t)
}

// interrupted returns the case of a message for this service.
func (b *bundle) interrupted(t *testing.T, handle func(...leverettest.Option) leverettest.Delivered, check func()) shoptest.Case {
	t.Helper()
	b.forget(t)
	return shoptest.Case{
		Handle: handle, Restart: func() { b.restart(t) }, Store: func() *store.Store { return b.store.Store },
		Sent: func() []*leveret.Message { return b.forget(t) }, Check: check,
	}
}

func (b *bundle) restart(t *testing.T) {
	t.Helper()
	require.NoError(t, b.store.Close())
	b.open(t)
}

func (b *bundle) audit(t *testing.T) Audit {
	t.Helper()
	a, err := ReadAudit(t.Context(), b.path)
	require.NoError(t, err)
	require.Empty(t, a.Misplaced())
	return a
}

func (b *bundle) exec(t *testing.T, query string, args ...any) error {
	t.Helper()
	return b.store.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), query, args...)
		return err
	})
}

func reservation(lines ...queues.StockLine) queues.ReserveStockCommand {
	return queues.ReserveStockCommand{OrderID: uuid.Must(uuid.NewV7()).String(), Lines: lines}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Now()
	q := reservation(queues.StockLine{SKU: "A", Quantity: 2}, queues.StockLine{SKU: "B", Quantity: 3})
	for _, tc := range []struct {
		name      string
		available map[string]int64
		want      []queues.Shortage
	}{
		{"just enough", map[string]int64{"A": 2, "B": 3}, nil},
		{"one short", map[string]int64{"A": 2, "B": 2}, []queues.Shortage{{SKU: "B", Requested: 3, Available: 2}}},
		{"one unknown", map[string]int64{"B": 9}, []queues.Shortage{{SKU: "A", Requested: 2, Available: 0}}},
		{"nothing there", nil, []queues.Shortage{{SKU: "A", Requested: 2}, {SKU: "B", Requested: 3}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := Decide(q, tc.available, now)
			state := StateReserved
			if tc.want != nil {
				state = StateRejected
			}
			require.Equal(t, Reservation{OrderID: q.OrderID, State: state, Lines: q.Lines, Shortages: tc.want, DecidedAt: now}, r)
		})
	}
}

func TestReserve(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q := reservation(queues.StockLine{SKU: SKUPlenty, Quantity: 3}, queues.StockLine{SKU: SKUScarce, Quantity: 1})
	require.NoError(t, b.Reserve(t.Context(), q))
	require.Equal(t, []string{"inventory.reserved"}, shoptest.Names(b.messages(t)))
	free, err := b.store.Available(t.Context(), SKUPlenty)
	require.NoError(t, err)
	require.EqualValues(t, 1_000_000-3, free)
	require.Equal(t, map[string]Goods{q.OrderID: {Taken: 1, Held: map[string]int64{SKUPlenty: 3, SKUScarce: 1}}}, b.audit(t).Goods())

	q.Lines = []queues.StockLine{{SKU: SKUPlenty, Quantity: 4}}
	err = b.Reserve(t.Context(), q)
	require.ErrorIs(t, err, ErrOther)
	require.ErrorIs(t, err, leveret.AlreadyExists)
}

func TestRejectTakesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, q := range []queues.ReserveStockCommand{
		reservation(queues.StockLine{SKU: SKUPlenty, Quantity: 1}, queues.StockLine{SKU: SKUSoldOut, Quantity: 1}),
		reservation(queues.StockLine{SKU: "NO-SUCH", Quantity: 1}),
		reservation(queues.StockLine{SKU: SKUScarce, Quantity: 26}),
	} {
		require.NoError(t, b.Reserve(t.Context(), q))
	}
	require.Equal(t, []string{"inventory.rejected", "inventory.rejected", "inventory.rejected"}, shoptest.Names(b.messages(t)))
	a := b.audit(t)
	require.Empty(t, a.Movements)
	require.Len(t, a.Reservations, 3)
	for _, r := range a.Reservations {
		require.Equal(t, StateRejected, r.State)
	}
}

// TestRejectedStaysRejected: the order has been cancelled by then, so goods that arrive later are for other orders.
func TestRejectedStaysRejected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q := reservation(queues.StockLine{SKU: SKUSoldOut, Quantity: 1})
	require.NoError(t, b.Reserve(t.Context(), q))
	require.NoError(t, b.exec(t, "UPDATE stock SET on_hand = 10 WHERE sku = $1", SKUSoldOut))
	require.NoError(t, b.Reserve(t.Context(), q))
	sent := b.messages(t)
	require.Equal(t, []string{"inventory.rejected", "inventory.rejected"}, shoptest.Names(b.messages(t)))
	require.JSONEq(t, string(sent[0].Body), string(sent[1].Body))
	require.NoError(t, b.Reserve(t.Context(), reservation(q.Lines...)))
	require.Equal(t, "inventory.reserved", shoptest.Names(b.messages(t))[2])
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sku  string
		want int
	}{{SKUScarce, 1}, {SKUSoldOut, 0}} {
		t.Run(tc.sku, func(t *testing.T) {
			t.Parallel()
			shoptest.Interrupted(t, func(t *testing.T) shoptest.Case {
				t.Helper()
				b := setup(t)
				q := reservation(queues.StockLine{SKU: tc.sku, Quantity: 1})
				handle := func(options ...leverettest.Option) leverettest.Delivered {
					return leverettest.Deliver(t.Context(), b.handlers, queues.ReserveStock, q, options...)
				}
				return b.interrupted(t, handle, func() { require.Len(t, b.audit(t).Movements, tc.want) })
			})
		})
	}
}

// TestScarceGoodsGoToAsManyAsThereAre sends many commands at once, some of them twice.
func TestScarceGoodsGoToAsManyAsThereAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	for range 40 {
		q := reservation(queues.StockLine{SKU: SKUScarce, Quantity: 1})
		for range 2 {
			wg.Go(func() {
				if err := b.Reserve(t.Context(), q); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	a := b.audit(t)
	require.Len(t, a.Movements, 25)
	require.Len(t, a.Goods(), 25)
	require.Len(t, a.Reservations, 40)
}

func TestMovementsAreOnlyAppended(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.Reserve(t.Context(), reservation(queues.StockLine{SKU: SKUScarce, Quantity: 1})))
	require.ErrorContains(t, b.exec(t, "DELETE FROM movements"), "only appended")
	require.ErrorContains(t, b.exec(t, "UPDATE movements SET quantity = 2"), "only appended")
}
