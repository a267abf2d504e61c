package leveret_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A queue holds the messages of several contracts, told apart by type, by a header, or by routing key. Retries find their
// own handler again, and what belongs to nobody is a dead letter.
func TestSeveralContractsOnOneQueue(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		placed, cancelled leveret.Address
		theirs            amqp.Publishing // of the second
		key               string
	}{
		"type":   {leveret.Address{Type: "placed"}, leveret.Address{Type: "cancelled"}, amqp.Publishing{Type: "cancelled"}, ""},
		"header": {leveret.Address{Headers: map[string]string{"event": "placed"}}, leveret.Address{Headers: map[string]string{"event": "cancelled"}}, amqp.Publishing{Headers: amqp.Table{"event": "cancelled"}}, ""},
		"key":    {leveret.Address{RoutingKey: "order.placed"}, leveret.Address{RoutingKey: "order.gone.#"}, amqp.Publishing{}, "order.gone.for.good"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			at := func(a leveret.Address) leveret.ContractOption {
				a.Exchange, a.Queue, a.External = "shop", "orders", true
				a.Topology = topology.Topology{
					Exchanges: []topology.Exchange{{Name: "shop", Type: topology.Topic}},
					Queues:    []topology.Queue{{Name: "orders"}},
					Bindings:  []topology.Binding{{Exchange: "shop", RoutingKey: "#", Queue: "orders"}},
				}
				return leveret.At(a)
			}
			placed := leveret.NewEvent[thing]("their.placed", quick, at(test.placed))
			cancelled := leveret.NewEvent[answer]("their.cancelled", quick, at(test.cancelled), leveret.RoutingKey(func(answer) string { return "order.gone" }))
			service := leveret.NewService("a", leveret.Publishes(placed, cancelled), leveret.SubscribesTo(placed, cancelled))
			require.NoError(t, leveret.NewCatalog(service).Err())
			conn := b.connect(leveret.ConnConfig{})
			handled := make(chan string, 20)
			w := b.worker(conn, service, leveret.WorkerConfig{})
			placed.Subscribe(w.Handlers, func(context.Context, thing) error { handled <- "placed"; return nil })
			cancelled.Subscribe(w.Handlers, func(_ context.Context, a answer) error {
				handled <- "cancelled " + a.Text
				return errors.New("no")
			})
			b.run(w)
			client := b.client(conn, service, leveret.ClientConfig{})
			require.NoError(t, placed.Publish(b.ctx, client, thing{N: 1}))
			require.Equal(t, "placed", receive(t, handled))
			require.NoError(t, cancelled.Publish(b.ctx, client, answer{Text: "ours"}))
			for range 3 {
				require.Equal(t, "cancelled ours", receive(t, handled))
			}
			foreign := b.peer()
			test.theirs.Body = []byte(`{"text":"theirs"}`)
			foreign.publish("shop", test.key, test.theirs)
			for range 3 {
				require.Equal(t, "cancelled theirs", receive(t, handled))
			}
			foreign.publish("shop", "nobody's", amqp.Publishing{Type: "strange", Body: []byte(`{}`)})
			codes := map[any]int{}
			for range 3 {
				codes[foreign.take("orders.dlq").Headers["leveret-error-code"]]++
			}
			require.Equal(t, map[any]int{"unknown": 2, "unimplemented": 1}, codes)
			require.Empty(t, handled)
		})
	}
}

// A contract alone in its queue takes all that comes, but with Headers only what has them: of a queue with the tasks of
// several functions, the others' are dead letters, and are not done.
func TestHeadersFilter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do := leveret.NewCommand[thing]("their.thumbnail", quick, leveret.At(leveret.Address{
		Queue: "celery", External: true, Headers: map[string]string{"task": "thumbnail"},
		Topology: topology.Topology{Queues: []topology.Queue{{Name: "celery"}}},
	}))
	service := leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))
	conn := b.connect(leveret.ConnConfig{})
	w := b.worker(conn, service, leveret.WorkerConfig{})
	handled := make(chan int, 9)
	do.Handle(w.Handlers, func(_ context.Context, v thing) error { handled <- v.N; return nil })
	b.run(w)
	foreign := b.peer()
	foreign.publish("", "celery", amqp.Publishing{Headers: amqp.Table{"task": "resize"}, Body: []byte(`{"n":1}`)})
	foreign.publish("", "celery", amqp.Publishing{Headers: amqp.Table{"task": "thumbnail"}, Body: []byte(`{"n":2}`)})
	require.Equal(t, 2, receive(t, handled))
	require.NoError(t, do.Send(b.ctx, b.client(conn, service, leveret.ClientConfig{}), thing{N: 3}))
	require.Equal(t, 3, receive(t, handled))
	require.Equal(t, "unimplemented", foreign.take("celery.dlq").Headers["leveret-error-code"])
}

// A request of a type that nobody answers is answered with an error.
func TestSeveralRequestsOnOneQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := func(kind string) leveret.ContractOption {
		return leveret.At(leveret.Address{Queue: "rpc", External: true, Type: kind, Topology: topology.Topology{Queues: []topology.Queue{{Name: "rpc"}}}})
	}
	request := func(name, kind string) *leveret.Request[thing, answer] {
		return leveret.NewRequest[thing, answer](name, at(kind), leveret.Timeout(patience))
	}
	add, negate, unknown := request("math.add", "add"), request("math.negate", "negate"), request("math.divide", "divide")
	service := leveret.NewService("math", leveret.Answers(add, negate))
	conn := b.connect(leveret.ConnConfig{})
	w := b.worker(conn, service, leveret.WorkerConfig{})
	var handled atomic.Int64
	add.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) {
		handled.Add(1)
		return answer{N: v.N + 1}, nil
	})
	negate.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) { return answer{N: -v.N}, nil })
	b.run(w)
	client := b.sender(leveret.Calls(add, negate, unknown))
	for request, want := range map[*leveret.Request[thing, answer]]int{add: 8, negate: -7} {
		reply, err := request.Call(b.ctx, client, thing{N: 7})
		require.NoError(t, err)
		require.Equal(t, want, reply.N)
	}
	_, err := unknown.Call(b.ctx, client, thing{N: 7})
	require.Equal(t, leveret.Unimplemented, leveret.CodeOf(err))
	require.True(t, leveret.IsRemote(err))
	require.ErrorContains(t, err, `none of the contracts of the queue rpc claims a message of the type "divide"`)

	// Where it would write is looked at all the same.
	foreign := b.peer()
	foreign.queue("victim", "", "")
	foreign.publish("", "rpc", amqp.Publishing{Type: "divide", ReplyTo: "victim", Body: []byte(`{"n":7}`)})
	foreign.publish("", "rpc", amqp.Publishing{Type: "add", ReplyTo: "amq.gen-nobody", Body: []byte(`{"n":7}`)})
	b.eventually(func() bool { return handled.Load() == 2 })
	require.Zero(t, foreign.count("victim"))
}

// A message keeps the header that says whose it is, though its copies drop headers that are too many; and the address's
// header is stronger than one of the message.
func TestSharedByHeaderKeepsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := func(event string) leveret.ContractOption {
		return leveret.At(leveret.Address{
			Queue: "orders", External: true, Headers: map[string]string{"event": event},
			Topology: topology.Topology{Queues: []topology.Queue{{Name: "orders"}}},
		})
	}
	placed, gone := leveret.NewCommand[thing]("their.placed", quick, at("placed")), leveret.NewCommand[thing]("their.gone", quick, at("gone"))
	service := leveret.NewService("a", leveret.Handles(placed, gone), leveret.Sends(gone))
	require.NoError(t, rabbit.NewDeclarer(b.connect(leveret.ConnConfig{}).Rabbit()).Declare(b.ctx, service.Topology(topology.Names{}, topology.Classic)))
	conn := b.connect(leveret.ConnConfig{NoDeclare: true}) // so that a queue that is deleted stays away
	attempts := make(chan int, 20)
	w := b.worker(conn, service, leveret.WorkerConfig{})
	placed.Handle(w.Handlers, func(context.Context, thing) error { attempts <- -1; return nil })
	gone.Handle(w.Handlers, func(ctx context.Context, _ thing) error {
		attempts <- leveret.MessageFrom(ctx).Attempt
		return errors.New("no")
	})
	r := b.run(w)
	require.NoError(t, gone.Send(b.ctx, b.client(conn, service, leveret.ClientConfig{}), thing{N: 1}, leveret.Header("event", "placed")))
	for i := range 3 {
		require.Equal(t, i+1, receive(t, attempts))
	}
	foreign := b.peer()
	require.Equal(t, "unknown", foreign.take("orders.dlq").Headers["leveret-error-code"])
	foreign.publish("", "orders", amqp.Publishing{Body: []byte(`{"n":2}`), Headers: amqp.Table{"event": "gone", "large": strings.Repeat("x", 70<<10)}})
	for i := range 3 {
		require.Equal(t, i+1, receive(t, attempts))
	}
	d := foreign.take("orders.dlq")
	require.Equal(t, "gone", d.Headers["event"])
	require.NotContains(t, d.Headers, "large")

	_, err := foreign.QueueDelete("orders", false, false, false)
	require.NoError(t, err)
	var missing error
	b.eventually(func() bool { missing = r.Ready(); return missing != nil }, "it misses the queue")
	require.Equal(t, 1, strings.Count(missing.Error(), "the queue orders"), "said once: %v", missing)
}

// A contract that is alone in its queue asks for its headers only: messages of another type are its own.
func TestAloneByHeader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	task := leveret.NewCommand[thing]("their.task", leveret.At(leveret.Address{
		Queue: "tasks", External: true, Type: "task", Headers: map[string]string{"job": "resize"},
		Topology: topology.Topology{Queues: []topology.Queue{{Name: "tasks"}}},
	}))
	w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("a", leveret.Handles(task)), leveret.WorkerConfig{})
	types := make(chan string, 4)
	task.Handle(w.Handlers, func(ctx context.Context, _ thing) error { types <- leveret.MessageFrom(ctx).Type; return nil })
	b.run(w)
	foreign := b.peer()
	foreign.publish("", "tasks", amqp.Publishing{Type: "job", Headers: amqp.Table{"job": "resize"}, Body: []byte(`{"n":1}`)})
	require.Equal(t, "job", receive(t, types))
	foreign.publish("", "tasks", amqp.Publishing{Type: "task", MessageId: "other", Headers: amqp.Table{"job": "crop"}, Body: []byte(`{"n":2}`)})
	d := foreign.take("tasks.dlq")
	require.Equal(t, "other", d.MessageId)
	require.Equal(t, "unimplemented", d.Headers["leveret-error-code"])
	require.Empty(t, types)
}
