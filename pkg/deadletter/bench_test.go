package deadletter_test

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// patience is for what takes milliseconds on an idle machine.
const patience = 2 * time.Minute

// bench is a virtual host with one work queue, and what a test does to it.
type bench struct {
	t         testing.TB
	ctx       context.Context
	url       string
	conn      *leveret.Conn
	publisher *rabbit.Publisher
	store     *deadletter.Store
	padding   string // of each payload
}

const queue = "inventory.reserve"

var names topology.Names

func setup(t testing.TB) *bench { t.Helper(); return on(t, leverettest.Broker(t)) }

func on(t testing.TB, url string) *bench {
	t.Helper()
	ctx := t.Context()
	if _, measures := t.(*testing.B); !measures {
		limited, cancel := context.WithTimeout(ctx, 5*time.Minute)
		t.Cleanup(cancel)
		ctx = limited
	}
	b := &bench{t: t, ctx: ctx, url: url}
	b.conn = b.dial(url)
	b.declare(names.Work("inventory", topology.Exchange{Name: names.CommandExchange("inventory"), Type: topology.Direct}, queue, queue))
	b.publisher = rabbit.NewPublisher(b.conn.Publishing(), rabbit.PublisherConfig{})
	t.Cleanup(func() { require.NoError(t, b.publisher.Close(context.WithoutCancel(ctx))) })
	b.store = deadletter.New(b.conn)
	return b
}

// dial connects for as long as the test lasts, with the namespace and the layout of the names, if there are any.
func (b *bench) dial(url string, names ...topology.Names) *leveret.Conn {
	b.t.Helper()
	config := leveret.ConnConfig{URLs: []string{url}}
	for _, n := range names {
		config.Namespace, config.Layout = n.Namespace, n.Layout
	}
	conn, err := leveret.Connect(b.ctx, config)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, conn.Close(context.WithoutCancel(b.ctx))) })
	return conn
}

func (b *bench) declare(t topology.Topology) {
	b.t.Helper()
	require.NoError(b.t, rabbit.NewDeclarer(b.conn.Rabbit()).Declare(b.ctx, t))
}

// bury makes n dead letters of a work queue, as a worker does.
func (b *bench) bury(queue string, n int, headers rabbit.Table) {
	b.t.Helper()
	exchange := names.DeadLetterExchange("inventory") // in the shared layout it takes everybody's
	b.buryAt(exchange, queue, n, headers)
}

func (b *bench) buryAt(exchange, queue string, n int, headers rabbit.Table) {
	b.t.Helper()
	b.fill(exchange, queue, n, headers)
	b.waitFor(names.DeadLetterQueue(queue), n)
}

// fill publishes n messages that failed.
func (b *bench) fill(exchange, queue string, n int, headers rabbit.Table) {
	b.t.Helper()
	pipeline := b.publisher.Pipeline()
	for i := range n {
		h := rabbit.Table{
			"leveret-failed-queue": queue, "leveret-failed-at": "2026-01-02T15:04:05Z", "leveret-attempts": int64(5),
			"leveret-error-code": "not_found", "leveret-error-reason": "no_such_item", "leveret-error-message": "there is no item 7",
			"leveret-service": "inventory", "leveret-host": "here/1", "leveret-first-failed-at": "2026-01-02T15:00:00Z",
			"leveret-conversation-id": "c", "mine": "kept",
		}
		maps.Copy(h, headers)
		require.NoError(b.t, pipeline.Publish(b.ctx, &rabbit.Publication{
			Exchange: exchange, RoutingKey: queue, Mandatory: true,
			Publishing: rabbit.Publishing{MessageId: id(i), Type: queue, Headers: h, DeliveryMode: 2, Body: fmt.Appendf(nil, `{"n":%d%s}`, i, b.padding)},
		}, nil))
	}
	require.NoError(b.t, pipeline.Flush(b.ctx))
}

func id(i int) string { return fmt.Sprintf("id-%04d", i) }

func ids(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = id(i)
	}
	return all
}

// waitFor waits until a queue has that many messages ready.
func (b *bench) waitFor(queue string, ready int) {
	b.t.Helper()
	var last any
	require.Eventually(b.t, func() bool {
		state, err := b.conn.Rabbit().Inspect(b.ctx, queue)
		if last = err; err == nil {
			last = state.Ready
		}
		return err == nil && state.Ready == ready
	}, patience, 10*time.Millisecond, "%s should have %d, had last: %v", queue, ready, fmt.Stringer(lastOf(func() any { return last })))
}

// take empties a queue.
func (b *bench) take(queue string) []rabbit.Delivery {
	b.t.Helper()
	all, err := b.tryTake(queue)
	require.NoError(b.t, err)
	return all
}

// tryTake empties a queue, and returns what it has taken before an error.
func (b *bench) tryTake(queue string) (all []rabbit.Delivery, err error) {
	channel, err := b.conn.Rabbit().Channel(b.ctx)
	if err != nil {
		return nil, err
	}
	for {
		d, ok, err := channel.Get(queue, false)
		if err != nil {
			return all, err
		}
		if !ok {
			return all, channel.Close()
		}
		delete(d.Headers, "x-delivery-count") // RabbitMQ's own
		all = append(all, d)
		if err := d.Ack(false); err != nil {
			return all, err
		}
	}
}

func idsOf(all []rabbit.Delivery) []string {
	found := make([]string, len(all))
	for i, d := range all {
		found[i] = d.MessageId
	}
	return found
}

// peek returns the ids of the work queue's dead letters.
func (b *bench) peek(limit int) []string {
	b.t.Helper()
	return b.peekAt(b.store.DeadLetters(queue), limit)
}

func (b *bench) peekAt(from deadletter.Source, limit int) []string {
	b.t.Helper()
	var found []string
	_, err := b.store.Peek(b.ctx, from, limit, func(l *deadletter.Letter) bool {
		found = append(found, l.ID)
		return true
	})
	require.NoError(b.t, err)
	return found
}

// lastOf is printed when a wait has failed.
type lastOf func() any

func (l lastOf) String() string { return fmt.Sprint(l()) }
