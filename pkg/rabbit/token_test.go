package rabbit_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// TestForgedTokensAmongCallers: many callers of a node that no reply has gone to yet are all answered, beside more
// forged tokens than are kept; the connection that answers is not lost; and its end waits for what is not sent yet.
func TestForgedTokensAmongCallers(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn, callers := dial(t, rabbit.Config{URLs: []string{address}}), dial(t, rabbit.Config{URLs: []string{address}})
	declare(t, conn, queue("q", "classic"))
	var refused atomic.Int64
	begin := make(chan struct{})
	stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "q", Concurrency: 500, Prefetch: 500,
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			<-begin
			if err := d.Reply(ctx, &rabbit.Publication{RoutingKey: d.ReplyTo, Publishing: rabbit.Publishing{CorrelationId: d.CorrelationId}}); err != nil {
				refused.Add(1)
			}
			return rabbit.Ack
		},
	}))
	const honest, forged = 200, 100
	attacker := publishing(t, callers, rabbit.PublisherConfig{})
	for i := range forged {
		pid := fmt.Appendf(nil, "\x83Xw\x10reply@%010d\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01", 1_000_000_000+i)
		m := to("q", "x")
		m.ReplyTo = "amq.rabbitmq.reply-to." + base64.StdEncoding.EncodeToString(pid) + ".key"
		require.NoError(t, attacker.Publish(within(t), m))
	}
	requester := rabbit.NewRequester(callers, rabbit.RequesterConfig{})
	t.Cleanup(func() { closing(t, requester) })
	calls := make(chan error, honest)
	for i := range honest {
		go func() {
			_, err := requester.Call(within(t), &rabbit.Publication{RoutingKey: "q", Publishing: rabbit.Publishing{CorrelationId: strconv.Itoa(i)}})
			calls <- err
		}()
	}
	close(begin)
	for range honest {
		require.NoError(t, <-calls)
	}
	requireReady(t, conn, "q", 0)
	require.NoError(t, stop())
	require.Zero(t, conn.State().Lost)
	require.Less(t, refused.Load(), int64(forged))
	closing(t, conn)
}

// TestOwnNodeNeedsNoTrial: callers on the node of the connection that answers them wait behind no forged tokens, not
// even the first of them on a connection that was just made.
func TestOwnNodeNeedsNoTrial(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn, callers := dial(t, rabbit.Config{URLs: []string{address}}), dial(t, rabbit.Config{URLs: []string{address}})
	declare(t, conn, queue("q", "classic"))
	defer conn.HoldApart()()
	stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "q",
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			_ = d.Reply(ctx, &rabbit.Publication{RoutingKey: d.ReplyTo, Publishing: rabbit.Publishing{CorrelationId: d.CorrelationId}})
			return rabbit.Ack
		},
	}))
	m := to("q", "x")
	m.ReplyTo = "amq.rabbitmq.reply-to.g1h2AA==.key"
	require.NoError(t, publishing(t, callers, rabbit.PublisherConfig{}).Publish(within(t), m))
	requester := rabbit.NewRequester(callers, rabbit.RequesterConfig{})
	t.Cleanup(func() { closing(t, requester) })
	_, err := requester.Call(within(t), &rabbit.Publication{RoutingKey: "q", Publishing: rabbit.Publishing{CorrelationId: "1"}})
	require.NoError(t, err)
	require.NoError(t, stop())
	require.Zero(t, conn.State().Lost)
}
