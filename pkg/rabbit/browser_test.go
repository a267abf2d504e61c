package rabbit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

func TestBrowser(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := rabbit.Dial(ctx, rabbit.Config{URLs: []string{leverettest.Broker(t)}})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(ctx))) }()
	require.NoError(t, rabbit.NewDeclarer(conn).Declare(ctx, topology.Topology{Queues: []topology.Queue{
		{Name: "q", Args: map[string]any{"x-queue-type": "quorum", "x-delivery-limit": int64(topology.KeptDeliveryLimit)}},
	}}))
	publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
	for _, body := range []string{"a", "b", "c"} {
		m := &rabbit.Publication{RoutingKey: "q", Mandatory: true, Publishing: rabbit.Publishing{Body: []byte(body)}}
		require.NoError(t, publisher.Publish(ctx, m))
	}
	require.NoError(t, publisher.Close(ctx))

	browser, err := conn.Browse(ctx, "q")
	require.NoError(t, err)
	require.Equal(t, rabbit.QueueState{Ready: 3}, browser.State())
	d, ok, err := browser.Get(ctx)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "a", string(d.Body))
	settled, err := browser.Handle(ctx, d, func(context.Context, *rabbit.Incoming) rabbit.Settlement { return rabbit.Ack })
	require.NoError(t, err)
	require.Equal(t, rabbit.Ack, settled)
	require.NoError(t, browser.Close(ctx))

	browser, err = conn.Browse(ctx, "q")
	require.NoError(t, err)
	require.Equal(t, 2, browser.State().Ready)
	d, ok, err = browser.Get(ctx)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "b", string(d.Body))
	require.NoError(t, browser.Close(ctx))
	require.Eventually(t, func() bool { // what was given back is there
		state, err := conn.Inspect(ctx, "q")
		return err == nil && state.Ready == 2
	}, time.Minute, time.Millisecond)
	browser, err = conn.Browse(ctx, "q")
	require.NoError(t, err)
	d, _, err = browser.Get(ctx)
	require.NoError(t, err)
	require.Equal(t, "b", string(d.Body), "in its place")
	require.NoError(t, browser.Close(ctx))

	channel, err := conn.Channel(ctx)
	require.NoError(t, err)
	living, stop := channel.Context(ctx)
	defer stop()
	require.NoError(t, living.Err())
	require.NoError(t, channel.Do(ctx, "q", channel.Close))
	<-living.Done()
	require.ErrorIs(t, context.Cause(living), rabbit.ErrNotConnected)
	require.ErrorIs(t, channel.Do(ctx, "q", func() error { return channel.Qos(1, 0, false) }), rabbit.ErrNotConnected)

	_, err = conn.Inspect(ctx, "none")
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	_, err = conn.Browse(ctx, strings.Repeat("x", 256))
	require.ErrorIs(t, err, rabbit.ErrInvalid)
	ended, end := context.WithCancel(ctx)
	end()
	_, err = conn.Inspect(ended, "q")
	require.ErrorIs(t, err, context.Canceled)
}

// RabbitMQ reports a quorum queue as empty if the queue does not answer in time. Then it is asked again.
func TestInspectAsksAgain(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn := dial(t, rabbit.Config{URLs: []string{address}})
	declare(t, conn, queue("q", "quorum"))
	fill(t, conn, "q", 3)
	channel, err := conn.Channel(t.Context())
	require.NoError(t, err)
	suspend(t, address, "query_stat", 2)
	state, err := channel.Inspect(within(t), "q")
	require.NoError(t, err)
	require.Equal(t, rabbit.QueueState{Ready: 3}, state)
	require.NoError(t, channel.End(t.Context()))
}
