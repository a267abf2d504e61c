package order

import (
	"context"
	"database/sql"
	"time"

	"github.com/leveretmq/leveret/pkg/shop/store"
)

// An Audit is what the order service's store says, for whoever wants to check the system from its stores.
type Audit struct {
	Orders     []AuditedOrder     `json:"orders"`
	Deliveries []store.Deliveries `json:"deliveries"`
}

// An AuditedOrder is one order in an audit.
type AuditedOrder struct {
	OrderID  string `json:"order_id"`
	State    State  `json:"state"`
	Reason   string `json:"reason,omitempty"`
	Total    int64  `json:"total"`
	Currency string `json:"currency"`
	// SentAt is zero where the sender did not say; DecidedAt while the order has not come to its end.
	SentAt    time.Time `json:"sent_at,omitzero"`
	DecidedAt time.Time `json:"decided_at,omitzero"`
}

// Latency is how long it took from the sending of the order to its end; false where one of the two is not known.
func (o AuditedOrder) Latency() (time.Duration, bool) {
	if o.SentAt.IsZero() || o.DecidedAt.IsZero() {
		return 0, false
	}
	return o.DecidedAt.Sub(o.SentAt), true
}

// ReadAudit reads the store at path, without writing to it and without disturbing a worker that has it open.
func ReadAudit(ctx context.Context, path string) (Audit, error) {
	var a Audit
	err := store.View(ctx, path, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx,
			"SELECT order_id, state, reason, total, currency, sent_at, decided_at FROM orders ORDER BY received_at, order_id")
		if err != nil {
			return err
		}
		a.Orders, err = store.Collect(rows, func(r *sql.Rows, o *AuditedOrder) error {
			var sent, decided sql.NullInt64
			if err := r.Scan(&o.OrderID, &o.State, &o.Reason, &o.Total, &o.Currency, &sent, &decided); err != nil {
				return err
			}
			o.SentAt, o.DecidedAt = store.Time(sent), store.Time(decided)
			return nil
		})
		if err != nil {
			return err
		}
		a.Deliveries, err = store.ReadDeliveries(ctx, q)
		return err
	})
	return a, err
}

// CountDecided returns how many orders of the store at path have come to their end. It reads as [ReadAudit] does.
func CountDecided(ctx context.Context, path string) (n int, err error) {
	err = store.View(ctx, path, func(q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT count(*) FROM orders WHERE state IN (?, ?)", StateConfirmed, StateCancelled).Scan(&n)
	})
	return n, err
}
