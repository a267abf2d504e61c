package rabbit_test

import (
	"context"
	crypto "crypto/rand"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// before reports whether a version is older than major.minor.
func before(version string, major, minor int) bool {
	parts := strings.Split(version, ".")
	have, _ := strconv.Atoi(parts[0])
	lesser, _ := strconv.Atoi(parts[1])
	return have < major || have == major && lesser < minor
}

// drains is how often each queue's consumer is stopped in the middle of its work.
const drains = 10

// A consumer that stops in the middle of its work makes no duplicates: every ack reaches the queue before the channel
// ends, and what was not begun is handled once, by the next.
func TestStoppingMakesNoDuplicates(t *testing.T) {
	t.Parallel()
	for _, prefetch := range []int{1, 64, 300} {
		t.Run(strconv.Itoa(prefetch), func(t *testing.T) {
			t.Parallel()
			conn := connected(t)
			declare(t, conn, queue("q", "quorum"))
			concurrency := min(prefetch, 16)
			each := 2 * concurrency
			n := drains*(each+prefetch) + prefetch
			fill(t, conn, "q", n)
			books := newBook()
			var handled atomic.Int64
			for life := range drains + 1 {
				c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
					Queue: "q", Concurrency: concurrency, Prefetch: prefetch,
					Handle: func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement {
						<-time.NewTimer(rand.N(10 * time.Millisecond)).C // work of different lengths
						books.receive(d.MessageId)
						handled.Add(1)
						return rabbit.Ack
					},
				})
				want := int64(min((life+1)*each, n))
				if life == drains {
					want = int64(n)
				}
				stop := running(t, c)
				require.Eventually(t, func() bool { return handled.Load() >= want }, 60*time.Second, time.Millisecond)
				require.NoError(t, stop())
			}
			_, received, twice := books.counts()
			require.Equal(t, n, received)
			require.Zero(t, twice)
			requireReady(t, conn, "q", 0)
		})
	}
}

// Handlers that take long keep nothing that was not begun from other consumers, and the acks of what they did arrive.
func TestStoppingGivesBackAheadOfLongHandlers(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "quorum"))
	fill(t, conn, "q", 100)
	release := make(chan struct{})
	handle, handled := handler(func(int64, *rabbit.Incoming) rabbit.Settlement { <-release; return rabbit.Ack })
	stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Concurrency: 40, Prefetch: 100, Handle: handle}))
	require.Eventually(t, func() bool { return handled.Load() == 40 }, 30*time.Second, time.Millisecond)
	requireReady(t, conn, "q", 0)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	requireReady(t, conn, "q", 60)
	close(release)
	require.NoError(t, <-stopped)
	requireReady(t, conn, "q", 60)
	require.EqualValues(t, 40, handled.Load())
}

// labelled runs f so that what it starts has a label, and all that this starts in turn. It returns what counts the
// goroutines that have it, all of them or those in a function or method: tests beside this one disturb no count.
func labelled(t *testing.T, f func()) (goroutines func(in string) int) {
	t.Helper()
	label := strings.ToLower(crypto.Text())
	pprof.Do(t.Context(), pprof.Labels("test", label), func(context.Context) { f() })
	return func(in string) (n int) {
		var profile strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&profile, 1) // to memory
		_, groups, _ := strings.Cut(profile.String(), "\n")
		for group := range strings.SplitSeq(groups, "\n\n") { // of goroutines with one stack and the same labels
			if strings.Contains(group, strconv.Quote(label)) && strings.Contains(group, in) {
				size, _, _ := strings.Cut(group, " @ ")
				many, _ := strconv.Atoi(size)
				n += many
			}
		}
		return n
	}
}

const inHandle = "rabbit.(*Consumer).handle+"

// Queues that are idle hold few goroutines, and none for handlers, whatever their concurrency.
func TestIdleQueuesHoldFewGoroutines(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	const n, each = 50, 4 // the consumer's, two of its subscription, and one of the driver
	var all topology.Topology
	var consumers []*rabbit.Consumer
	handle, _ := handler(ack)
	for i := range n {
		name := "q" + strconv.Itoa(i)
		all.Add(queue(name, "classic"))
		consumers = append(consumers, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: name, Concurrency: 16, Handle: handle}))
	}
	declare(t, conn, all)
	goroutines := labelled(t, func() {
		for _, c := range consumers {
			running(t, c)
		}
	})
	for _, c := range consumers {
		require.Eventually(t, func() bool { return c.Ready() == nil }, 30*time.Second, time.Millisecond)
	}
	require.Zero(t, goroutines(inHandle))
	require.Eventually(t, func() bool { return goroutines("") <= each*n }, 30*time.Second, 10*time.Millisecond, "what it took to begin has ended")
	require.Equal(t, n, goroutines("rabbit.(*Consumer).Run+"), "they are those of the consumers")
}

// A handler has a goroutine when there is something to handle, and not before.
func TestHandlersStartOnDemand(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "classic"))
	release := make(chan struct{})
	finish := sync.OnceFunc(func() { close(release) })
	defer finish()
	handle, handled := handler(func(int64, *rabbit.Incoming) rabbit.Settlement { <-release; return rabbit.Ack })
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Concurrency: 16, Handle: handle})
	var stop func() error
	goroutines := labelled(t, func() { stop = running(t, c) })
	require.Eventually(t, func() bool { return c.Ready() == nil }, 30*time.Second, time.Millisecond)
	require.Zero(t, c.Running())
	require.Zero(t, goroutines(inHandle))
	fill(t, conn, "q", 3)
	require.Eventually(t, func() bool { return handled.Load() == 3 }, 30*time.Second, time.Millisecond)
	require.Equal(t, 3, c.Running())
	require.Equal(t, 3, goroutines(inHandle))
	fill(t, conn, "q", 60)
	require.Eventually(t, func() bool { return handled.Load() == 16 }, 30*time.Second, time.Millisecond)
	require.Equal(t, 16, c.Running())
	require.Equal(t, 16, goroutines(inHandle))
	finish()
	require.Eventually(t, func() bool { return handled.Load() == 63 && c.Running() == 0 }, 30*time.Second, time.Millisecond)
	require.NoError(t, stop())
	require.Eventually(t, func() bool { return goroutines("") == 0 }, 30*time.Second, 10*time.Millisecond, "nothing is left running")
}

// A delivery whose handler does not return is settled by somebody else, and Run does not wait for that goroutine.
func TestAbandonedDelivery(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "quorum"))
	fill(t, conn, "q", 2)
	stuck, other, release, ended := make(chan *rabbit.Incoming, 1), make(chan struct{}), make(chan struct{}), make(chan struct{})
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "q", Concurrency: 2,
		Handle: func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement {
			if d.MessageId == "0" {
				defer close(ended)
				stuck <- d
				<-release
				return 0
			}
			close(other)
			return rabbit.Ack
		},
	})
	stop := running(t, c)
	<-other
	(<-stuck).Abandon(rabbit.Ack)
	require.NoError(t, stop())
	requireReady(t, conn, "q", 0)
	require.Zero(t, c.Running())
	close(release)
	<-ended
}

// The arguments of basic.consume reach the broker: a stream is read from the place that they say.
func TestConsumeArguments(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("s", "stream"))
	fill(t, conn, "s", 5)
	offsets := make(chan any, 5)
	handle, _ := handler(func(_ int64, d *rabbit.Incoming) rabbit.Settlement {
		offsets <- d.Headers["x-stream-offset"]
		return rabbit.Ack
	})
	stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "s", Args: rabbit.Table{"x-stream-offset": int64(3)}, Handle: handle}))
	require.Equal(t, int64(3), <-offsets)
	require.Equal(t, int64(4), <-offsets)
	require.NoError(t, stop())
}

// A drain in which many handlers give up and others finish makes no duplicates either, though it takes many frames:
// more than a quorum queue's channel sends ahead.
func TestDrainOfMany(t *testing.T) {
	t.Parallel()
	const n = 80
	for range 2 {
		conn := connected(t)
		declare(t, conn, queue("q", "quorum"))
		fill(t, conn, "q", n)
		books := newBook()
		begun := make(chan struct{}, n)
		handle := func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			begun <- struct{}{}
			<-ctx.Done()
			if i, _ := strconv.Atoi(d.MessageId); i%4 != 3 {
				return rabbit.Requeue
			}
			books.receive(d.MessageId)
			return rabbit.Ack
		}
		stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
			Queue: "q", Concurrency: n, Prefetch: n, DrainTimeout: time.Millisecond, Handle: handle,
		}))
		for range n {
			<-begun
		}
		require.NoError(t, stop())
		requireReady(t, conn, "q", n-n/4)
		_, received, _ := books.counts()
		require.Equal(t, n/4, received)
	}
}

// suspend makes the Raft server of queue q do nothing until so many messages to it contain a text, or for twenty seconds
// if they do not.
func suspend(t *testing.T, address, text string, times int) {
	t.Helper()
	raftServer(t, address, "q", fmt.Sprintf(`Wait = fun(_, 0) -> ok; (Again, I) ->
		{messages, M} = process_info(S, messages),
		case length(string:split(io_lib:format("~0p", [M]), "%s", all)) of
			Seen when Seen > %d -> ok;
			_ -> timer:sleep(10), Again(Again, I-1)
		end
	end, ok = sys:suspend(S), spawn(fun() -> Wait(Wait, 2000), sys:resume(S) end)`, text, times))
}

// A consumer returns only when the queue has all its acks. The broker itself would forget most of these: see
// [acks.Batch.Close].
func TestDrainWaitsForTheQueue(t *testing.T) {
	t.Parallel()
	const n = 80
	for _, when := range []string{"acks before the cancel", "acks after it"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			address := leverettest.Broker(t)
			conn := dial(t, rabbit.Config{URLs: []string{address}})
			declare(t, conn, queue("q", "quorum"))
			fill(t, conn, "q", n)
			early, late := make(chan struct{}), make(chan struct{})
			releaseEarly, releaseLate := sync.OnceFunc(func() { close(early) }), sync.OnceFunc(func() { close(late) })
			handle, handled := handler(func(_ int64, d *rabbit.Incoming) rabbit.Settlement {
				switch i, _ := strconv.Atoi(d.MessageId); {
				case i == 0 || when == "acks after it":
					<-late
					if i%2 == 0 {
						return rabbit.Requeue
					}
				default:
					<-early
				}
				return rabbit.Ack
			})
			back := 1
			if when == "acks after it" {
				back = n / 2
			}
			c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Concurrency: n, Prefetch: n, Handle: handle})
			stop := running(t, c)
			defer releaseLate()
			defer releaseEarly()
			require.Eventually(t, func() bool { return handled.Load() == n }, time.Minute, time.Millisecond)
			stopped := make(chan error, 1)
			cancel := func() {
				go func() { stopped <- stop() }()
				require.Eventually(t, func() bool { return c.Ready() != nil }, time.Minute, time.Millisecond)
			}
			if when == "acks after it" {
				cancel()
				suspend(t, address, "checkout", 1)
			} else {
				suspend(t, address, "checkout", 1)
				releaseEarly()
				require.Eventually(t, func() bool { return c.Running() == 1 }, time.Minute, time.Millisecond)
				cancel()
			}
			releaseLate()
			require.NoError(t, <-stopped)
			requireReady(t, conn, "q", back)
		})
	}
}

// A handler that ends its goroutine, as a failed assertion does, keeps nothing from ending. Its message comes back, though
// later ones are acked.
func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "quorum"))
	fill(t, conn, "q", 2)
	began, ended, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	finish := sync.OnceFunc(func() { close(release) })
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Concurrency: 2, Handle: func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement {
		if d.MessageId == "0" {
			defer close(ended)
			runtime.Goexit()
		}
		close(began)
		<-release
		return rabbit.Ack
	}})
	stop := running(t, c)
	defer finish()
	<-began
	<-ended
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Eventually(t, func() bool { return c.Ready() != nil }, time.Minute, time.Millisecond, "cancelled")
	finish()
	require.NoError(t, <-stopped)
	requireReady(t, conn, "q", 1)
	require.ErrorContains(t, c.Run(t.Context()), "has run")
}

// A consumer that stops in the middle of a backlog leaves all of it but what it has acked.
func TestDrainOfABacklog(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "quorum"))
	fill(t, conn, "q", 100)
	handle, handled := handler(ack)
	release := make(chan struct{})
	finish := sync.OnceFunc(func() { close(release) })
	slow := func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
		if handled.Load() >= 8 {
			<-release
		}
		return handle(ctx, d)
	}
	stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "q", Concurrency: 4, Prefetch: 10, Handle: slow}))
	defer finish()
	require.Eventually(t, func() bool { return handled.Load() >= 8 }, time.Minute, time.Millisecond)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	finish()
	require.NoError(t, <-stopped)
	requireReady(t, conn, "q", 100-int(handled.Load()))
}
