package rabbit_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

func TestMain(m *testing.M) {
	testmain.Waiting(8)
	testmain.Leaks(m)
}

// within returns a context that ends when the test has had far more time than it needs.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// dial connects, and closes when the test has ended.
func dial(t *testing.T, config rabbit.Config) *rabbit.Conn {
	t.Helper()
	conn, err := rabbit.Dial(within(t), config)
	require.NoError(t, err)
	t.Cleanup(func() { closing(t, conn) })
	return conn
}

// closing closes what has a Close with a context.
func closing(t *testing.T, what interface{ Close(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	require.NoError(t, what.Close(ctx))
}

// connected is a connection to a virtual host of the test's own.
func connected(t *testing.T) *rabbit.Conn {
	t.Helper()
	return dial(t, rabbit.Config{URLs: []string{leverettest.Broker(t)}})
}

func publishing(t *testing.T, conn *rabbit.Conn, config rabbit.PublisherConfig) *rabbit.Publisher {
	t.Helper()
	p := rabbit.NewPublisher(conn, config)
	t.Cleanup(func() { closing(t, p) })
	return p
}

// queue is what is declared for a queue of the given type, or of what else its arguments say.
func queue(name, kind string, args ...any) topology.Topology {
	q := topology.Queue{Name: name, Args: map[string]any{"x-queue-type": kind}}
	for pair := range slices.Chunk(args, 2) {
		q.Args[pair[0].(string)] = pair[1]
	}
	return topology.Topology{Queues: []topology.Queue{q}}
}

func declare(t *testing.T, conn *rabbit.Conn, all ...topology.Topology) {
	t.Helper()
	var one topology.Topology
	one.Add(all...)
	d := rabbit.NewDeclarer(conn)
	require.NoError(t, d.Declare(within(t), one))
	require.Zero(t, d.Mismatches())
}

// to is a message for a queue, through the default exchange.
func to(queue, id string) *rabbit.Publication {
	return &rabbit.Publication{RoutingKey: queue, Mandatory: true, Publishing: rabbit.Publishing{
		MessageId: id, DeliveryMode: 2, Body: []byte(id),
	}}
}

// fill publishes n messages, with the ids 0, 1, ….
func fill(t *testing.T, conn *rabbit.Conn, queue string, n int) {
	t.Helper()
	p := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
	l := p.Pipeline()
	for i := range n {
		require.NoError(t, l.Publish(within(t), to(queue, strconv.Itoa(i)), nil))
	}
	require.NoError(t, l.Flush(within(t)))
	closing(t, p)
}

// requireReady waits until want messages are ready in a queue, settled by nobody.
func requireReady(t *testing.T, conn *rabbit.Conn, queue string, want int) {
	t.Helper()
	ctx := within(t)
	var last rabbit.QueueState
	var err error
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		last, err = conn.Inspect(ctx, queue)
		require.NoError(t, err)
		if last.Ready == want {
			return
		}
	}
	require.Equal(t, want, last.Ready, "messages ready in %s", queue)
}

// running runs a consumer, and returns what stops it and gives what Run returned.
func running(t *testing.T, c *rabbit.Consumer) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	var once bool
	var err error
	stop = func() error {
		if !once {
			once = true
			cancel()
			err = <-done
		}
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}
