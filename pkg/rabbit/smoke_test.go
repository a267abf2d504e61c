package rabbit

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/topology"
)

func TestSmoke(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	b, err := devbroker.Start(ctx, devbroker.Config{})
	require.NoError(t, err)
	defer b.Close(ctx)
	conn, err := Dial(ctx, Config{URLs: []string{b.URL()}})
	require.NoError(t, err)
	defer conn.Close(ctx)
	names := topology.Names{}
	tp := names.Command("a.b")
	d := NewDeclarer(conn)
	start := time.Now()
	require.NoError(t, d.Declare(ctx, tp))
	t.Log("declare", time.Since(start))
	p := NewPublisher(conn, PublisherConfig{})
	n := 20000
	start = time.Now()
	l := p.Pipeline()
	for range n {
		require.NoError(t, l.Publish(ctx, &Publication{Exchange: "commands", RoutingKey: "a.b", Mandatory: true, Publishing: Publishing{Body: make([]byte, 256), DeliveryMode: 2}}, nil))
	}
	require.NoError(t, l.Flush(ctx))
	t.Log("publish/s", float64(n)/time.Since(start).Seconds())
	require.ErrorIs(t, p.Publish(ctx, &Publication{Exchange: "commands", RoutingKey: "nope", Mandatory: true}), ErrUnroutable)
	var got atomic.Int64
	rctx, stop := context.WithCancel(ctx)
	c := NewConsumer(conn, ConsumerConfig{Queue: "a.b", Tag: "x", Careful: true, Concurrency: 16, Prefetch: 64, Handle: func(ctx context.Context, d *Incoming) Settlement {
		if got.Add(1) == int64(n) {
			stop()
		}
		return Ack
	}})
	start = time.Now()
	require.NoError(t, c.Run(rctx))
	t.Log("consume/s", float64(n)/time.Since(start).Seconds())
	require.NoError(t, p.Close(ctx))
}
