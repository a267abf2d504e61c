package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// RecordDelivery writes down, in the transaction of its effect, that the message which ctx belongs to was handled. A
// message that is handled again is written down again: from the rows follows how often the broker had to redeliver.
// The migrations of the store must have made the table deliveries. Outside a handler it does nothing.
func RecordDelivery(ctx context.Context, tx *sql.Tx, at time.Time) error {
	m := leveret.MessageFrom(ctx)
	if m == nil {
		return nil
	}
	_, err := tx.ExecContext(ctx,
		"INSERT INTO deliveries (message_id, contract, queue, attempt, redelivered, handled_at) VALUES (?, ?, ?, ?, ?, ?)",
		m.ID, m.Contract.Spec().Name, m.Queue, m.Attempt, m.Redelivered, Micros(at))
	if err != nil {
		return fmt.Errorf("deliveries: %w", err)
	}
	return nil
}

// MessageID returns the id of the message that is being handled; "" outside a handler, or where a foreign sender gave
// none.
func MessageID(ctx context.Context) string {
	if m := leveret.MessageFrom(ctx); m != nil {
		return m.ID
	}
	return ""
}

// Deliveries counts the messages that a service handled.
type Deliveries struct {
	// Contract is what was handled.
	Contract string `json:"contract"`
	// Handled counts every time that a handler finished; Messages the different messages.
	Handled  int `json:"handled"`
	Messages int `json:"messages"`
	// Redelivered counts how often the broker delivered a message again that a worker had taken and not settled; Retried
	// how often the retry policy brought one back.
	Redelivered int `json:"redelivered"`
	Retried     int `json:"retried"`
}

// ReadDeliveries counts the deliveries of a store, by contract.
func ReadDeliveries(ctx context.Context, db Querier) ([]Deliveries, error) {
	rows, err := db.QueryContext(ctx, `
		SELECT contract, count(*), count(DISTINCT message_id), coalesce(sum(redelivered), 0), coalesce(sum(attempt > 1), 0)
		FROM deliveries GROUP BY contract ORDER BY contract`)
	if err != nil {
		return nil, fmt.Errorf("deliveries: %w", err)
	}
	return Collect(rows, func(r *sql.Rows, d *Deliveries) error {
		return r.Scan(&d.Contract, &d.Handled, &d.Messages, &d.Redelivered, &d.Retried)
	})
}
