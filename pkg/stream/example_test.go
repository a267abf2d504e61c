package stream_test

import (
	"context"
	"database/sql"
	"errors"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/stream"
)

// Paid is the payload of a kept event.
type Paid struct {
	CustomerID string    `json:"customer_id"`
	OrderID    string    `json:"order_id"`
	Cents      int64     `json:"cents"`
	PaidAt     time.Time `json:"paid_at"`
}

var (
	OrderPaid = leveret.NewEvent[Paid]("order.paid", leveret.Kept(365*24*time.Hour, 1_000_000_000))
	Reports   = leveret.NewService("reports", leveret.Reads(OrderPaid))
)

// inTx runs f in a transaction.
func inTx(db *sql.DB) func(context.Context, func(*sql.Tx) error) error {
	return func(ctx context.Context, f func(*sql.Tx) error) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // no effect after a commit
		if err := f(tx); err != nil {
			return err
		}
		return tx.Commit()
	}
}

// A table of what each order has paid, from the first event on. The primary key makes an event that comes twice count once.
func ExampleProjection() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := report(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// report runs the projection until ctx ends.
func report(ctx context.Context) error {
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{"amqp://localhost"}})
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "reports.db") // with the table paid (order_id PRIMARY KEY, customer_id, cents)
	if err != nil {
		return err
	}
	p := stream.NewProjection(conn, Reports, stream.ProjectionConfig{
		Name: "paid-orders",
		From: stream.First(),
		InTx: inTx(db),
		Empty: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM paid")
			return err
		},
	})
	stream.On(p, OrderPaid, func(ctx context.Context, tx *sql.Tx, e stream.EventOf[Paid]) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO paid (order_id, customer_id, cents) VALUES ($1, $2, $3)
			ON CONFLICT (order_id) DO UPDATE SET cents = excluded.cents`, e.Payload.OrderID, e.Payload.CustomerID, e.Payload.Cents)
		return err
	})
	return errors.Join(p.Run(ctx), conn.Close(context.WithoutCancel(ctx)), db.Close())
}
