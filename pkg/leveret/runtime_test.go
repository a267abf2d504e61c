package leveret_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestTopicsOfTheMoment: contracts, services and clients that are made while the program runs, thousands of them, need
// the channels of a few, and leave nothing behind.
func TestTopicsOfTheMoment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := b.peer()
	foreign.queue("all", "amq.topic", "#")
	way, said := b.proxy(), &asked{}
	said.watch(way)
	conn := b.connect(leveret.ConnConfig{URLs: []string{way.url}})
	const n = 5000
	all, topics := make([]*leveret.Client, n), make([]*leveret.Event[thing], n)
	for i := range all {
		topic := leveret.NewEvent[thing]("app.published", leveret.At(leveret.Address{
			Exchange: "amq.topic", RoutingKey: fmt.Sprint("topic.", i), External: true,
		}))
		client, err := leveret.NewClient(conn, leveret.NewService("app", leveret.Publishes(topic)), leveret.ClientConfig{})
		require.NoError(t, err)
		all[i], topics[i] = client, topic
	}
	var senders sync.WaitGroup
	var failed atomic.Int64
	for part := range 50 {
		senders.Go(func() {
			for i := part; i < n; i += 50 {
				if topics[i].Publish(b.ctx, all[i], thing{N: i}) != nil {
					failed.Add(1)
				}
			}
		})
	}
	senders.Wait()
	require.Zero(t, failed.Load())
	b.eventually(func() bool { return foreign.count("all") == n })
	require.LessOrEqual(t, said.channels(), 4)
	for i, client := range all {
		require.NoError(t, client.Close(b.ctx))
		require.ErrorIs(t, topics[i].Publish(b.ctx, client, thing{}), leveret.ErrClosed)
	}
	require.Zero(t, said.channels())
}

// TestWorkersOfTheMoment: a worker has one channel for each queue, and all that fails goes over channels that workers
// share.
func TestWorkersOfTheMoment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := b.peer()
	_, err := foreign.QueueDeclare("theirs", true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	require.NoError(t, err)
	way, said := b.proxy(), &asked{}
	said.watch(way)
	conn := b.connect(leveret.ConnConfig{URLs: []string{way.url}})
	const n = 300
	var failed, handled atomic.Int64
	all := make([]*running, n)
	for i := range all {
		do := leveret.NewCommand[thing](fmt.Sprintf("a.do-%d", i), quick, leveret.At(leveret.Address{Queue: "theirs", External: true}))
		w := b.worker(conn, leveret.NewService("a", leveret.Handles(do)), leveret.WorkerConfig{Concurrency: 1, Prefetch: 1})
		do.Handle(w.Handlers, func(ctx context.Context, _ thing) error {
			if leveret.MessageFrom(ctx).Attempt == 1 {
				failed.Add(1)
				return leveret.Errorf(leveret.Unavailable, "not now")
			}
			handled.Add(1)
			return nil
		})
		all[i] = b.run(w)
	}
	for range n {
		foreign.publish("", "theirs", amqp.Publishing{Body: []byte(`{}`)})
	}
	b.eventually(func() bool { return handled.Load() == n })
	require.EqualValues(t, n, failed.Load())
	// One of each worker, four of publishers, that of the declarer; and while workers look for suspects, one more of each.
	require.LessOrEqual(t, said.channels(), n+4+1+n)
	for _, r := range all {
		r.stop()
	}
	for _, r := range all {
		require.NoError(t, r.halt())
	}
	// One that a worker had just opened to look for suspects is closed a moment after Run has returned.
	b.eventually(func() bool { return said.channels() == 1 }, "that of the declarer")
}

// TestTopics runs the example: topics that nobody has named before, with plain programs on their other side.
func TestTopics(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := b.peer()
	topics := &Topics{conn: b.connect(leveret.ConnConfig{}), group: "billing", senders: make(map[string]sender)}
	ctx, stop := context.WithCancel(b.ctx)
	var subscribers sync.WaitGroup
	got := make(chan string, 99)
	for i := range 3 {
		ready := make(chan struct{})
		topic := fmt.Sprint("orders.", i)
		subscribers.Go(func() {
			tried := i > 0 // a second is long enough to wait
			if err := topics.Subscribe(ctx, topic, func() { close(ready) }, func(_ context.Context, body []byte) error {
				if !tried {
					tried = true
					return leveret.RetryAfter(time.Millisecond, errors.New("once more"))
				}
				got <- topic + string(body)
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
		receive(t, ready)
		require.NoError(t, topics.Publish(b.ctx, topic, []byte(`{"n":1}`)))
		require.Equal(t, topic+`{"n":1}`, receive(t, got))
		foreign.publish(topic, "", amqp.Publishing{Body: []byte(`[2]`)})
		require.Equal(t, topic+`[2]`, receive(t, got))
		foreign.queue("mine"+topic, topic, "")
		require.NoError(t, topics.Publish(b.ctx, topic, []byte(`3`)))
		require.Equal(t, []byte("3"), foreign.take("mine"+topic).Body)
		require.Equal(t, topic+`3`, receive(t, got))
	}
	stop()
	subscribers.Wait()
	require.NoError(t, topics.Close(b.ctx))
}
