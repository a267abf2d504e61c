package ledger

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/shop/inventory"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/pkg/shop/payment"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

func entries(id string, kinds ...payment.State) []payment.Entry {
	var all []payment.Entry
	for _, k := range kinds {
		all = append(all, payment.Entry{OrderID: id, Kind: k, Amount: 100, Currency: "EUR"})
	}
	return all
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const (
		authorized, captured = payment.StateAuthorized, payment.StateCaptured
		voided, refunded     = payment.StateVoided, payment.StateRefunded
	)
	confirmed := order.AuditedOrder{OrderID: "a", State: order.StateConfirmed, Total: 100, Goods: map[string]int64{"X": 1}}
	two := order.AuditedOrder{OrderID: "a", State: order.StateConfirmed, Total: 100, Goods: map[string]int64{"X": 1, "Y": 1}}
	cancelled := order.AuditedOrder{OrderID: "a", State: order.StateCancelled, Reason: "out_of_stock", Total: 100}
	placed := order.AuditedOrder{OrderID: "a", State: order.StatePlaced, Total: 100}
	requested := order.AuditedOrder{OrderID: "a", State: order.StateCancelled, Reason: "requested", Total: 100}
	goods := inventory.Movement{OrderID: "a", SKU: "X", Quantity: 1}
	back := inventory.Movement{OrderID: "a", SKU: "X", Quantity: -1}
	for _, tc := range []struct {
		name  string
		order order.AuditedOrder
		money []payment.Entry
		goods []inventory.Movement
		check func(t *testing.T, l Ledger)
	}{
		{"confirmed", confirmed, entries("a", authorized, captured), []inventory.Movement{goods}, func(t *testing.T, l Ledger) {
			require.True(t, l.OK())
			require.Equal(t, 1, l.Confirmed)
		}},
		{
			"confirmed, another article", two, entries("a", authorized, captured),
			[]inventory.Movement{goods, {OrderID: "a", SKU: "Y", Quantity: 1}},
			func(t *testing.T, l Ledger) {
				require.True(t, l.OK())
			},
		},
		{"cancelled before it was charged", cancelled, entries("a", authorized, voided), nil, func(t *testing.T, l Ledger) {
			require.True(t, l.OK())
			require.Equal(t, map[string]int{"out_of_stock": 1}, l.Cancelled)
		}},
		{"cancelled and given back", cancelled, entries("a", authorized, captured, refunded), nil, func(t *testing.T, l Ledger) {
			require.True(t, l.OK())
		}},
		{"cancelled on request", requested, entries("a", authorized, voided), []inventory.Movement{goods, back}, func(t *testing.T, l Ledger) {
			require.True(t, l.OK())
			require.Equal(t, map[string]int{"requested": 1}, l.Cancelled)
		}},
		{"cancelled on request, charged", requested, entries("a", authorized, captured, refunded), []inventory.Movement{goods, back}, func(t *testing.T, l Ledger) {
			require.True(t, l.OK())
		}},
		{"cancelled on request, before anything", requested, nil, nil, func(t *testing.T, l Ledger) { require.True(t, l.OK()) }},
		{"cancelled on request, not put back", requested, entries("a", authorized, voided), []inventory.Movement{goods}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"order a is cancelled, but goods are set aside for it"}, l.Wrong)
		}},
		{"cancelled on request, put back twice", requested, entries("a", authorized, voided), []inventory.Movement{goods, back, back}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{
				"order a is cancelled, but its goods were put back more often than taken", "order a is cancelled, but goods are set aside for it",
			}, l.Wrong)
		}},
		{"released twice", requested, entries("a", authorized, voided, voided), nil, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"order a is cancelled, but its authorisation was released 2 times"}, l.Wrong)
		}},
		{"confirmed, and put back", confirmed, entries("a", authorized, captured), []inventory.Movement{goods, back}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"order a is confirmed, but no goods were set aside for it"}, l.Wrong)
		}},
		{"declined", cancelled, nil, nil, func(t *testing.T, l Ledger) { require.True(t, l.OK()) }},
		{"not decided", placed, entries("a", authorized), nil, func(t *testing.T, l Ledger) {
			require.False(t, l.OK())
			require.Equal(t, []string{"a"}, l.Undecided)
		}},
		{"overdue", order.AuditedOrder{OrderID: "a", State: order.StateClosing, Total: 100}, entries("a", authorized, captured), []inventory.Movement{goods}, func(t *testing.T, l Ledger) {
			require.False(t, l.OK())
			require.Equal(t, []string{"a"}, l.Undecided)
			require.Equal(t, []string{"a"}, l.Overdue)
			require.Empty(t, l.Wrong, "not yet")
		}},
		{"charged twice", confirmed, entries("a", authorized, captured, captured), []inventory.Movement{goods}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"a"}, l.ChargedTwice)
			require.Equal(t, []string{"order a is confirmed, but 200 was charged for it instead of 100"}, l.Wrong)
		}},
		{"charged twice, given back once", confirmed, entries("a", authorized, captured, captured, refunded), []inventory.Movement{goods}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"a"}, l.ChargedTwice)
			require.False(t, l.OK())
		}},
		{"charged without an order", confirmed, append(entries("a", authorized, captured), entries("b", captured, captured)...), []inventory.Movement{goods}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"b"}, l.ChargedTwice)
			require.Equal(t, []string{"order b is unknown, but 200 was charged for it and not refunded"}, l.Wrong)
		}},
		{"held without an order", confirmed, append(entries("a", authorized, captured), entries("b", authorized)...), []inventory.Movement{goods}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"order b is unknown, but its authorisation still holds money"}, l.Wrong)
		}},
		{
			"set aside without an order", confirmed, entries("a", authorized, captured),
			[]inventory.Movement{goods, {OrderID: "b", SKU: "X", Quantity: 1}},
			func(t *testing.T, l Ledger) {
				require.False(t, l.OK())
				require.Equal(t, []string{"order b is unknown, but goods are set aside for it"}, l.Wrong)
			},
		},
		{
			"undone without an order", confirmed, slices.Concat(entries("a", authorized, captured), entries("b", authorized, captured, refunded)),
			[]inventory.Movement{goods, {OrderID: "c", SKU: "X", Quantity: 1}, {OrderID: "c", SKU: "X", Quantity: -1}},
			func(t *testing.T, l Ledger) {
				require.True(t, l.OK())
			},
		},
		{
			"confirmed, less", two, entries("a", authorized, captured),
			[]inventory.Movement{goods},
			func(t *testing.T, l Ledger) {
				require.Equal(t, []string{"order a is confirmed, but map[X:1] is set aside for it instead of map[X:1 Y:1]"}, l.Wrong)
			},
		},
		{
			"confirmed, more", confirmed, entries("a", authorized, captured),
			[]inventory.Movement{{OrderID: "a", SKU: "X", Quantity: 2}},
			func(t *testing.T, l Ledger) {
				require.Equal(t, []string{"order a is confirmed, but map[X:2] is set aside for it instead of map[X:1]"}, l.Wrong)
			},
		},
		{"reserved twice", confirmed, entries("a", authorized, captured), []inventory.Movement{goods, goods}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"a"}, l.ReservedTwice)
			require.Equal(t, []string{"order a is confirmed, but map[X:2] is set aside for it instead of map[X:1]"}, l.Wrong)
		}},
		{"confirmed for nothing", confirmed, entries("a", authorized), []inventory.Movement{goods}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"order a is confirmed, but 0 was charged for it instead of 100"}, l.Wrong)
		}},
		{"confirmed without goods", confirmed, entries("a", authorized, captured), nil, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"order a is confirmed, but no goods were set aside for it"}, l.Wrong)
		}},
		{"cancelled, and held", cancelled, entries("a", authorized), nil, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{"order a is cancelled, but its authorisation still holds money"}, l.Wrong)
		}},
		{"cancelled, and charged", cancelled, entries("a", authorized, captured), []inventory.Movement{goods}, func(t *testing.T, l Ledger) {
			require.Equal(t, []string{
				"order a is cancelled, but 100 was charged for it and not refunded",
				"order a is cancelled, but its authorisation still holds money",
				"order a is cancelled, but goods are set aside for it",
			}, l.Wrong)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.check(t, Check(order.Audit{Orders: []order.AuditedOrder{tc.order}},
				inventory.Audit{Movements: tc.goods}, payment.Audit{Ledger: tc.money}, []string{"a"}))
		})
	}
}

func TestLostAndCounted(t *testing.T) {
	t.Parallel()
	sent := time.Now()
	var orders order.Audit
	for i := range 100 {
		orders.Orders = append(orders.Orders, order.AuditedOrder{
			OrderID: string(rune('a' + i)), State: order.StateCancelled, Reason: "declined",
			SentAt: sent, DecidedAt: sent.Add(time.Duration(100-i) * time.Millisecond),
		})
	}
	orders.Orders[0].SentAt = time.Time{} // the slowest order, from a foreign sender
	orders.Unsent = 2
	stock := inventory.Audit{
		Stock:  []inventory.Shelf{{SKU: "X", OnHand: 2, Reserved: 1}},
		Unsent: 3,
	}
	l := Check(orders, stock, payment.Audit{}, []string{"a", "missing"})
	require.Equal(t, []string{"missing"}, l.Lost)
	require.Equal(t, []string{"the reserved stock of X differs from the sum of its movements"}, l.Wrong)
	require.Equal(t, 5, l.Unsent)
	require.Equal(t, Latency{
		Measured: 99, P50: 50 * time.Millisecond, P95: 95 * time.Millisecond, P99: 99 * time.Millisecond, Max: 99 * time.Millisecond,
	}, l.Latency)
	require.Equal(t, Latency{}, Check(order.Audit{}, inventory.Audit{}, payment.Audit{}, nil).Latency)
}
