// Command ordersd takes orders over HTTP, and reminds of them. Its messages are stored in the transactions of their causes, and
// each reminder counts once.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/service"
)

// Order is an order.
type Order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

var (
	OrderPlaced = leveret.NewEvent[Order]("orders.placed", leveret.Key(func(o Order) string { return o.ID }))
	Remind      = leveret.NewCommand[Order]("orders.remind")
	Orders      = leveret.NewService("orders", leveret.Publishes(OrderPlaced), leveret.Sends(Remind), leveret.Handles(Remind))
)

func main() { service.Main(program) }

var program = service.Program{Service: Orders, Outbox: true, Setup: setup}

func setup(ctx context.Context, rt *service.Runtime) error {
	db, err := sql.Open("sqlite", "file:"+rt.DatabaseSource+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return err
	}
	rt.Close("database", db.Close)
	db.SetMaxOpenConns(1) // SQLite has one writer at a time
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, cents INTEGER, reminders INTEGER DEFAULT 0)"); err != nil {
		return err
	}
	o, err := outbox.New(ctx, outbox.Config{DB: db, Logger: rt.Logger, MeterProvider: rt.MeterProvider})
	if err != nil {
		return err
	}
	rt.Relay(o)    // sends what is stored
	rt.Use(o.Once) // handles each message once
	Remind.Handle(rt.Handlers, func(ctx context.Context, order Order) error {
		_, err := outbox.Tx(ctx).ExecContext(ctx, "UPDATE orders SET reminders = reminders + 1 WHERE id = $1", order.ID)
		return err
	})
	rt.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var order Order
		err := json.NewDecoder(r.Body).Decode(&order)
		if err == nil {
			err = place(r.Context(), o, order)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	return nil
}

// place stores an order, its event, and a reminder for tomorrow: all of them, or nothing.
func place(ctx context.Context, o *outbox.Outbox, order Order) error {
	return o.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id, cents) VALUES ($1, $2)", order.ID, order.Cents); err != nil {
			return err
		}
		if err := Remind.Send(ctx, outbox.In(tx), order, leveret.After(24*time.Hour)); err != nil {
			return err
		}
		return OrderPlaced.Publish(ctx, outbox.In(tx), order)
	})
}
