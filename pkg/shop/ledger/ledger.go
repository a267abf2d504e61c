// Package ledger checks the shop from its services' own stores: what became of every order, and whether money and goods
// moved as they should have. It trusts no counter of anybody who sent.
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
	"github.com/leveretmq/leveret/pkg/shop/store"
)

// Paths are the files of the three stores.
type Paths struct {
	Order, Inventory, Payment string
}

// A Ledger is what the three stores say together.
type Ledger struct {
	// Orders is how many orders the order service took.
	Orders    int `json:"orders"`
	Confirmed int `json:"confirmed"`
	// Cancelled counts by reason.
	Cancelled map[string]int `json:"cancelled"`
	// Undecided are the orders that have not come to their end.
	Undecided []string `json:"undecided"`
	// Lost are the orders that somebody says to have sent, and that the order service does not know. An order that was
	// dead-lettered is not lost: whoever asks takes those off.
	Lost []string `json:"lost"`
	// ChargedTwice and ReservedTwice are orders whose effect happened more than once, by the raw rows.
	ChargedTwice  []string `json:"charged_twice"`
	ReservedTwice []string `json:"reserved_twice"`
	// Wrong says what else does not fit together, a sentence for each.
	Wrong []string `json:"wrong"`
	// Redelivered counts the messages that the broker had to deliver again, Retried those that the retry policy brought
	// back, in all three services.
	Redelivered int `json:"redelivered"`
	Retried     int `json:"retried"`
	// Latency is from the sending of an order to its end.
	Latency Latency `json:"latency"`
}

// Latency are quantiles: so many of the measured orders took no longer.
type Latency struct {
	Measured int           `json:"measured"`
	P50      time.Duration `json:"p50_ns"`
	P95      time.Duration `json:"p95_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
}

// OK reports whether every order came to its end, and nothing is lost, doubled or wrong.
func (l Ledger) OK() bool {
	return len(l.Undecided)+len(l.Lost)+len(l.ChargedTwice)+len(l.ReservedTwice)+len(l.Wrong) == 0
}

// Read reads the three stores and checks them. Workers may have them open: what is on its way between two services then
// shows as Wrong, since the three are not read at the same moment. sent are the ids of orders that must be there.
func Read(ctx context.Context, p Paths, sent []string) (Ledger, error) {
	// In the order of cause and effect reversed: what the first one read knows, the later ones know as well.
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

// Check compares what the three stores say. It is a pure function.
func Check(orders order.Audit, stock inventory.Audit, payments payment.Audit, sent []string) Ledger {
	l := Ledger{Orders: len(orders.Orders), Cancelled: map[string]int{}}
	accounts, taken := payments.Accounts(), stock.Taken()
	known := make(map[string]bool, len(orders.Orders))
	latencies := make([]time.Duration, 0, len(orders.Orders))
	for _, o := range orders.Orders {
		known[o.OrderID] = true
		switch o.State {
		case order.StateConfirmed:
			l.Confirmed++
		case order.StateCancelled:
			l.Cancelled[o.Reason]++
		default:
			l.Undecided = append(l.Undecided, o.OrderID)
		}
		if d, ok := o.Latency(); ok {
			latencies = append(latencies, d)
		}
		l.Wrong = append(l.Wrong, checkOrder(o, accounts[o.OrderID], taken[o.OrderID])...)
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
	for _, id := range slices.Sorted(maps.Keys(taken)) {
		if taken[id] > 1 {
			l.ReservedTwice = append(l.ReservedTwice, id)
		}
	}
	for _, sku := range stock.Misplaced() {
		l.Wrong = append(l.Wrong, fmt.Sprintf("the stock of %s is not what the movements add up to", sku))
	}
	for _, d := range slices.Concat(orders.Deliveries, stock.Deliveries, payments.Deliveries) {
		l.add(d)
	}
	l.Latency = latencyOf(latencies)
	return l
}

func (l *Ledger) add(d store.Deliveries) {
	l.Redelivered += d.Redelivered
	l.Retried += d.Retried
}

// checkOrder says what does not fit between an order, its money and its goods. Doubles are counted elsewhere.
func checkOrder(o order.AuditedOrder, a payment.Account, taken int) []string {
	var wrong []string
	complain := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("order %s is %s, but ", o.OrderID, o.State)+fmt.Sprintf(format, args...))
	}
	net := a.Charged - a.Returned
	if a.Authorized > 1 {
		complain("was authorised %d times", a.Authorized)
	}
	if a.Refunded > a.Captured {
		complain("was refunded more often than charged")
	}
	switch o.State {
	case order.StateConfirmed:
		if net != o.Total {
			complain("%d were charged for it, not %d", net, o.Total)
		}
		if taken == 0 {
			complain("no goods were set aside for it")
		}
	case order.StateCancelled:
		if net != 0 {
			complain("%d were charged for it and not given back", net)
		}
		if a.Authorized > 0 && a.Voided == 0 && a.Refunded == 0 {
			complain("its authorisation still holds money")
		}
		if taken != 0 {
			complain("goods were set aside for it")
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
	// The nearest-rank quantile: one of the measured values.
	at := func(q float64) time.Duration { return d[max(int(math.Ceil(q*float64(len(d)))), 1)-1] }
	return Latency{Measured: len(d), P50: at(0.50), P95: at(0.95), P99: at(0.99), Max: d[len(d)-1]}
}
