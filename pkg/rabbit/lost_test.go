package rabbit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// watched is a consumer's connection that can be stalled and cut, and another beside it, which is neither. No heartbeat
// notices that it is stalled.
func watched(t *testing.T) (network *proxy, conn, beside *rabbit.Conn) {
	t.Helper()
	address := leverettest.Broker(t)
	network, through := proxied(t, address)
	return network, dial(t, rabbit.Config{URLs: []string{through}, Heartbeat: time.Minute}), dial(t, rabbit.Config{URLs: []string{address}})
}

// A reply that is ready after the drain time, within the grace, is still sent: its request is acked.
func TestAReplyWithinTheGraceIsSent(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "classic"), queue("replies", "classic"))
	begun := make(chan struct{})
	stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "q", DrainTimeout: time.Millisecond,
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			close(begun)
			<-ctx.Done()
			if err := d.Reply(ctx, to("replies", "x")); err != nil {
				t.Error(err)
			}
			return rabbit.Ack
		},
	}))
	fill(t, conn, "q", 1)
	<-begun
	require.NoError(t, stop())
	requireReady(t, conn, "replies", 1)
	requireReady(t, conn, "q", 0)
}

// A handler's context ends with the channel whenever that ends: here when the consumer has been stopped already.
func TestContextEndsWithItsChannelInADrain(t *testing.T) {
	t.Parallel()
	network, conn, beside := watched(t)
	declare(t, beside, queue("q", "classic"))
	begun, once := make(chan struct{}), sync.Once{}
	drained := make(chan error, 1)
	stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "q", DrainTimeout: time.Minute,
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			once.Do(func() { close(begun) })
			<-ctx.Done()
			drained <- context.Cause(ctx)

			late, done := d.Context(ctx)
			defer done()
			if late.Err() == nil {
				t.Error("the channel is gone")
			}
			return rabbit.Requeue
		},
	}))
	fill(t, beside, "q", 1)
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	requireNoConsumers(t, beside)
	network.cut()
	require.NoError(t, <-stopped)
	require.ErrorIs(t, <-drained, rabbit.ErrNotConnected, "it was not the end of the drain time")
}

// A consumer that stops may finish what is here, but not what has gone back to the queue with the connection: another
// consumer may have it.
func TestWhatWentBackIsNotBegun(t *testing.T) {
	t.Parallel()
	network, conn, beside := watched(t)
	declare(t, beside, queue("q", "classic"))
	fill(t, beside, "q", 8)
	begun, release := make(chan struct{}), make(chan struct{})
	var handled atomic.Int64
	stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "q", Concurrency: 1, Prefetch: 20, DrainQueued: true,
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			if handled.Add(1) == 1 {
				close(begun)
				<-release
				lost, done := d.Context(ctx)
				defer done()
				<-lost.Done() // this side has noticed it, too
			}
			return rabbit.Ack
		},
	}))
	<-begun
	requireReady(t, beside, "q", 0)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	requireNoConsumers(t, beside)
	network.cut()
	requireReady(t, beside, "q", 8)
	close(release)
	require.NoError(t, <-stopped)
	require.EqualValues(t, 1, handled.Load())
}

// A channel that an exception has closed says nothing of whether the broker still answers.
func TestAClosedChannelIsNoAnswer(t *testing.T) {
	t.Parallel()
	network, conn, _ := watched(t)
	declare(t, conn, queue("q", "classic"))
	handle, _ := handler(ack)
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", DrainTimeout: time.Second, Handle: handle})
	stop := running(t, c)
	require.Eventually(t, func() bool { return c.Ready() == nil }, 30*time.Second, time.Millisecond)
	p := publishing(t, conn, rabbit.PublisherConfig{})
	nowhere := to("q", "x")
	nowhere.Exchange = "nowhere"
	require.ErrorIs(t, p.Publish(within(t), nowhere), rabbit.ErrUnroutable)
	network.stall(true)
	require.NoError(t, stop())
	closing(t, p)
	require.True(t, conn.Silent(), "only one close waits")
	closing(t, conn)
	network.stall(false)
}

// The end of a channel may take as long as its context says, even where the broker has been silent.
func TestAChannelEndsWithinItsContext(t *testing.T) {
	t.Parallel()
	network, conn, _ := watched(t)
	first, err := conn.Channel(within(t))
	require.NoError(t, err)
	second, err := conn.Channel(within(t))
	require.NoError(t, err)
	network.stall(true)
	require.ErrorIs(t, first.End(context.WithoutCancel(t.Context())), rabbit.ErrNotConnected)
	require.True(t, conn.Silent())

	ended := make(chan error, 1)
	go func() { ended <- second.End(within(t)) }()
	select {
	case err := <-ended:
		require.Fail(t, "it did not wait", "%v", err)
	case <-time.After(time.Second):
	}
	network.stall(false)
	require.NoError(t, <-ended)
	require.NoError(t, first.End(within(t)))
	require.False(t, conn.Silent())
}

func TestClosingAPublisherEndsWithItsContext(t *testing.T) {
	t.Parallel()
	network, conn, _ := watched(t)
	declare(t, conn, queue("q", "classic"))
	p := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
	require.NoError(t, p.Publish(within(t), to("q", "x")))
	network.stall(true)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- p.Close(ctx) }()
	require.Eventually(t, func() bool { return p.InFlight() == 512 }, time.Minute, time.Millisecond, "it takes all slots first")
	cancel()
	require.NoError(t, <-closed)
	require.False(t, conn.Silent(), "it did not wait until the broker had to be given up")
	network.stall(false)
}

func TestBrowserOfAQueueThatWasDeleted(t *testing.T) {
	t.Parallel()
	_, conn, beside := watched(t)
	declare(t, beside, queue("q", "classic"))
	g, err := conn.Browse(within(t), "q")
	require.NoError(t, err)
	deleteQueue(t, beside, "q")
	_, _, err = g.Get(within(t))
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	err = g.Close(within(t))
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	require.NotErrorIs(t, err, rabbit.ErrNotConnected)
}

func deleteQueue(t *testing.T, conn *rabbit.Conn, name string) {
	t.Helper()
	ch, err := conn.Channel(within(t))
	require.NoError(t, err)
	_, err = ch.QueueDelete(name, false, false, false)
	require.NoError(t, err)
	require.NoError(t, ch.Close())
}
