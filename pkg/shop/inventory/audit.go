package inventory

import (
	"context"
	"database/sql"
	"maps"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

// An Audit is the content of the inventory service's store, for checking the system from outside.
type Audit struct {
	Stock        []Shelf              `json:"stock"`
	Reservations []AuditedReservation `json:"reservations"`
	Movements    []Movement           `json:"movements"`
	// Unsent counts the messages in the outbox, but for those that are for later.
	Unsent int `json:"unsent"`
}

// A Shelf is the stock of one article.
type Shelf struct {
	SKU      string `json:"sku"`
	OnHand   int64  `json:"on_hand"`
	Reserved int64  `json:"reserved"`
}

// An AuditedReservation is the decision on one order.
type AuditedReservation struct {
	OrderID string `json:"order_id"`
	State   State  `json:"state"`
}

// A Movement is a quantity of one article taken off the shelf for an order or, if it is negative, put back.
type Movement struct {
	OrderID   string `json:"order_id"`
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	MessageID string `json:"message_id"`
}

// Goods sums up the movements of one order.
type Goods struct {
	// Taken and Returned are how often goods were taken off the shelf and put back: the highest count among the order's
	// articles. If either is above one, an effect happened twice.
	Taken, Returned int
	// Held is the quantity of each article that is still set aside, without those of which none is.
	Held map[string]int64
}

// Goods adds up the raw movements by order, and looks at nothing else.
func (a Audit) Goods() map[string]Goods {
	type line struct {
		orderID, sku string
		back         bool
	}
	times := make(map[line]int, len(a.Movements))
	goods := make(map[string]Goods, len(a.Reservations))
	for _, m := range a.Movements {
		l := line{m.OrderID, m.SKU, m.Quantity < 0}
		times[l]++
		g := goods[m.OrderID]
		if g.Held == nil {
			g.Held = map[string]int64{}
		}
		g.Held[m.SKU] += m.Quantity
		if l.back {
			g.Returned = max(g.Returned, times[l])
		} else {
			g.Taken = max(g.Taken, times[l])
		}
		goods[m.OrderID] = g
	}
	for _, g := range goods {
		maps.DeleteFunc(g.Held, func(_ string, n int64) bool { return n == 0 })
	}
	return goods
}

// Misplaced returns the articles whose reserved quantity differs from the sum of their movements. There should be none.
func (a Audit) Misplaced() []string {
	sum := map[string]int64{}
	for _, m := range a.Movements {
		sum[m.SKU] += m.Quantity
	}
	var wrong []string
	for _, s := range a.Stock {
		if sum[s.SKU] != s.Reserved {
			wrong = append(wrong, s.SKU)
		}
	}
	return wrong
}

// ReadAudit reads a store, whose source is that of [store.View]. It writes nothing and does not block a worker that
// has the store open.
func ReadAudit(ctx context.Context, source string) (Audit, error) {
	var a Audit
	err := store.View(ctx, source, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT sku, on_hand, reserved FROM stock ORDER BY sku")
		if err != nil {
			return err
		}
		a.Stock, err = store.Collect(rows, func(r *sql.Rows, s *Shelf) error { return r.Scan(&s.SKU, &s.OnHand, &s.Reserved) })
		if err != nil {
			return err
		}
		rows, err = q.QueryContext(ctx, "SELECT order_id, state FROM reservations ORDER BY order_id")
		if err != nil {
			return err
		}
		a.Reservations, err = store.Collect(rows, func(r *sql.Rows, x *AuditedReservation) error {
			return r.Scan(&x.OrderID, &x.State)
		})
		if err != nil {
			return err
		}
		rows, err = q.QueryContext(ctx, "SELECT order_id, sku, quantity, message_id FROM movements ORDER BY id")
		if err != nil {
			return err
		}
		a.Movements, err = store.Collect(rows, func(r *sql.Rows, m *Movement) error {
			return r.Scan(&m.OrderID, &m.SKU, &m.Quantity, &m.MessageID)
		})
		if err != nil {
			return err
		}
		a.Unsent, err = store.Unsent(ctx, q)
		return err
	})
	return a, err
}
