package rabbit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// load publishes to the queue q, one message at a time and in pipelines, and consumes, until stop is called: then it
// keeps account of everything. All the while every publish must succeed, however long it takes.
func load(t *testing.T, address string) (conn *rabbit.Conn, books *book, stop func()) {
	t.Helper()
	ctx := within(t)
	config := rabbit.Config{URLs: []string{address}, Heartbeat: time.Second, DialTimeout: time.Second, Backoff: rabbit.NewBackoff(200 * time.Millisecond)}
	conn = dial(t, config)
	declare(t, conn, queue("q", "quorum"))
	books = newBook()
	running(t, rabbit.NewConsumer(dial(t, config), rabbit.ConsumerConfig{
		Queue: "q", Concurrency: 8, Prefetch: 32,
		Handle: func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement {
			books.receive(d.MessageId)
			return rabbit.Ack
		},
	}))
	p := publishing(t, conn, rabbit.PublisherConfig{MaxInFlight: 64})
	ended := make(chan struct{})
	var all sync.WaitGroup
	errs := make(chan error, 100)
	publish := func(name string, one func(m *rabbit.Publication) error) {
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			default:
			}
			if err := one(to("q", name+"/"+strconv.Itoa(i))); err != nil {
				errs <- err
				return
			}
		}
	}
	for g := range 6 {
		all.Go(func() {
			publish(fmt.Sprint("single/", g), func(m *rabbit.Publication) error {
				err := p.Publish(ctx, m)
				if err == nil {
					books.confirm(m.MessageId)
				}
				return err
			})
		})
	}
	for g := range 2 {
		all.Go(func() {
			l := p.Pipeline()
			publish(fmt.Sprint("pipeline/", g), func(m *rabbit.Publication) error {
				return l.Publish(ctx, m, func(err error) error {
					if err == nil {
						books.confirm(m.MessageId)
					}
					return err
				})
			})
			if err := l.Flush(ctx); err != nil {
				errs <- err
			}
		})
	}
	return conn, books, sync.OnceFunc(func() {
		close(ended)
		all.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
		books.requireBalanced(t)
	})
}

// progress waits until more further messages were confirmed, and as many received.
func (b *book) progress(t *testing.T, more int) {
	t.Helper()
	confirmed, received, _ := b.counts()
	require.Eventually(t, func() bool {
		c, r, _ := b.counts()
		return c >= confirmed+more && r >= received+more
	}, 60*time.Second, time.Millisecond, "nothing moves any more")
}

func TestNothingIsLostWithTheConnection(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	network, through := proxied(t, address)
	conn, books, stop := load(t, through)
	for range 10 {
		books.progress(t, 100)
		network.cut()
	}
	books.progress(t, 100)
	lost := conn.State().Lost
	network.stall(true) // until heartbeats have found out
	require.Eventually(t, func() bool { return conn.State().Lost > lost }, 2*time.Minute, time.Millisecond)
	network.stall(false)
	books.progress(t, 100)
	// The management API learns of a connection some seconds after it was made.
	require.Eventually(t, func() bool { return closeConnections(t, leverettest.VHost(t, address)) > 0 }, 2*time.Minute, 50*time.Millisecond)
	books.progress(t, 100)
	stop()
	require.GreaterOrEqual(t, conn.State().Lost, 11)
}

func TestNothingIsLostWithTheNode(t *testing.T) { //nolint:tparallel // its parts share the node
	t.Parallel()
	node, err := devbroker.Start(within(t), devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { closing(t, node) })

	conn, books, stop := load(t, node.URL())
	requireRemembered(t, node, "q")
	books.progress(t, 100)
	require.NoError(t, node.Kill())
	require.NoError(t, node.Start(within(t)))
	books.progress(t, 500)
	stop()
	require.NotZero(t, conn.State().Lost)

	t.Run("paused", func(t *testing.T) {
		conn, ctx := dial(t, rabbit.Config{URLs: []string{node.URL()}, Heartbeat: 6 * time.Second, DialTimeout: time.Second}), within(t)
		p := publishing(t, conn, rabbit.PublisherConfig{})
		require.NoError(t, p.Publish(ctx, to("q", "1")))
		lost := conn.State().Lost
		require.NoError(t, node.Pause())
		require.Eventually(t, func() bool { // not all of the node's threads stop at once
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			err := p.Publish(short, to("q", "2"))
			return errors.Is(err, rabbit.ErrUnconfirmed) && errors.Is(err, context.DeadlineExceeded)
		}, 2*time.Minute, time.Millisecond)
		require.Eventually(t, func() bool { return conn.State().Lost > lost }, 2*time.Minute, time.Millisecond)
		require.NoError(t, node.Resume())
		require.NoError(t, p.Publish(ctx, to("q", "3")))
	})

	t.Run("alarmed", func(t *testing.T) {
		conn, ctx := dial(t, rabbit.Config{URLs: []string{node.URL()}, Heartbeat: time.Minute}), within(t)
		p := publishing(t, conn, rabbit.PublisherConfig{})
		require.NoError(t, p.Publish(ctx, to("q", "1")))
		_, err := node.Ctl(ctx, "set_vm_memory_high_watermark", "0.0001")
		require.NoError(t, err)
		requireBlocked(t, conn, p)
		state := conn.State()
		require.ErrorContains(t, state.Err, "alarm")
		r := rabbit.NewRequester(conn, rabbit.RequesterConfig{})
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err = r.Call(short, to("q", "2"))
		require.ErrorIs(t, err, rabbit.ErrInvalid)
		call := to("q", "2")
		call.CorrelationId = "2"
		_, err = r.Call(short, call)
		require.ErrorIs(t, err, rabbit.ErrBlocked)
		closing(t, r)

		// A caller that waits for the alarm to end must be able to stop: a blocked broker answers nothing.
		other, err := rabbit.Dial(ctx, rabbit.Config{URLs: []string{node.URL()}, Heartbeat: 6 * time.Second})
		require.NoError(t, err)
		q := rabbit.NewPublisher(other, rabbit.PublisherConfig{})
		requireBlocked(t, other, q)
		short, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, q.Close(short), rabbit.ErrUnconfirmed)
		closing(t, other)

		resumed := make(chan error, 1)
		go func() { resumed <- p.Publish(ctx, to("q", "3")) }()
		_, err = node.Ctl(ctx, "set_vm_memory_high_watermark", "0.6")
		require.NoError(t, err)
		require.NoError(t, <-resumed)
		require.Equal(t, rabbit.Connected, conn.State().Phase)
		require.Zero(t, conn.State().Lost)
	})

	t.Run("impatient", func(t *testing.T) {
		_, err := node.Ctl(within(t), "eval", "application:set_env(rabbit, consumer_timeout, 1000), application:set_env(rabbit, channel_tick_interval, 500).")
		require.NoError(t, err)
		conn := dial(t, rabbit.Config{URLs: []string{node.URL()}})
		declare(t, conn, queue("slow", "quorum"))
		fill(t, conn, "slow", 4)
		books, release := newBook(), make(chan struct{})
		handle, handled := handler(func(n int64, d *rabbit.Incoming) rabbit.Settlement {
			if n == 1 {
				<-release
			}
			books.receive(d.MessageId)
			return rabbit.Ack
		})
		c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "slow", Concurrency: 2, Handle: handle})
		running(t, c)
		// The broker takes the first one back, and gives it to the next handler.
		require.Eventually(t, func() bool { return handled.Load() >= 5 }, 3*time.Minute, 5*time.Millisecond)
		close(release)
		requireReady(t, conn, "slow", 0)
		require.Eventually(t, func() bool {
			_, received, _ := books.counts()
			return received == 4 && c.Ready() == nil && c.Running() == 0
		}, 2*time.Minute, time.Millisecond)
	})
}

// requireRemembered waits until a node has written down that there is a quorum queue in its default virtual host. RabbitMQ
// 3.10 takes some time for that, and until then the queue does not survive.
func requireRemembered(t *testing.T, node *devbroker.Broker, queue string) {
	t.Helper()
	require.Eventually(t, func() bool {
		names, err := filepath.Glob(filepath.Join(node.About().Dir, "data", "*", "quorum", "*", "names.dets"))
		if err != nil || len(names) != 1 {
			return false
		}
		text, err := os.ReadFile(names[0])
		return err == nil && bytes.Contains(text, []byte("%2F_"+queue))
	}, 60*time.Second, 20*time.Millisecond)
}

// requireBlocked publishes until the broker has said that it takes nothing, and then until a publish knows.
func requireBlocked(t *testing.T, conn *rabbit.Conn, p *rabbit.Publisher) {
	t.Helper()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(within(t), 50*time.Millisecond)
		defer cancel()
		err := p.Publish(ctx, to("q", "x"))
		return conn.State().Phase == rabbit.Blocked && errors.Is(err, rabbit.ErrBlocked) &&
			errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, rabbit.ErrUnconfirmed)
	}, 2*time.Minute, time.Millisecond)
}
