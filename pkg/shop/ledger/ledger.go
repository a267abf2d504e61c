// Package ledger audits the shop from its services' own stores: how each order ended, and whether money and goods moved
// as they should have. It does not rely on any counter kept by a sender.
package ledger

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/shop/inventory"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/pkg/shop/payment"
)

// Paths are the paths of the three stores.
type Paths struct {
	Order, Inventory, Payment string
}

// A Ledger is the combined result of the three stores.
type Ledger struct {
	// Orders is the number of orders that the order service stored.
	Orders    int `json:"orders"`
	Confirmed int `json:"confirmed"`
	// Cancelled counts cancelled orders by reason.
	Cancelled map[string]int `json:"cancelled"`
	// Undecided holds the ids of unfinished orders, and Overdue of those among them that are closing: their time is over.
	Undecided []string `json:"undecided"`
	Overdue   []string `json:"overdue"`
	// Lost holds the ids of orders that were sent but are unknown to the order service. That includes dead-lettered
	// orders, which are not lost; the caller removes them.
	Lost []string `json:"lost"`
	// ChargedTwice and ReservedTwice hold the ids of orders whose effect happened more than once, according to the raw
	// rows.
	ChargedTwice  []string `json:"charged_twice"`
	ReservedTwice []string `json:"reserved_twice"`
	// Wrong lists all other inconsistencies, one sentence each.
	Wrong []string `json:"wrong"`
	// Unsent counts the messages in the outboxes of the three services, but for those that are for later.
	Unsent int `json:"unsent"`
	// Latency is measured from sending an order to its decision.
	Latency Latency `json:"latency"`
}

// Latency holds quantiles of the measured orders.
type Latency struct {
	Measured int           `json:"measured"`
	P50      time.Duration `json:"p50_ns"`
	P95      time.Duration `json:"p95_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
}

// OK reports whether every order is finished, everything was sent, and nothing is lost, doubled or wrong.
func (l Ledger) OK() bool {
	return l.Unsent+len(l.Undecided)+len(l.Lost)+len(l.ChargedTwice)+len(l.ReservedTwice)+len(l.Wrong) == 0
}

// Read reads the three stores and checks them; sent holds the ids of the orders that must be there. Workers may have
// the stores open, but since the three are not read at the same moment, work in progress may then show up in Wrong.
func Read(ctx context.Context, p Paths, sent []string) (Ledger, error) {
	// Orders first: whatever they say about money and goods is already in the stores read after them.
	orders, err := order.ReadAudit(ctx, p.Order)
	if err != nil {
		return Ledger{}, fmt.Errorf("order: %w", err)
	}
	stock, err := inventory.ReadAudit(ctx, p.Inventory)
	if err != nil {
		return Ledger{}, fmt.Errorf("inventory: %w", err)
	}
	payments, err := payment.ReadAudit(ctx, p.Payment)
	if err != nil {
		return Ledger{}, fmt.Errorf("payment: %w", err)
	}
	return Check(orders, stock, payments, sent), nil
}

// Check compares the three stores. It is a pure function.
func Check(orders order.Audit, stock inventory.Audit, payments payment.Audit, sent []string) Ledger {
	l := Ledger{Orders: len(orders.Orders), Cancelled: map[string]int{}}
	accounts, goods := payments.Accounts(), stock.Goods()
	known := make(map[string]bool, len(orders.Orders))
	latencies := make([]time.Duration, 0, len(orders.Orders))
	for _, o := range orders.Orders {
		known[o.OrderID] = true
		switch o.State {
		case order.StateConfirmed:
			l.Confirmed++
		case order.StateCancelled:
			l.Cancelled[o.Reason]++
		case order.StateClosing:
			l.Overdue = append(l.Overdue, o.OrderID)
			fallthrough
		default:
			l.Undecided = append(l.Undecided, o.OrderID)
		}
		if d, ok := o.Latency(); ok {
			latencies = append(latencies, d)
		}
		l.Wrong = append(l.Wrong, checkOrder(o, accounts[o.OrderID], goods[o.OrderID])...)
	}
	for _, id := range strangers(known, accounts, goods) {
		l.Wrong = append(l.Wrong, checkOrder(order.AuditedOrder{OrderID: id, State: unknown}, accounts[id], goods[id])...)
	}
	for _, id := range sent {
		if !known[id] {
			l.Lost = append(l.Lost, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(accounts)) {
		if accounts[id].Captured > 1 {
			l.ChargedTwice = append(l.ChargedTwice, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(goods)) {
		if goods[id].Taken > 1 {
			l.ReservedTwice = append(l.ReservedTwice, id)
		}
	}
	for _, sku := range stock.Misplaced() {
		l.Wrong = append(l.Wrong, fmt.Sprintf("the reserved stock of %s differs from the sum of its movements", sku))
	}
	l.Unsent = orders.Unsent + stock.Unsent + payments.Unsent
	l.Latency = latencyOf(latencies)
	return l
}

// unknown is the state of an order that the order service does not have, but payment or inventory.
const unknown order.State = "unknown"

// strangers returns the ids of such orders.
func strangers(known map[string]bool, accounts map[string]payment.Account, goods map[string]inventory.Goods) []string {
	ids := slices.Concat(slices.Collect(maps.Keys(accounts)), slices.Collect(maps.Keys(goods)))
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return known[id] })
}

// checkOrder returns the inconsistencies between an order, its money and its goods. Doubles are counted elsewhere.
func checkOrder(o order.AuditedOrder, a payment.Account, g inventory.Goods) []string {
	var wrong []string
	complain := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("order %s is %s, but ", o.OrderID, o.State)+fmt.Sprintf(format, args...))
	}
	net := a.Charged - a.Returned
	if a.Authorized > 1 {
		complain("it was authorised %d times", a.Authorized)
	}
	if a.Refunded > a.Captured {
		complain("it was refunded more often than charged")
	}
	if a.Voided > 1 {
		complain("its authorisation was released %d times", a.Voided)
	}
	if g.Returned > g.Taken {
		complain("its goods were put back more often than taken")
	}
	switch o.State {
	case order.StateConfirmed:
		if net != o.Total {
			complain("%d was charged for it instead of %d", net, o.Total)
		}
		if len(g.Held) == 0 {
			complain("no goods were set aside for it")
		} else if !maps.Equal(g.Held, o.Goods) {
			complain("%v is set aside for it instead of %v", g.Held, o.Goods)
		}
	case order.StateCancelled, unknown:
		if net != 0 {
			complain("%d was charged for it and not refunded", net)
		}
		if a.Authorized > 0 && a.Voided == 0 && a.Refunded == 0 {
			complain("its authorisation still holds money")
		}
		if len(g.Held) != 0 {
			complain("goods are set aside for it")
		}
	default:
	}
	return wrong
}

func latencyOf(d []time.Duration) Latency {
	if len(d) == 0 {
		return Latency{}
	}
	slices.SortFunc(d, cmp.Compare[time.Duration])
	// The nearest-rank quantile, which is always one of the measured values.
	at := func(q float64) time.Duration { return d[max(int(math.Ceil(q*float64(len(d)))), 1)-1] }
	return Latency{Measured: len(d), P50: at(0.50), P95: at(0.95), P99: at(0.99), Max: d[len(d)-1]}
}
