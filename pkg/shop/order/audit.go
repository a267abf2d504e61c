package order

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

// An Audit is the content of the order service's store, for checking the system from outside.
type Audit struct {
	Orders []AuditedOrder `json:"orders"`
	// Unsent counts the messages in the outbox, but for those that are for later.
	Unsent int `json:"unsent"`
}

// An AuditedOrder is one order in an audit.
type AuditedOrder struct {
	OrderID  string `json:"order_id"`
	State    State  `json:"state"`
	Reason   string `json:"reason,omitempty"`
	Total    int64  `json:"total"`
	Currency string `json:"currency"`
	// Goods is the quantity of each article that was ordered. It is nil if the store's text cannot be read.
	Goods map[string]int64 `json:"goods"`
	// SentAt is zero if the sender did not set it, DecidedAt while the order is unfinished.
	SentAt    time.Time `json:"sent_at,omitzero"`
	DecidedAt time.Time `json:"decided_at,omitzero"`
}

// Latency returns the time from sending the order to its decision. It returns false if either is unknown.
func (o AuditedOrder) Latency() (time.Duration, bool) {
	if o.SentAt.IsZero() || o.DecidedAt.IsZero() {
		return 0, false
	}
	return o.DecidedAt.Sub(o.SentAt), true
}

// ordered reads the quantities from the text in which the store keeps the lines of an order. It is not how the service does it.
func ordered(lines string) map[string]int64 {
	var all []struct {
		SKU      string `json:"sku"`
		Quantity int64  `json:"quantity"`
	}
	if json.Unmarshal([]byte(lines), &all) != nil {
		return nil
	}
	goods := map[string]int64{}
	for _, l := range all {
		goods[l.SKU] += l.Quantity
	}
	return goods
}

// ReadAudit reads a store, whose source is that of [store.View]. It writes nothing and does not block a worker that
// has the store open.
func ReadAudit(ctx context.Context, source string) (Audit, error) {
	var a Audit
	err := store.View(ctx, source, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx,
			"SELECT order_id, state, reason, total, currency, lines, sent_at, decided_at FROM orders ORDER BY received_at, order_id")
		if err != nil {
			return err
		}
		a.Orders, err = store.Collect(rows, func(r *sql.Rows, o *AuditedOrder) error {
			var lines string
			var sent, decided sql.NullInt64
			if err := r.Scan(&o.OrderID, &o.State, &o.Reason, &o.Total, &o.Currency, &lines, &sent, &decided); err != nil {
				return err
			}
			o.Goods = ordered(lines)
			o.SentAt, o.DecidedAt = store.Time(sent), store.Time(decided)
			return nil
		})
		if err != nil {
			return err
		}
		a.Unsent, err = store.Unsent(ctx, q)
		return err
	})
	return a, err
}

// CountDecided returns the number of finished orders in a store. Like [ReadAudit], it only reads.
func CountDecided(ctx context.Context, source string) (n int, err error) {
	err = store.View(ctx, source, func(q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT count(*) FROM orders WHERE state IN ($1, $2)", StateConfirmed, StateCancelled).Scan(&n)
	})
	return n, err
}
