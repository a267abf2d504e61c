package leveret_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// kept keeps an event for an hour.
var kept = leveret.Kept(time.Hour, 1_000_000)

// The stream is part of what publishers and readers need, in both layouts; subscribers do without.
func TestKeptTopology(t *testing.T) {
	t.Parallel()
	happened := leveret.NewEvent[thing]("a.happened", kept)
	for _, n := range []topology.Names{{}, {Namespace: "blue", Layout: topology.Isolated}} {
		want := n.Kept(topology.Exchange{Name: n.EventExchange("a"), Type: topology.Topic}, n.RoutingKey("a.happened"), "a.happened", time.Hour, 1_000_000)
		require.Equal(t, n.RoutingKey("a.happened.kept"), want.Queues[0].Name)
		for _, service := range []*leveret.Service{leveret.NewService("a", leveret.Publishes(happened)), leveret.NewService("b", leveret.Reads(happened))} {
			require.NoError(t, service.Err())
			require.Equal(t, want, service.Topology(n, topology.Classic), service.Name())
			require.Empty(t, service.WorkQueues(n))
		}
		subscriber := leveret.NewService("b", leveret.SubscribesTo(happened)).Topology(n, topology.Classic)
		require.False(t, slices.ContainsFunc(subscriber.Queues, func(q topology.Queue) bool { return q.Name == want.Queues[0].Name }))
	}
	elsewhere := leveret.NewEvent[thing]("a.moved", kept, leveret.At(leveret.Address{Exchange: "orders", RoutingKey: "order.#"}),
		leveret.RoutingKey(func(thing) string { return "order.1" }))
	service := leveret.NewService("a", leveret.Publishes(elsewhere))
	require.NoError(t, service.Err())
	require.Equal(t, []topology.Binding{{Exchange: "orders", RoutingKey: "order.#", Queue: "a.moved.kept"}},
		service.Topology(topology.Names{}, topology.Classic).Bindings, "bound as subscribers are")
}

// reading reads a stream from its first message.
func (p *peer) reading(stream string) <-chan amqp.Delivery {
	p.t.Helper()
	ch, err := p.conn.Channel()
	require.NoError(p.t, err)
	require.NoError(p.t, ch.Qos(100, 0, false))
	deliveries, err := ch.Consume(stream, "", false, false, false, false, amqp.Table{"x-stream-offset": "first"})
	require.NoError(p.t, err)
	return deliveries
}

// TestKept: an event is in its stream, from the first on, and in the queue of each subscriber. What fails is tried again
// and dead-lettered in that queue, and appends nothing to the stream.
func TestKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, layout := range []topology.Layout{topology.Shared, topology.Isolated} {
		n := topology.Names{Namespace: string(layout), Layout: layout}
		happened := leveret.NewEvent[thing]("a.happened", kept, quick)
		a, subscriber := leveret.NewService("a", leveret.Publishes(happened)), leveret.NewService("b", leveret.SubscribesTo(happened))
		conn := b.connect(leveret.ConnConfig{Namespace: n.Namespace, Layout: layout})
		client := b.client(conn, a, leveret.ClientConfig{})
		require.NoError(t, happened.Publish(b.ctx, client, thing{N: 1}), "before anybody subscribed")
		attempts := make(chan *leveret.Message, 9)
		w := b.worker(conn, subscriber, leveret.WorkerConfig{})
		happened.Subscribe(w.Handlers, func(ctx context.Context, _ thing) error {
			attempts <- leveret.MessageFrom(ctx)
			return errors.New("no")
		})
		running := b.run(w)
		require.NoError(t, happened.Publish(b.ctx, client, thing{N: 2}, leveret.Header("mine", "kept")))
		for i := range 3 {
			require.Equal(t, i+1, receive(t, attempts).Attempt)
		}
		foreign := b.peer()
		letter := foreign.take(n.DeadLetterQueue(n.SubscriptionQueue("b", "", "a.happened")))
		require.NoError(t, running.halt())
		require.NoError(t, happened.Publish(b.ctx, client, thing{N: 3}), "so that all that came before it is known to be there")

		stream := foreign.reading(n.KeptStream("a.happened"))
		for i := range 3 {
			d := receive(t, stream)
			require.JSONEq(t, `{"n":`+string('1'+rune(i))+`}`, string(d.Body))
			require.Equal(t, "a.happened", d.Type)
			require.EqualValues(t, i, d.Headers["x-stream-offset"])
			require.NotContains(t, d.Headers, "leveret-attempt")
			if i == 1 {
				require.Equal(t, letter.MessageId, d.MessageId)
				require.Equal(t, "kept", d.Headers["mine"])
			}
			require.NoError(t, d.Ack(false))
		}
	}
}

// TestKeptHeaders: what a stream loses, or what would cost a connection, is refused before it is sent, however it is sent.
// All others are kept.
func TestKeptHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	happened, other := leveret.NewEvent[thing]("tester.happened", kept), leveret.NewEvent[thing]("tester.other")
	service := leveret.NewService("tester", leveret.Publishes(happened, other))
	conn := b.connect(leveret.ConnConfig{})
	client := b.client(conn, service, leveret.ClientConfig{})
	var recorder leverettest.Recorder
	for kind, value := range map[string]any{
		"amqp091.Table": amqp.Table{"a": "b"}, "[]interface {}": []any{"a"},
		"amqp091.Decimal": amqp.Decimal{Scale: 2, Value: 999},
	} {
		header := leveret.Header("mine", value)
		made := leveret.NewMessage(b.ctx, happened, []byte(`{}`), header)
		for what, err := range map[string]error{
			"published": happened.Publish(b.ctx, client, thing{}, header), "sent": client.Send(b.ctx, made),
			"a pipeline": client.Pipeline(nil).Write(b.ctx, made), "recorded": recorder.Send(b.ctx, made),
		} {
			require.ErrorIs(t, err, leveret.InvalidArgument, what)
			require.ErrorContains(t, err, `the header "mine" is a `+kind+`, which a stream cannot keep`, what)
		}
		require.NoError(t, other.Publish(b.ctx, client, thing{}, header), "of what is not kept")
	}
	fine := map[string]any{
		"text": "a", "whole": int64(-5), "small": int32(7), "broken": 1.5, "yes": true, "at": time.Unix(1_700_000_000, 0), "none": nil, "bytes": []byte("raw"),
	}
	var options []leveret.SendOption
	for name, value := range fine {
		options = append(options, leveret.Header(name, value))
	}
	require.NoError(t, happened.Publish(b.ctx, client, thing{N: 1}, options...))
	d := receive(t, b.peer().reading("tester.happened.kept"))
	require.JSONEq(t, `{"n":1}`, string(d.Body), "the first that was sent")
	for name, value := range fine {
		got := d.Headers[name]
		if text, ok := got.(string); ok && name == "bytes" { // on RabbitMQ 4
			got = []byte(text)
		}
		require.EqualValues(t, value, got, name)
	}
	require.Zero(t, conn.Publishing().State().Lost+conn.Rabbit().State().Lost)
}

// TestReadersDoNotPublish: a service that reads an event may not publish it.
func TestReadersDoNotPublish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	happened := leveret.NewEvent[thing]("a.happened", kept)
	service := leveret.NewService("tester", leveret.Reads(happened))
	client := b.client(b.connect(leveret.ConnConfig{}), service, leveret.ClientConfig{})
	for _, sender := range []leveret.Sender{client, &leverettest.Recorder{Service: service}} {
		err := happened.Publish(b.ctx, sender, thing{})
		require.ErrorIs(t, err, leveret.ErrUndeclared)
		require.ErrorContains(t, err, `the service "tester" does not say that it publishes the event "a.happened"`)
	}
	require.Equal(t, "reads", leveret.RoleReads.String())
	require.Equal(t, []leveret.Contract{happened}, service.Contracts(leveret.RoleReads))
	require.Empty(t, service.Contracts(leveret.RolePublishes))
}

// price is what an older version had as a whole number of cents and a currency.
type price struct {
	N     int    `json:"n"`
	Price string `json:"price"`
}

func (p price) Validate() error {
	if p.Price == "" {
		return errors.New("price: must be set")
	}
	return nil
}

// today converts what version 1 has sent: {"n":1,"amount":995,"currency":"EUR"}.
func today(body []byte) []byte {
	var old struct {
		N        int    `json:"n"`
		Amount   int64  `json:"amount"`
		Currency string `json:"currency"`
	}
	if json.Unmarshal(body, &old) != nil || old.Currency == "" {
		return nil
	}
	cents := string([]byte{byte('0' + old.Amount/10%10), byte('0' + old.Amount%10)})
	converted, err := json.Marshal(price{N: old.N, Price: string(rune('0'+old.Amount/100)) + "." + cents + " " + old.Currency})
	if err != nil {
		return nil
	}
	return converted
}

// TestOlder: a recorded body of an older version is handled as one of today; what is neither fails as it always did, and the
// body itself stays as it is.
func TestOlder(t *testing.T) {
	t.Parallel()
	old, err := os.ReadFile("testdata/older/priced-1.json")
	require.NoError(t, err)
	b := setup(t)
	priced := leveret.NewEvent[price]("a.priced", kept, leveret.Older(today))
	handled := make(chan price, 9)
	bodies := make(chan []byte, 9)
	w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("b", leveret.SubscribesTo(priced)), leveret.WorkerConfig{})
	priced.Subscribe(w.Handlers, func(ctx context.Context, p price) error {
		bodies <- leveret.MessageFrom(ctx).Body
		handled <- p
		return nil
	})
	b.run(w)
	foreign := b.peer()
	for _, body := range []string{string(old), `{"n":2,"price":"1.00 EUR"}`} {
		foreign.publish("events", "a.priced", amqp.Publishing{MessageId: "m", Body: []byte(body)})
	}
	require.Equal(t, old, receive(t, bodies))
	require.Equal(t, price{N: 1, Price: "9.95 EUR"}, receive(t, handled))
	require.Equal(t, price{N: 2, Price: "1.00 EUR"}, receive(t, handled))

	for body, why := range map[string]string{
		`{"n":3}`: "price: must be set", `{`: "is not JSON", `{"n":"x","currency":"EUR","amount":1}`: "n: ",
	} {
		foreign.publish("events", "a.priced", amqp.Publishing{MessageId: "wrong", Body: []byte(body)})
		letter := foreign.take("b.on.a.priced.dlq")
		require.Equal(t, body, string(letter.Body))
		require.Contains(t, letter.Headers["leveret-error-message"], why)
	}
	require.Empty(t, handled)
}

// TestOlderIsWrong: what a conversion returns is checked as well.
func TestOlderIsWrong(t *testing.T) {
	t.Parallel()
	for converted, why := range map[string]string{`{"n":1}`: "price: must be set", `nonsense`: "is not JSON"} {
		do := leveret.NewCommand[price]("a.do", leveret.Older(func(body []byte) []byte {
			return bytes.ReplaceAll(body, []byte("old"), []byte(converted))
		}))
		h := leveret.NewHandlers(leveret.NewService("a", leveret.Handles(do)), leveret.HandlersConfig{})
		do.Handle(h, func(context.Context, price) error { return nil })
		outcome := h.Process(t.Context(), &leveret.Message{Contract: do, Body: []byte(`old`)}, nil)
		require.ErrorIs(t, outcome.Err, leveret.InvalidArgument)
		require.ErrorContains(t, outcome.Err, "as converted by Older: ")
		require.ErrorContains(t, outcome.Err, why)
	}
}
