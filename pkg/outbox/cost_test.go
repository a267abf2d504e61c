package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
)

// ours creates the tables of a program that does by hand what an outbox and an inbox do.
func ours(b *testing.B, db *sql.DB) {
	b.Helper()
	for _, table := range []string{"sold (n BIGINT)", "handled (id TEXT PRIMARY KEY)", "unsent (n BIGINT PRIMARY KEY, id TEXT, body TEXT)"} {
		_, err := db.ExecContext(b.Context(), "CREATE TABLE "+table)
		require.NoError(b, err)
	}
}

func sold(ctx context.Context, tx *sql.Tx, n int) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO sold (n) VALUES ($1)", n)
	return err
}

// BenchmarkEffect handles messages, with an effect of one row, in a transaction each: alone; with the id of the message, as
// programs do it by hand; and with the inbox.
func BenchmarkEffect(b *testing.B) {
	db := database(b)
	ours(b, db)
	o := made(b, outbox.Config{DB: db})
	first := 0
	for name, of := range map[string]struct {
		middleware []leveret.Middleware
		handle     func(ctx context.Context, n numbered) error
	}{
		"alone": {nil, func(ctx context.Context, n numbered) error {
			return o.InTx(ctx, func(tx *sql.Tx) error { return sold(ctx, tx, n.N) })
		}},
		"by hand": {nil, func(ctx context.Context, n numbered) error {
			return o.InTx(ctx, func(tx *sql.Tx) error {
				result, err := tx.ExecContext(ctx, "INSERT INTO handled (id) VALUES ($1) ON CONFLICT DO NOTHING", leveret.MessageFrom(ctx).ID)
				if err != nil {
					return err
				}
				if noted, err := result.RowsAffected(); err != nil || noted == 0 {
					return err
				}
				return sold(ctx, tx, n.N)
			})
		}},
		"once": {[]leveret.Middleware{o.Once}, func(ctx context.Context, n numbered) error { return sold(ctx, outbox.Tx(ctx), n.N) }},
	} {
		b.Run(name, func(b *testing.B) {
			h := leveret.NewHandlers(leveret.NewService("sales", leveret.SubscribesTo(placed)), leveret.HandlersConfig{Middleware: of.middleware})
			placed.Subscribe(h, of.handle)
			for b.Loop() {
				first++
				m := &leveret.Message{Contract: placed, ID: fmt.Sprintf("%036d", first), Body: []byte(`{"key":"k","n":1}`)}
				m.Queue = "sales.on.order.placed"
				if outcome := h.Process(b.Context(), m, nil); outcome.Err != nil {
					b.Fatal(outcome.Err)
				}
			}
		})
	}
}

// BenchmarkStore commits a row, in a transaction each: alone; with a message, as programs do it by hand; and with one in the
// outbox.
func BenchmarkStore(b *testing.B) {
	db, ctx := database(b), b.Context()
	ours(b, db)
	o := made(b, outbox.Config{DB: db})
	n := 0
	for name, store := range map[string]func(tx *sql.Tx) error{
		"alone": func(*sql.Tx) error { return nil },
		"by hand": func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO unsent (n, id, body) VALUES ($1, $2, $3)", n, fmt.Sprintf("%036d", n), `{"key":"k","n":1}`)
			return err
		},
		"outbox": func(tx *sql.Tx) error { return placed.Publish(ctx, outbox.In(tx), numbered{"k", n}) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n++
				if err := o.InTx(ctx, func(tx *sql.Tx) error {
					if err := sold(ctx, tx, n); err != nil {
						return err
					}
					return store(tx)
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRelayByHand does the least that one process can do by itself: it reads a thousand messages in their order, sends them
// without regard to their keys, and deletes them.
func BenchmarkRelayByHand(b *testing.B) {
	c, ctx, db := client(b), b.Context(), database(b)
	ours(b, db)
	o := made(b, outbox.Config{DB: db})
	for from := 0; from < b.N; from += 1000 {
		require.NoError(b, o.InTx(ctx, func(tx *sql.Tx) error {
			for n := from; n < min(from+1000, b.N); n++ {
				if _, err := tx.ExecContext(ctx, "INSERT INTO unsent (n, id, body) VALUES ($1, $2, $3)", n, fmt.Sprintf("%036d", n), strconv.Itoa(n)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.NoError(b, placed.Publish(ctx, c, numbered{"k", 1}))
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		numbers, last := unsent(b, db)
		var sending sync.WaitGroup
		turns := make(chan struct{}, 256)
		for _, n := range numbers {
			turns <- struct{}{}
			sending.Go(func() {
				if err := placed.Publish(ctx, c, numbered{strconv.Itoa(n % 1000), n}); err != nil {
					b.Error(err)
				}
				<-turns
			})
		}
		sending.Wait()
		_, err := db.ExecContext(ctx, "DELETE FROM unsent WHERE n <= $1", last)
		require.NoError(b, err)
		sent += len(numbers)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// unsent reads the next messages, and returns the number of the last one.
func unsent(b *testing.B, db *sql.DB) (numbers []int, last int) {
	b.Helper()
	rows, err := db.QueryContext(b.Context(), "SELECT n, id, body FROM unsent ORDER BY n LIMIT 1000")
	require.NoError(b, err)
	defer func() { require.NoError(b, rows.Close()) }()
	for rows.Next() {
		var id, body string
		require.NoError(b, rows.Scan(&last, &id, &body))
		numbers = append(numbers, last)
	}
	require.NoError(b, rows.Err())
	return numbers, last
}
