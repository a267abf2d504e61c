package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/topology"
)

func client(b *testing.B) *leveret.Client {
	b.Helper()
	conn, err := leveret.Connect(b.Context(), leveret.ConnConfig{URLs: []string{leverettest.Broker(b)}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, conn.Close(context.WithoutCancel(b.Context()))) })
	warehouse := leveret.NewService("warehouse", leveret.SubscribesTo(placed))
	require.NoError(b, conn.Declare(b.Context(), warehouse.Topology(conn.Names(), topology.Quorum)))
	c, err := leveret.NewClient(conn, order, leveret.ClientConfig{})
	require.NoError(b, err)
	return c
}

// BenchmarkDirect publishes to a quorum queue, with confirms, from as many goroutines as a relay has.
func BenchmarkDirect(b *testing.B) {
	c, ctx := client(b), b.Context()
	require.NoError(b, placed.Publish(ctx, c, numbered{"k", 1}))
	numbers := make(chan int, 1000)
	var all sync.WaitGroup
	b.ResetTimer()
	for range 256 {
		all.Go(func() {
			for n := range numbers {
				if err := placed.Publish(ctx, c, numbered{fmt.Sprint(n % 1000), n}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for n := range b.N {
		numbers <- n
	}
	close(numbers)
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkRelay sends what is stored, of 1000 keys.
func BenchmarkRelay(b *testing.B) {
	c, ctx, db := client(b), b.Context(), database(b)
	o := made(b, outbox.Config{DB: db})
	for from := 0; from < b.N; from += 1000 {
		require.NoError(b, o.InTx(ctx, func(tx *sql.Tx) error {
			for n := from; n < min(from+1000, b.N); n++ {
				if err := placed.Publish(ctx, outbox.In(tx), numbered{fmt.Sprint(n % 1000), n}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.NoError(b, placed.Publish(ctx, c, numbered{"k", 1}))
	b.ResetTimer()
	var sent atomic.Int64
	done := make(chan struct{})
	stop := relaying(b, o, order, senderFunc(func(ctx context.Context, m *leveret.Message) error {
		err := c.Send(ctx, m)
		if err == nil && sent.Add(1) == int64(b.N) {
			close(done)
		}
		return err
	}))
	<-done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	stop()
}

// BenchmarkLag measures how long it takes from the end of a transaction in another process until the broker has its message.
func BenchmarkLag(b *testing.B) {
	c, ctx, source := client(b), b.Context(), newSource(b)
	o, there := made(b, outbox.Config{DB: opened(b, source)}), made(b, outbox.Config{DB: opened(b, source)})
	sent := make(chan time.Time, 1)
	stop := relaying(b, o, order, senderFunc(func(ctx context.Context, m *leveret.Message) error {
		err := c.Send(ctx, m)
		sent <- time.Now()
		return err
	}))
	var lags []time.Duration
	for n := range b.N {
		require.NoError(b, there.InTx(ctx, func(tx *sql.Tx) error {
			return placed.Publish(ctx, outbox.In(tx), numbered{fmt.Sprint(n % 10), n})
		}))
		committed := time.Now()
		lags = append(lags, (<-sent).Sub(committed))
	}
	stop()
	slices.Sort(lags)
	b.ReportMetric(float64(lags[len(lags)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(lags[len(lags)*99/100].Microseconds())/1000, "p99-ms")
}
