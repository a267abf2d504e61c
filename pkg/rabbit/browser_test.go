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
	living, stop := browser.Context(ctx)
	defer stop()
	for _, want := range []string{"a", "b", "c"} {
		d, ok, err := browser.Get(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, want, string(d.Body))
		if want == "b" {
			require.NoError(t, browser.Ack(d))
		}
	}
	_, ok, err := browser.Get(ctx)
	require.NoError(t, err)
	require.False(t, ok)
	require.Zero(t, browser.Unsure(), "a Get is answered behind the acks before it")
	require.NoError(t, living.Err())
	require.NoError(t, browser.Close(ctx))
	<-living.Done()
	require.ErrorIs(t, context.Cause(living), rabbit.ErrNotConnected)

	state, err := conn.Inspect(ctx, "q")
	require.NoError(t, err)
	require.Equal(t, rabbit.QueueState{Ready: 2}, state, "what was given back is there at once")

	_, err = conn.Inspect(ctx, "none")
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	_, err = conn.Browse(ctx, strings.Repeat("x", 256))
	require.ErrorIs(t, err, rabbit.ErrInvalid)
	ended, end := context.WithCancel(ctx)
	end()
	_, err = conn.Inspect(ended, "q")
	require.ErrorIs(t, err, context.Canceled)
}

// Many acks in a row, right before the end, all arrive.
func TestBrowserLosesNoAcks(t *testing.T) {
	t.Parallel()
	for _, kept := range []int{0, 40} {
		conn := connected(t)
		declare(t, conn, queue("q", "quorum"), queue("beside", "quorum"))
		fill(t, conn, "q", 200+kept)
		browser, err := conn.Browse(within(t), "q")
		require.NoError(t, err)
		var taken []rabbit.Delivery
		for range 200 {
			d, ok, err := browser.Get(within(t))
			require.NoError(t, err)
			require.True(t, ok)
			taken = append(taken, d)
		}
		for _, d := range taken {
			require.NoError(t, browser.Ack(d))
		}
		require.Equal(t, 200, browser.Unsure())
		require.NoError(t, browser.Close(within(t)))
		for range 50 { // what was lost comes back once the queue has noticed the end of the channel
			fill(t, conn, "beside", 1)
			state, err := conn.Inspect(within(t), "q")
			require.NoError(t, err)
			require.Equal(t, kept, state.Ready)
		}
	}
}
