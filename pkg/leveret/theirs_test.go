package leveret_test

import (
	"context"
	"errors"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// What somebody else's system declares is declared as it does that, on a broker where nothing is yet: their own
// declarations find no difference.
func TestTheirTopology(t *testing.T) {
	t.Parallel()
	b := setup(t)
	brewed := leveret.NewEvent[thing]("bar.brewed", quick, leveret.At(leveret.Address{
		Exchange: "coffee", Queue: "baristas", External: true, Type: "order_ready",
		Topology: topology.Topology{
			Exchanges: []topology.Exchange{{Name: "coffee", Type: "headers", AutoDelete: true}},
			Queues:    []topology.Queue{{Name: "baristas", AutoDelete: true, Args: map[string]any{"x-max-priority": int32(5)}}},
			Bindings:  []topology.Binding{{Exchange: "coffee", Queue: "baristas", Args: map[string]any{"size": "large", "x-match": "all"}}},
		},
	}))
	service := leveret.NewService("bar", leveret.Publishes(brewed), leveret.SubscribesTo(brewed))
	require.NoError(t, leveret.NewCatalog(service).Err())
	conn := b.connect(leveret.ConnConfig{})
	handled := make(chan *leveret.Message, 9)
	w := b.worker(conn, service, leveret.WorkerConfig{})
	brewed.Subscribe(w.Handlers, func(ctx context.Context, _ thing) error {
		handled <- leveret.MessageFrom(ctx)
		return nil
	})
	b.run(w)

	foreign := b.peer()
	require.NoError(t, foreign.ExchangeDeclare("coffee", "headers", true, true, false, false, nil))
	_, err := foreign.QueueDeclare("baristas", true, true, false, false, amqp.Table{"x-max-priority": int32(5)})
	require.NoError(t, err)
	body := []byte(`{"n":1}`)
	foreign.publish("coffee", "small.one", amqp.Publishing{Headers: amqp.Table{"size": "small"}, Body: body})
	foreign.publish("coffee", "a.key", amqp.Publishing{
		Headers: amqp.Table{"size": "large"}, Type: "theirs", ContentType: "text/json", Priority: 3, Body: body,
	})
	m := receive(t, handled)
	require.Equal(t, []string{"theirs", "a.key", "text/json"}, []string{m.Type, m.RoutingKey, m.ContentType})
	require.Equal(t, uint8(3), m.Priority)

	client := b.client(conn, service, leveret.ClientConfig{})
	require.NoError(t, brewed.Publish(b.ctx, client, thing{N: 2}, leveret.Header("size", "large"), leveret.Priority(5)))
	m = receive(t, handled)
	require.Equal(t, "order_ready", m.Type)
	require.Equal(t, uint8(5), m.Priority)
	require.Empty(t, handled, "the small one went nowhere")
}

// A service that only publishes declares their exchange, and no queue.
func TestTheirTopologyOfAPublisher(t *testing.T) {
	t.Parallel()
	b := setup(t)
	logged := leveret.NewEvent[thing]("app.logged", leveret.At(leveret.Address{
		Exchange: "logs", Queue: "all logs", External: true, Type: leveret.NoType,
		Topology: topology.Topology{
			Exchanges: []topology.Exchange{{Name: "logs", Type: topology.Fanout}},
			Queues:    []topology.Queue{{Name: "all logs"}},
			Bindings:  []topology.Binding{{Exchange: "logs", Queue: "all logs"}},
		},
	}))
	client := b.sender(leveret.Publishes(logged))
	require.NoError(t, logged.Publish(b.ctx, client, thing{N: 1}))
	foreign := b.peer()
	foreign.queue("mine", "logs", "")
	require.NoError(t, logged.Publish(b.ctx, client, thing{N: 2}))
	d := foreign.take("mine")
	require.Empty(t, d.Type)
	require.JSONEq(t, `{"n":2}`, string(d.Body))
	_, err := b.peer().QueueDeclarePassive("all logs", true, false, false, false, nil)
	require.Error(t, err, "never declared")
}

// The key of a message is made of its payload, and what a handler sees of it stays through retries and replays.
func TestRoutingKeyFromThePayload(t *testing.T) {
	t.Parallel()
	b := setup(t)
	logged := leveret.NewEvent[thing]("app.logged", quick, leveret.At(leveret.Address{RoutingKey: "kern.*"}),
		leveret.RoutingKey(func(v thing) string { return v.Text }))
	service := leveret.NewService("app", leveret.Publishes(logged), leveret.SubscribesTo(logged))
	require.NoError(t, leveret.NewCatalog(service).Err())
	conn := b.connect(leveret.ConnConfig{})
	keys := make(chan string, 9)
	w := b.worker(conn, service, leveret.WorkerConfig{})
	logged.Subscribe(w.Handlers, func(ctx context.Context, _ thing) error {
		keys <- leveret.MessageFrom(ctx).RoutingKey
		return errors.New("no")
	})
	b.run(w)
	client := b.client(conn, service, leveret.ClientConfig{})
	require.NoError(t, logged.Publish(b.ctx, client, thing{Text: "auth.info"}), "not theirs")
	require.NoError(t, logged.Publish(b.ctx, client, thing{Text: "kern.critical"}))
	for range 3 {
		require.Equal(t, "kern.critical", receive(t, keys))
	}
	d := b.peer().take("app.on.app.logged.dlq")
	require.Equal(t, "kern.critical", d.Headers["leveret-routing-key"])
	err := logged.Publish(b.ctx, client, thing{})
	require.Equal(t, leveret.InvalidArgument, leveret.CodeOf(err))
	require.ErrorContains(t, err, "app.logged")
	require.ErrorContains(t, err, `the routing key "" has 0 bytes; it must have 1 to 255`)

	raw := leveret.NewMessage(b.ctx, logged, []byte(`{"text":"kern.info"}`)) // as the command line sends it
	require.NoError(t, client.Send(b.ctx, raw))
	require.Equal(t, "kern.info", receive(t, keys))
}
