package leveret_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// quick retries at once, for tests.
var quick = leveret.Retry(leveret.RetryPolicy{Attempts: 3, Delays: []time.Duration{50 * time.Millisecond}})

// TestOnTheWire reads with the bare driver what a client sends.
func TestOnTheWire(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do := leveret.NewCommand[thing]("a.do")
	happened := leveret.NewEvent[thing]("tester.happened")
	client := b.sender(leveret.Sends(do), leveret.Publishes(happened))
	foreign := b.peer()

	require.NoError(t, happened.Publish(b.ctx, client, thing{N: 1}), "nobody listens, and that is fine")
	foreign.queue("listener", "events", "tester.*")
	before := time.Now().Add(-time.Second)
	require.NoError(t, do.Send(b.ctx, client, thing{N: 7, Text: "<ü>"}, leveret.Header("mine", "kept")), "before any worker ever ran")
	require.NoError(t, happened.Publish(b.ctx, client, thing{N: 8}, leveret.Conversation("talk"), leveret.MessageID("order-8")))

	d := foreign.take("a.do")
	require.JSONEq(t, `{"n":7,"text":"<ü>"}`, string(d.Body))
	require.Equal(t, "a.do", d.Type)
	require.Equal(t, "commands", d.Exchange)
	require.Equal(t, "a.do", d.RoutingKey)
	require.Equal(t, "application/json", d.ContentType)
	require.Equal(t, "tester", d.AppId)
	require.Equal(t, amqp.Persistent, d.DeliveryMode)
	require.EqualValues(t, 7, uuid.MustParse(d.MessageId).Version())
	require.Equal(t, d.MessageId, d.CorrelationId, "the first of a conversation begins it")
	require.Empty(t, d.ReplyTo)
	require.Empty(t, d.Expiration)
	require.Empty(t, d.UserId)
	require.Equal(t, "kept", d.Headers["mine"])
	require.Equal(t, d.MessageId, d.Headers["leveret-conversation-id"])
	require.NotContains(t, d.Headers, "leveret-causation-id")
	sent, err := time.Parse(time.RFC3339Nano, d.Headers["leveret-sent-at"].(string))
	require.NoError(t, err)
	require.WithinRange(t, sent, before, time.Now())
	require.Equal(t, sent.Unix(), d.Timestamp.Unix())
	delete(d.Headers, "x-delivery-count") // the quorum queue's
	require.Len(t, d.Headers, 3, "headers are small: %v", d.Headers)

	d = foreign.take("listener")
	require.Equal(t, "order-8", d.MessageId)
	require.Equal(t, "talk", d.CorrelationId)
	require.Equal(t, "talk", d.Headers["leveret-conversation-id"])
	require.Equal(t, amqp.Persistent, d.DeliveryMode)
}

// TestNotSent: what is wrong is reported before anything is sent, and the client goes on.
func TestNotSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, other := leveret.NewCommand[thing]("a.do"), leveret.NewCommand[thing]("a.other")
	happened := leveret.NewEvent[thing]("tester.happened")
	ask := leveret.NewRequest[thing, answer]("a.ask")
	bad := leveret.NewCommand[thing]("BAD")
	lost := leveret.NewCommand[thing]("a.lost", leveret.At(leveret.Address{Exchange: "amq.direct", RoutingKey: "nowhere", External: true}))
	noExchange := leveret.NewCommand[thing]("a.none", leveret.At(leveret.Address{Exchange: "no such exchange", External: true}))
	client := b.sender(leveret.Sends(do, lost, noExchange), leveret.Publishes(happened), leveret.Calls(ask))
	fine := func() {
		t.Helper()
		require.NoError(t, do.Send(b.ctx, client, thing{N: 1}))
	}
	fine()
	for what, test := range map[string]struct {
		err  error
		is   error
		code leveret.Code
	}{
		"of the same name":    {leveret.NewCommand[thing]("a.do").Send(b.ctx, client, thing{}), leveret.ErrUndeclared, leveret.FailedPrecondition},
		"undeclared":          {other.Send(b.ctx, client, thing{}), leveret.ErrUndeclared, leveret.FailedPrecondition},
		"a bad name":          {bad.Send(b.ctx, client, thing{}), nil, leveret.Unknown},
		"invalid":             {do.Send(b.ctx, client, thing{N: -1}), nil, leveret.InvalidArgument},
		"20 MiB":              {do.Send(b.ctx, client, thing{Text: strings.Repeat("x", 20<<20)}), leveret.ErrTooLarge, leveret.InvalidArgument},
		"200 KiB of headers":  {do.Send(b.ctx, client, thing{}, leveret.Header("x", strings.Repeat("x", 200<<10))), nil, leveret.InvalidArgument},
		"a header of no type": {do.Send(b.ctx, client, thing{}, leveret.Header("x", struct{}{})), nil, leveret.InvalidArgument},
		"a long header name":  {do.Send(b.ctx, client, thing{}, leveret.Header(strings.Repeat("x", 256), 1)), nil, leveret.InvalidArgument},
		"a long id":           {do.Send(b.ctx, client, thing{}, leveret.MessageID(strings.Repeat("x", 256))), nil, leveret.InvalidArgument},
		"NaN":                 {do.Send(b.ctx, client, thing{}, leveret.Header("rate", math.NaN())), nil, leveret.InvalidArgument},
		"-Inf, deep in there": {do.Send(b.ctx, client, thing{}, leveret.Header("a", amqp.Table{"b": []any{math.Inf(-1)}})), nil, leveret.InvalidArgument},
		"no queue":            {lost.Send(b.ctx, client, thing{}), leveret.ErrUnroutable, leveret.Unavailable},
		"no exchange":         {noExchange.Send(b.ctx, client, thing{}), leveret.ErrUnroutable, leveret.Unavailable},
		"a request, sent":     {client.Send(b.ctx, leveret.NewMessage(b.ctx, ask, []byte(`{}`))), nil, leveret.InvalidArgument},
		"a command, called":   {client.Call(b.ctx, leveret.NewMessage(b.ctx, do, []byte(`{}`))), nil, leveret.InvalidArgument},
		"nothing":             {client.Send(b.ctx, &leveret.Message{}), leveret.ErrUndeclared, leveret.FailedPrecondition},
	} {
		require.Error(t, test.err, what)
		if test.is != nil {
			require.ErrorIs(t, test.err, test.is, what)
		}
		require.Equal(t, test.code, leveret.CodeOf(test.err), "%s: %v", what, test.err)
		if test.code != leveret.Unknown {
			require.ErrorIs(t, test.err, test.code, what)
		}
		require.Less(t, len(test.err.Error()), 1000, what)
	}
	fine()
	ended, cancel := context.WithCancel(b.ctx)
	cancel()
	require.ErrorIs(t, do.Send(ended, client, thing{}), context.Canceled)
	foreign := b.peer()
	b.eventually(func() bool { return foreign.count("a.do") == 2 })
}

// TestClosed: a client that was closed says so.
func TestClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, ask := leveret.NewCommand[thing]("a.do"), leveret.NewRequest[thing, answer]("a.ask")
	client := b.sender(leveret.Sends(do), leveret.Calls(ask))
	require.NoError(t, client.Close(b.ctx))
	require.NoError(t, client.Close(b.ctx), "twice")
	require.ErrorIs(t, do.Send(b.ctx, client, thing{}), leveret.ErrClosed)
	_, err := ask.Call(b.ctx, client, thing{})
	require.ErrorIs(t, err, leveret.ErrClosed)
}

// TestPipeline sends commands and events from one goroutine without waiting for each.
func TestPipeline(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, happened := leveret.NewCommand[thing]("a.do"), leveret.NewEvent[thing]("tester.happened")
	ask := leveret.NewRequest[thing, answer]("a.ask")
	lost := leveret.NewCommand[thing]("a.lost", leveret.At(leveret.Address{Exchange: "amq.direct", RoutingKey: "nowhere", External: true}))
	client := b.sender(leveret.Sends(do, lost), leveret.Publishes(happened), leveret.Calls(ask))
	foreign := b.peer()
	var outcomes, failures int
	p := client.Pipeline(func(_ *leveret.Message, err error) {
		outcomes++
		if err != nil {
			failures++
		}
	})
	require.NoError(t, p.Flush(b.ctx), "nothing was sent")
	tell := func(v thing) error {
		m, err := happened.Message(b.ctx, v)
		require.NoError(t, err)
		return p.Write(b.ctx, m)
	}
	require.NoError(t, tell(thing{}))
	require.NoError(t, p.Flush(b.ctx))
	foreign.queue("listener", "events", "tester.happened")
	for i := range 1000 {
		require.NoError(t, write(b.ctx, p, do, thing{N: i}))
		require.NoError(t, tell(thing{N: i}))
	}
	require.NoError(t, p.Flush(b.ctx))
	b.eventually(func() bool { return foreign.count("a.do") == 1000 && foreign.count("listener") == 1000 })

	require.ErrorIs(t, write(b.ctx, p, do, thing{Text: strings.Repeat("x", 20<<20)}), leveret.ErrTooLarge)
	require.ErrorIs(t, p.Write(b.ctx, leveret.NewMessage(b.ctx, ask, nil)), leveret.InvalidArgument)
	nowhere, err := lost.Message(b.ctx, thing{}, leveret.MessageID("the lost one"))
	require.NoError(t, err)
	require.NoError(t, p.Write(b.ctx, nowhere), "it was written")
	require.NoError(t, write(b.ctx, p, do, thing{}))
	err = p.Flush(b.ctx)
	require.ErrorIs(t, err, leveret.ErrUnroutable)
	require.ErrorContains(t, err, "a.lost the lost one", "which one it was")
	b.eventually(func() bool { return foreign.count("a.do") == 1001 })
	require.NoError(t, p.Flush(b.ctx), "reported once")
	require.Equal(t, 2003, outcomes, "one for each that was written")
	require.Equal(t, 1, failures)
}

// TestConversation follows three hops: command, event, request. A handler that runs again for a message sends the same
// ids again.
func TestConversation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	start := leveret.NewCommand[thing]("a.start", quick)
	happened := leveret.NewEvent[thing]("a.happened", quick)
	ask := leveret.NewRequest[thing, answer]("c.ask", leveret.Timeout(patience))
	a := leveret.NewService("a", leveret.Handles(start), leveret.Publishes(happened))
	bb := leveret.NewService("b", leveret.SubscribesTo(happened), leveret.SubscribesAs("too", happened), leveret.Calls(ask))
	c := leveret.NewService("c", leveret.Answers(ask))
	require.NoError(t, leveret.NewCatalog(a, bb, c).Err())
	conn := b.connect(leveret.ConnConfig{})
	clientA, clientB := b.client(conn, a, leveret.ClientConfig{}), b.client(conn, bb, leveret.ClientConfig{})
	seen := make(chan *leveret.Message, 100)
	note := func(ctx context.Context) { seen <- leveret.MessageFrom(ctx) }

	wa := b.worker(conn, a, leveret.WorkerConfig{})
	start.Handle(wa.Handlers, func(ctx context.Context, v thing) error {
		if err := happened.Publish(ctx, clientA, v); err != nil {
			return err
		}
		if leveret.MessageFrom(ctx).Attempt == 1 {
			return errors.New("after it was published")
		}
		return nil
	})
	wb := b.worker(conn, bb, leveret.WorkerConfig{})
	relay := func(ctx context.Context, v thing) error {
		note(ctx)
		_, err := ask.Call(ctx, clientB, v)
		return err
	}
	happened.Subscribe(wb.Handlers, relay)
	happened.Subscribe(wb.Handlers, relay, leveret.As("too"))
	wc := b.worker(conn, c, leveret.WorkerConfig{})
	ask.Answer(wc.Handlers, func(ctx context.Context, v thing) (answer, error) {
		note(ctx)
		return answer{N: v.N}, nil
	})
	b.run(wa)
	b.run(wb)
	b.run(wc)

	client := b.sender(leveret.Sends(start))
	require.NoError(t, start.Send(b.ctx, client, thing{N: 1}, leveret.MessageID("first"), leveret.Conversation("talk")))

	ids := map[string]int{}
	for range 8 { // two attempts of start, two subscriptions, each with its request
		m := receive(t, seen)
		ids[m.Contract.Spec().Name+" in "+m.Queue+" "+m.ID]++
		require.Equal(t, "talk", m.ConversationID)
		require.EqualValues(t, 8, uuid.MustParse(m.ID).Version())
		if m.Contract == leveret.Contract(happened) {
			require.Equal(t, "first", m.CausationID)
			require.Equal(t, "talk", m.CorrelationID)
			require.Equal(t, "a", m.AppID)
		} else {
			require.NotEqual(t, "talk", m.CorrelationID, "a request's is the call's")
			require.Equal(t, "b", m.AppID)
		}
	}
	require.Len(t, ids, 4, "each twice, under one id; the requests of two subscriptions are two: %v", ids)
	for id, n := range ids {
		require.Equal(t, 2, n, id)
	}
}

// What a contract needs is declared with its own first message, and once more where it has gone since.
func TestAContractIsDeclaredWithItsOwnMessages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := leveret.NewCommand[thing]("a.first"), leveret.NewCommand[thing]("a.second")
	happened := leveret.NewEvent[thing]("tester.happened")
	ask := leveret.NewRequest[thing, thing]("a.ask", leveret.Timeout(patience))
	conn := b.connect(leveret.ConnConfig{})
	client := b.client(conn, leveret.NewService("tester", leveret.Sends(first, second), leveret.Publishes(happened), leveret.Calls(ask)), leveret.ClientConfig{})
	require.NoError(t, first.Send(b.ctx, client, thing{N: 1}))
	_, err := conn.Rabbit().Inspect(b.ctx, "a.second")
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	require.NoError(t, second.Send(b.ctx, client, thing{N: 2}))
	require.NoError(t, happened.Publish(b.ctx, client, thing{N: 3}))

	foreign := b.peer()
	_, err = foreign.QueueDelete("a.first", false, false, false)
	require.NoError(t, err)
	require.NoError(t, first.Send(b.ctx, client, thing{N: 4}))
	require.JSONEq(t, `{"n":4}`, string(foreign.take("a.first").Body))

	require.NoError(t, foreign.ExchangeDelete("events", false, false))
	require.NoError(t, happened.Publish(b.ctx, client, thing{N: 5}))

	_, err = foreign.QueueDelete("a.second", false, false, false)
	require.NoError(t, err)
	pipeline := client.Pipeline(nil)
	write := func(n int) error {
		m, err := second.Message(b.ctx, thing{N: n})
		require.NoError(t, err)
		return pipeline.Write(b.ctx, m)
	}
	require.NoError(t, write(6))
	require.ErrorIs(t, pipeline.Flush(b.ctx), leveret.ErrUnroutable)
	require.NoError(t, write(7))
	require.NoError(t, pipeline.Flush(b.ctx))

	_, err = ask.Call(b.ctx, client, thing{N: 8})
	require.ErrorIs(t, err, leveret.ErrUnroutable, "nobody answers")
	require.NoError(t, foreign.ExchangeDelete("requests", false, false))
	_, err = ask.Call(b.ctx, client, thing{N: 9})
	require.ErrorIs(t, err, leveret.ErrUnroutable)
	require.NotErrorIs(t, err, rabbit.ErrNotFound, "the exchange is there again")
}
