package rabbit_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// raft does something with the Raft server of a quorum queue: "stop" or "restart".
func raft(t *testing.T, address, queue, do string) {
	t.Helper()
	require.Equal(t, "ok", raftServer(t, address, queue, "ra:"+do+"_server(quorum_queues, {N, node()})"))
}

// raftServer evaluates an Erlang expression at the broker, in which S is the process of the Raft server of a quorum
// queue, if it runs, and N its name. It returns the value as Erlang writes it.
func raftServer(t *testing.T, address, queue, expression string) string {
	t.Helper()
	said, err := leverettest.Node(t).Ctl(within(t), "eval", fmt.Sprintf(
		`{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"%s">>, queue, <<"%s">>)), {N, _} = amqqueue:get_pid(Q), S = whereis(N), %s.`,
		leverettest.VHost(t, address), queue, expression))
	require.NoError(t, err, string(said))
	return strings.TrimSpace(string(said))
}

// records collects what is logged.
type records struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// count returns how many records contain a text.
func (r *records) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), text)
}

// logger logs each try, also the ones that fail for the same reason.
func (r *records) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// A quorum queue whose Raft server is down costs the connection on which it is consumed. It costs the other queues
// theirs once; then it is tried on connections of its own, until it can be consumed.
func TestOneQueueInTrouble(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn := dial(t, rabbit.Config{URLs: []string{address}})
	declare(t, conn, queue("bad", "quorum"), queue("good", "quorum"), queue("fine", "classic"))
	fill(t, conn, "bad", 3)
	raft(t, address, "bad", "stop")

	var log records
	books := map[string]*book{}
	consumers := map[string]*rabbit.Consumer{}
	for _, name := range []string{"good", "fine", "bad"} {
		books[name] = newBook()
		handle, _ := handler(func(_ int64, d *rabbit.Incoming) rabbit.Settlement {
			books[name].receive(d.MessageId)
			return rabbit.Ack
		})
		consumers[name] = rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: name, Logger: log.logger(), Handle: handle})
		running(t, consumers[name])
	}
	require.Eventually(t, func() bool { return log.count("queue=bad") >= 3 }, 3*time.Minute, time.Millisecond)
	lostOnce := func() { // or once more for each time that no other connection could be made
		t.Helper()
		require.LessOrEqual(t, conn.State().Lost, 1+log.count("there is no connection for it alone"))
	}
	lostOnce()
	require.Eventually(t, func() bool {
		err := consumers["bad"].Ready()
		return err != nil && strings.Contains(err.Error(), "the queue bad: Exception (541)")
	}, 3*time.Minute, time.Millisecond)
	for _, name := range []string{"good", "fine"} {
		require.Eventually(t, func() bool { return consumers[name].Ready() == nil }, 30*time.Second, time.Millisecond, name)
		fill(t, conn, name, 10)
		require.Eventually(t, func() bool { _, n, _ := books[name].counts(); return n == 10 }, 30*time.Second, time.Millisecond, name)
	}

	raft(t, address, "bad", "restart")
	require.Eventually(t, func() bool { _, n, _ := books["bad"].counts(); return n == 3 }, 3*time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return consumers["bad"].Ready() == nil }, 30*time.Second, time.Millisecond)
	lostOnce()
	for _, b := range books {
		_, _, twice := b.counts()
		require.Zero(t, twice)
	}
}

// A queue that is registered at the moment when another one costs the connection may be tried on a connection of its own,
// too; an exclusive one, which belongs to the shared connection, then comes back to that.
func TestExclusiveQueueBesideOneInTrouble(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn := dial(t, rabbit.Config{URLs: []string{address}})
	declare(t, conn, queue("bad", "quorum"))
	raft(t, address, "bad", "stop")
	d := rabbit.NewDeclarer(conn)
	const own = "own"
	exclusive := queue(own, "classic")
	exclusive.Queues[0].Exclusive = true
	var log records
	got := newBook()
	handle, _ := handler(func(_ int64, d *rabbit.Incoming) rabbit.Settlement {
		got.receive(d.MessageId)
		return rabbit.Ack
	})
	// All three begin at the same time, so that the exclusive queue's may be answered with the bad one's exception.
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: own, Logger: log.logger(), Handle: handle,
		Setup: func(ctx context.Context, _ bool) error { return d.Declare(ctx, exclusive) },
	})
	running(t, c)
	running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: "bad", Logger: log.logger(), Handle: handle}))
	require.Eventually(t, func() bool { return log.count("queue=bad") >= 2 }, 3*time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return c.Ready() == nil }, 30*time.Second, time.Millisecond)
	fill(t, conn, own, 10)
	require.Eventually(t, func() bool { _, n, _ := got.counts(); return n == 10 }, 30*time.Second, time.Millisecond)
}

// Where the broker allows no connection more, one apart must not have the place of the shared one for good, and a queue
// that may not be tried apart is tried on the shared one again.
func TestNoConnectionAllowedApart(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn := dial(t, rabbit.Config{URLs: []string{address}})
	declare(t, conn, queue("bad", "quorum"), queue("worse", "quorum"), queue("good", "quorum"))
	var log records
	handle, _ := handler(func(int64, *rabbit.Incoming) rabbit.Settlement { return rabbit.Ack })
	consume := func(name string) *rabbit.Consumer {
		c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: name, Logger: log.logger(), Handle: handle})
		running(t, c)
		return c
	}
	ready := func(consumers ...*rabbit.Consumer) {
		for _, c := range consumers {
			require.Eventually(t, func() bool { return c.Ready() == nil }, 3*time.Minute, time.Millisecond)
		}
	}
	raft(t, address, "bad", "stop")
	raft(t, address, "worse", "stop")
	good, bad := consume("good"), consume("bad")
	require.Eventually(t, func() bool { return log.count("queue=bad") >= 2 }, 3*time.Minute, time.Millisecond)
	raft(t, address, "bad", "restart")
	ready(good, bad)

	said, err := leverettest.Node(t).Ctl(within(t), "set_vhost_limits", "-p", leverettest.VHost(t, address), `{"max-connections": 1}`)
	require.NoError(t, err, string(said))
	worse := consume("worse") // costs the shared connection
	require.Eventually(t, func() bool { return log.count("queue=worse") >= 2 }, 3*time.Minute, time.Millisecond)
	raft(t, address, "worse", "restart")
	ready(good, bad, worse)
}
