package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// RecordDelivery records in tx, the transaction of its effect, that the message in ctx was handled. A message that is
// handled again is recorded again, so that the rows show how often messages were redelivered. Outside a handler,
// RecordDelivery does nothing.
func RecordDelivery(ctx context.Context, tx *sql.Tx, at time.Time) error {
	m := leveret.MessageFrom(ctx)
	if m == nil {
		return nil
	}
	_, err := tx.ExecContext(ctx,
		"INSERT INTO deliveries (message_id, contract, queue, attempt, redelivered, handled_at) VALUES ($1, $2, $3, $4, $5, $6)",
		m.ID, m.Contract.Spec().Name, m.Queue, m.Attempt, m.Redelivered, Micros(at))
	if err != nil {
		return fmt.Errorf("deliveries: %w", err)
	}
	return nil
}

// MessageID returns the id of the message being handled. It is empty outside a handler, or if the sender set no id.
func MessageID(ctx context.Context) string {
	if m := leveret.MessageFrom(ctx); m != nil {
		return m.ID
	}
	return ""
}

// Deliveries counts the handled messages of one contract.
type Deliveries struct {
	// Contract is the contract's name.
	Contract string `json:"contract"`
	// Handled counts handled deliveries, Messages distinct messages.
	Handled  int `json:"handled"`
	Messages int `json:"messages"`
	// Redelivered counts deliveries that the broker repeated because a worker had not settled the message, Retried those
	// that the retry policy brought back.
	Redelivered int `json:"redelivered"`
	Retried     int `json:"retried"`
}

// ReadDeliveries returns the counts of a store, sorted by contract.
func ReadDeliveries(ctx context.Context, db Querier) ([]Deliveries, error) {
	rows, err := db.QueryContext(ctx, `
		SELECT contract, count(*), count(DISTINCT message_id), count(*) FILTER (WHERE redelivered),
			count(*) FILTER (WHERE attempt > 1)
		FROM deliveries GROUP BY contract ORDER BY contract`)
	if err != nil {
		return nil, fmt.Errorf("deliveries: %w", err)
	}
	return Collect(rows, func(r *sql.Rows, d *Deliveries) error {
		return r.Scan(&d.Contract, &d.Handled, &d.Messages, &d.Redelivered, &d.Retried)
	})
}
