package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
)

// Order is an order.
type Order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

var (
	OrderPlaced = leveret.NewEvent[Order]("orders.placed", leveret.Key(func(o Order) string { return o.ID }))
	Remind      = leveret.NewCommand[Order]("orders.remind")
	Orders      = leveret.NewService("orders", leveret.Publishes(OrderPlaced), leveret.Sends(Remind))
	Sales       = leveret.NewService("sales", leveret.SubscribesTo(OrderPlaced))
)

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

// salesHandlers add up what was sold, each order once, however often its event arrives.
func salesHandlers(o *outbox.Outbox) *leveret.Handlers {
	h := leveret.NewHandlers(Sales, leveret.HandlersConfig{Middleware: []leveret.Middleware{o.Once}})
	OrderPlaced.Subscribe(h, func(ctx context.Context, order Order) error {
		_, err := outbox.Tx(ctx).ExecContext(ctx, "UPDATE sales SET cents = cents + $1", order.Cents)
		return err
	})
	return h
}

// An event is stored with its order, sent by a relay, and counted once though it arrives twice.
func Example() {
	dir, err := os.MkdirTemp("", "outbox")
	if err == nil {
		err = sell(context.Background(), filepath.Join(dir, "shop.db"))
		_ = os.RemoveAll(dir)
	}
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// sent orders.placed
	// sold 500
}

func sell(ctx context.Context, file string) error {
	db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id TEXT, cents INTEGER); CREATE TABLE sales (cents INTEGER); INSERT INTO sales VALUES (0)"); err != nil {
		return err
	}
	o, err := outbox.New(ctx, outbox.Config{DB: db, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := place(ctx, o, Order{ID: "o-1", Cents: 500}); err != nil {
		return err
	}

	relaying, stop := context.WithCancel(ctx)
	ended, sent := make(chan error), make(chan *leveret.Message, 1)
	go func() {
		ended <- o.Relay(relaying, Orders, senderFunc(func(_ context.Context, m *leveret.Message) error { sent <- m; return nil }))
	}()
	m := <-sent // in a program, the relay has a leveret.Client, and this arrives at a worker
	stop()
	if err := <-ended; err != nil {
		return err
	}
	fmt.Println("sent", m.Contract.Spec().Name)

	order, h := Order{ID: "o-1", Cents: 500}, salesHandlers(o)
	delivered := leverettest.Deliver(ctx, h, OrderPlaced, order)
	again := delivered.Again(ctx)
	var cents int64
	if err := db.QueryRowContext(ctx, "SELECT cents FROM sales").Scan(&cents); err != nil {
		return err
	}
	fmt.Println("sold", cents)
	return again.Err
}
