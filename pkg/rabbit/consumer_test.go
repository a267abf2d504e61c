package rabbit_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// handler handles as its function says, and counts.
func handler(settle func(n int64, d *rabbit.Incoming) rabbit.Settlement) (func(context.Context, *rabbit.Incoming) rabbit.Settlement, *atomic.Int64) {
	var handled atomic.Int64
	return func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement { return settle(handled.Add(1), d) }, &handled
}

func ack(int64, *rabbit.Incoming) rabbit.Settlement { return rabbit.Ack }

func TestConsumerHandlesAndAcksEverythingOnce(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "quorum"))
	const n = 3000
	fill(t, conn, "q", n)
	books := newBook()
	var now, most atomic.Int64
	handle, handled := handler(func(_ int64, d *rabbit.Incoming) rabbit.Settlement {
		for running := now.Add(1); ; {
			if seen := most.Load(); running <= seen || most.CompareAndSwap(seen, running) {
				break
			}
		}
		books.receive(d.MessageId)
		now.Add(-1)
		return rabbit.Ack
	})
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Concurrency: 8, Prefetch: 64, Handle: handle})
	require.ErrorContains(t, c.Ready(), "not started")
	stop := running(t, c)
	require.Eventually(t, func() bool { return handled.Load() == n }, 60*time.Second, time.Millisecond)
	require.NoError(t, c.Ready())
	require.NoError(t, stop())
	require.ErrorContains(t, c.Ready(), "stopped")
	_, received, twice := books.counts()
	require.Equal(t, n, received)
	require.Zero(t, twice)
	require.LessOrEqual(t, most.Load(), int64(8))
	requireReady(t, conn, "q", 0)
	requireNoConsumers(t, conn)
}

// requireNoConsumers waits until the queue q has none: it may hear of changes a little later.
func requireNoConsumers(t *testing.T, conn *rabbit.Conn) {
	t.Helper()
	require.Eventually(t, func() bool {
		state, err := conn.Inspect(within(t), "q")
		return err == nil && state.Consumers == 0
	}, 2*time.Minute, time.Millisecond)
}

// Prefetch bounds what the broker hands out, and what is not begun goes back when the consumer stops, at once, though
// all handlers are busy.
func TestStoppingGivesBackWhatWasNotBegun(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			conn := connected(t)
			declare(t, conn, queue("q", kind))
			fill(t, conn, "q", 50)
			release := make(chan struct{})
			handle, handled := handler(func(int64, *rabbit.Incoming) rabbit.Settlement { <-release; return rabbit.Ack })
			c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Concurrency: 3, Prefetch: 20, Handle: handle})
			stop := running(t, c)
			require.Eventually(t, func() bool { return handled.Load() == 3 }, 30*time.Second, time.Millisecond)
			requireReady(t, conn, "q", 30)
			require.Equal(t, 3, c.Running())
			stopped := make(chan error, 1)
			go func() { stopped <- stop() }()
			requireReady(t, conn, "q", 47)
			close(release)
			require.NoError(t, <-stopped)
			require.EqualValues(t, 3, handled.Load())
			requireReady(t, conn, "q", 47)
		})
	}
}

func TestRequestsHandleWhatWasNotBegun(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "classic"))
	fill(t, conn, "q", 50)
	release := make(chan struct{})
	handle, handled := handler(func(int64, *rabbit.Incoming) rabbit.Settlement { <-release; return rabbit.Ack })
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Prefetch: 20, DrainQueued: true, DrainTimeout: 5 * time.Minute, Handle: handle})
	stop := running(t, c)
	require.Eventually(t, func() bool { return handled.Load() == 1 }, 30*time.Second, time.Millisecond)
	requireReady(t, conn, "q", 30)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	requireNoConsumers(t, conn)
	close(release)
	require.NoError(t, <-stopped)
	require.EqualValues(t, 20, handled.Load())
	requireReady(t, conn, "q", 30)
}

func TestRequeueAndReject(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("dead", "classic"),
		queue("q", "quorum", "x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead"))
	fill(t, conn, "q", 30)
	var again sync.Map
	handle, _ := handler(func(_ int64, d *rabbit.Incoming) rabbit.Settlement {
		n, err := strconv.Atoi(d.MessageId)
		switch {
		case err != nil || n%3 == 0:
			return rabbit.Reject
		case n%3 == 1:
			if _, had := again.LoadOrStore(n, true); !had {
				return rabbit.Requeue
			}
		}
		return rabbit.Ack
	})
	running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Concurrency: 4, Handle: handle}))
	requireReady(t, conn, "dead", 10)
	requireReady(t, conn, "q", 0)
	require.Eventually(t, func() bool { // what is not ready may still be on its way to a handler
		count := 0
		again.Range(func(any, any) bool { count++; return true })
		return count == 10
	}, 30*time.Second, time.Millisecond)
}

func TestHandlersThatOutlastTheDrainTime(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "quorum"))
	fill(t, conn, "q", 3)
	release, causes := make(chan struct{}), make(chan error, 1)
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "q", Concurrency: 2, DrainTimeout: 50 * time.Millisecond,
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			if d.MessageId == "0" { // obeys its context
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return rabbit.Requeue
			}
			<-release
			return rabbit.Ack
		},
	})
	stop := running(t, c)
	require.Eventually(t, func() bool { return c.Running() == 2 }, 30*time.Second, time.Millisecond)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.ErrorIs(t, <-causes, rabbit.ErrDraining)
	requireReady(t, conn, "q", 2)
	require.Eventually(t, func() bool { return c.Running() == 1 }, 30*time.Second, time.Millisecond, "Run waits for it")
	close(release)
	require.NoError(t, <-stopped)
	require.Zero(t, c.Running())
	requireReady(t, conn, "q", 2)
}

func TestConsumerComesBackToAQueueThatWasDeleted(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn := dial(t, rabbit.Config{URLs: []string{address}})
	declare(t, conn, queue("q", "quorum"))
	handle, handled := handler(ack)
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Handle: handle})
	running(t, c)
	fill(t, conn, "q", 1)
	require.Eventually(t, func() bool { return handled.Load() == 1 }, 30*time.Second, time.Millisecond)

	manage(t, leverettest.Node(t), http.MethodDelete, nil, "queues", leverettest.VHost(t, address), "q")
	require.Eventually(t, func() bool { return c.Ready() != nil }, 30*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return errors.Is(c.Ready(), rabbit.ErrNotFound) }, 30*time.Second, time.Millisecond, "the reason is reported")
	declare(t, conn, queue("q", "quorum"))
	require.Eventually(t, func() bool { return c.Ready() == nil }, 30*time.Second, time.Millisecond)
	fill(t, conn, "q", 1)
	require.Eventually(t, func() bool { return handled.Load() == 2 }, 30*time.Second, time.Millisecond)
}

// A connection that is lost under handlers that still run must not let more run at once than were asked for.
func TestConcurrencyHoldsOverLostConnections(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn := dial(t, rabbit.Config{URLs: []string{through}, Backoff: rabbit.NewBackoff(50 * time.Millisecond)})
	declare(t, conn, queue("q", "classic"))
	fill(t, conn, "q", 20)
	release := make(chan struct{})
	books := newBook()
	var now, most atomic.Int64
	handle, handled := handler(func(_ int64, d *rabbit.Incoming) rabbit.Settlement {
		for running := now.Add(1); ; {
			if seen := most.Load(); running <= seen || most.CompareAndSwap(seen, running) {
				break
			}
		}
		<-release
		books.receive(d.MessageId)
		now.Add(-1)
		return rabbit.Ack
	})
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Concurrency: 3, Prefetch: 6, Handle: handle})
	stop := running(t, c)
	for life := 1; life <= 4; life++ {
		require.Eventually(t, func() bool { return handled.Load() == 3 && c.Ready() == nil }, 30*time.Second, time.Millisecond)
		requireReady(t, conn, "q", 14)
		require.Equal(t, 3, c.Running())
		network.cut()
		require.Eventually(t, func() bool { return conn.State().Lost == life }, 30*time.Second, time.Millisecond)
	}
	close(release)
	require.Eventually(t, func() bool { _, received, _ := books.counts(); return received == 20 }, 60*time.Second, time.Millisecond)
	requireReady(t, conn, "q", 0)
	require.NoError(t, stop())
	requireReady(t, conn, "q", 0)
	require.EqualValues(t, 3, most.Load())
}

// A broker that does not answer must not keep a consumer that has nothing to do from stopping. It waits once.
func TestStoppingDoesNotWaitForABrokerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn := dial(t, rabbit.Config{URLs: []string{through}})
	declare(t, conn, queue("q", "classic"))
	handle, _ := handler(ack)
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", DrainTimeout: time.Second, Handle: handle})
	stop := running(t, c)
	require.Eventually(t, func() bool { return c.Ready() == nil }, 30*time.Second, time.Millisecond)
	network.stall(true)
	require.NoError(t, stop())
	closing(t, conn) // all of it while nothing passes
	network.stall(false)
}

func TestConsumeFromAQueueThatCannotBe(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	long := make([]byte, 256)
	handle, _ := handler(ack)
	err := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: string(long), Handle: handle}).Run(ctx)
	require.ErrorIs(t, err, rabbit.ErrInvalid)
	require.Zero(t, conn.State().Lost)
}
