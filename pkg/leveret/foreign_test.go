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
)

// TestForeignCaller: reply_to and correlation_id are enough, in every shape that they come in.
func TestForeignCaller(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	conn := b.connect(leveret.ConnConfig{Instance: "here/1"})
	w := b.worker(conn, b.service, leveret.WorkerConfig{})
	b.ask.Answer(w.Handlers, func(ctx context.Context, v thing) (answer, error) {
		if v.N == 0 {
			return answer{}, errDeclined
		}
		return answer{N: v.N, Text: leveret.MessageFrom(ctx).ID}, nil
	})
	b.run(w)
	foreign := b.peer()

	d := foreign.ask("a.ask", amqp.Publishing{CorrelationId: "c1", Body: []byte(`{"n":7}`)})
	require.JSONEq(t, `{"n":7}`, string(d.Body))
	require.Equal(t, "c1", d.CorrelationId)
	require.Equal(t, "application/json", d.ContentType)
	require.Equal(t, "a.ask", d.Type)
	require.Equal(t, "a", d.AppId)
	require.Equal(t, "here/1", d.Headers["leveret-instance"])
	require.Equal(t, amqp.Transient, d.DeliveryMode)

	d = foreign.ask("a.ask", amqp.Publishing{CorrelationId: "c2", Body: []byte(`{}`)})
	require.Equal(t, "c2", d.CorrelationId)
	require.Equal(t, "application/problem+json", d.ContentType)
	require.JSONEq(t, `{"type":"about:blank","title":"failed_precondition","status":400,"detail":"the card was declined",
		"code":"failed_precondition","reason":"card_declined"}`, string(d.Body))

	d = foreign.ask("a.ask", amqp.Publishing{MessageId: "m3", Body: []byte(`{"n":7}`)})
	require.Equal(t, "m3", d.CorrelationId, "without a correlation id, the message id")
	d = foreign.ask("a.ask", amqp.Publishing{Body: []byte(`{"n":7}`)})
	require.Empty(t, d.CorrelationId)
	d = foreign.ask("a.ask", amqp.Publishing{
		ContentType: "text/plain", ContentEncoding: "utf-8", CorrelationId: "\xff\x00binary", Expiration: "120000", UserId: "guest", Body: []byte(`{"n":7}`),
		Headers: amqp.Table{"leveret-deadline": strings.Repeat("9", 60<<10), "x": []any{amqp.Table{"y": nil}}},
	})
	require.Equal(t, "\xff\x00binary", d.CorrelationId)

	// A queue of the caller's own, named in any way.
	q, err := foreign.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	foreign.publish("requests", "a.ask", amqp.Publishing{ReplyTo: q.Name, CorrelationId: "c4", Body: []byte(`{"n":8}`)})
	require.Equal(t, "c4", foreign.take(q.Name).CorrelationId)
	foreign.publish("", "a.ask", amqp.Publishing{ReplyTo: q.Name, CorrelationId: "c5", Body: []byte(`{"n":8}`)})
	require.Equal(t, "c5", foreign.take(q.Name).CorrelationId, "sent to the queue itself")
}

// TestBogusReplyTo: an address that leads nowhere, or that the broker itself chokes on, costs its sender the answer,
// and nobody else anything for long: RabbitMQ 3.10 closes the connection of a worker that answers to a broken direct
// reply-to.
func TestBogusReplyTo(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	var handled atomic.Int64
	b.answering(leveret.WorkerConfig{}, func(_ context.Context, v thing) (answer, error) {
		if v.N == 1 {
			handled.Add(1)
		}
		return answer{N: v.N}, nil
	})
	foreign := b.peer()
	bogus := []string{
		"no such queue", strings.Repeat("q", 255), "a.ask.dlq", "amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-to.!!!!", "amq.rabbitmq.reply-to.AAAA.BBBB",
		"amq.rabbitmq.reply-to.g2dQBXJhYmJpdAAAAAAAAAAA.abc=", "amq.rabbitmq.reply-to.\xff\xfe", "\xff\x00",
	}
	for _, to := range bogus {
		foreign.publish("requests", "a.ask", amqp.Publishing{ReplyTo: to, CorrelationId: "c", Body: []byte(`{"n":1}`)})
	}
	client := b.newCaller()
	b.eventually(func() bool {
		reply, err := b.ask.Call(b.ctx, client, thing{N: 42})
		return err == nil && reply.N == 42
	}, "the others are answered")
	b.eventually(func() bool { return foreign.count("a.ask") == 0 })
	b.eventually(func() bool { // one that the worker has taken is not counted there
		for range 10 {
			if _, err := b.ask.Call(b.ctx, client, thing{N: 42}); err != nil {
				return false
			}
		}
		return true
	}, "and nothing comes again")
	require.LessOrEqual(t, handled.Load(), int64(len(bogus)), "each once")
}

// TestNobodyAsked: a request without a reply-to is handled, and what comes of it is dropped.
func TestNobodyAsked(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	handled := make(chan thing, 9)
	b.answering(leveret.WorkerConfig{}, func(_ context.Context, v thing) (answer, error) { handled <- v; return answer{}, nil })
	foreign := b.peer()
	foreign.publish("requests", "a.ask", amqp.Publishing{Body: []byte(`{"n":"one"}`)})
	foreign.publish("requests", "a.ask", amqp.Publishing{Body: []byte(`{"n":1}`)})
	require.Equal(t, 1, receive(t, handled).N)
	b.eventually(func() bool { return foreign.count("a.ask") == 0 })
}

// TestForeignWorker: what answers may know nothing of Leveret.
func TestForeignWorker(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	client := b.newCaller()
	_, err := b.ask.Call(b.ctx, client, thing{}) // declares the exchange
	require.ErrorIs(t, err, leveret.ErrUnroutable)
	foreign := b.peer()
	foreign.queue("their requests", "requests", "a.ask")
	requests, err := foreign.Consume("their requests", "", true, false, false, false, nil)
	require.NoError(t, err)
	go func() {
		for d := range requests {
			var reply amqp.Publishing
			switch string(d.Body) {
			case `{"n":1}`:
				reply.Body = []byte(`{"n":10}`)
			case `{"n":2}`:
				reply = amqp.Publishing{ContentType: "Application/Problem+JSON; charset=utf-8", Body: []byte(`{"code":"not_found","detail":"no such thing"}`)}
			case `{"n":3}`:
				reply.Body = []byte(`ten`)
			case `{"n":4}`:
				reply.ContentType = "application/problem+json"
			}
			reply.CorrelationId = d.CorrelationId
			_ = foreign.Publish("", d.ReplyTo, false, false, reply)
		}
	}()
	reply, err := b.ask.Call(b.ctx, client, thing{N: 1})
	require.NoError(t, err)
	require.Equal(t, 10, reply.N)
	_, err = b.ask.Call(b.ctx, client, thing{N: 2})
	require.EqualError(t, err, "not_found: no such thing")
	_, err = b.ask.Call(b.ctx, client, thing{N: 3})
	require.ErrorIs(t, err, leveret.Internal)
	require.ErrorContains(t, err, "the reply to a.ask is not a leveret_test.answer: invalid_argument: the body is not JSON")
	_, err = b.ask.Call(b.ctx, client, thing{N: 4})
	require.ErrorIs(t, err, leveret.Unknown)

	m := leveret.NewMessage(b.ctx, b.ask, []byte(`{"n":1}`))
	require.NoError(t, client.Call(b.ctx, m))
	require.Empty(t, m.AnsweredBy, "it did not say")
}

// TestExternal: what somebody else owns is never declared; what fails there is ours.
func TestExternal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := b.peer()
	_, err := foreign.QueueDeclare("OldQueue", true, false, false, false, nil) // classic, with no arguments at all
	require.NoError(t, err)
	require.NoError(t, foreign.ExchangeDeclare("old.events", "fanout", true, false, false, false, nil))
	require.NoError(t, foreign.QueueBind("OldQueue", "", "old.events", false, nil))
	old := leveret.NewEvent[thing]("legacy.happened", quick, leveret.At(leveret.Address{Exchange: "old.events", Queue: "OldQueue", External: true}))
	missing := leveret.NewCommand[thing]("legacy.missing", leveret.At(leveret.Address{Queue: "NotThere", External: true}))
	service := leveret.NewService("a", leveret.Publishes(old), leveret.SubscribesTo(old))
	require.NoError(t, leveret.NewCatalog(service).Err())
	conn := b.connect(leveret.ConnConfig{})
	attempts := make(chan int, 9)
	w := b.worker(conn, service, leveret.WorkerConfig{})
	old.Subscribe(w.Handlers, func(ctx context.Context, _ thing) error {
		attempts <- leveret.MessageFrom(ctx).Attempt
		return errors.New("no")
	})
	b.run(w)
	client := b.client(conn, service, leveret.ClientConfig{})
	require.NoError(t, old.Publish(b.ctx, client, thing{N: 1}))
	for i := range 3 {
		require.Equal(t, i+1, receive(t, attempts))
	}
	d := foreign.take("OldQueue.dlq")
	require.Equal(t, "OldQueue", d.Headers["leveret-failed-queue"])

	broken := b.worker(conn, leveret.NewService("b", leveret.Handles(missing)), leveret.WorkerConfig{})
	missing.Handle(broken.Handlers, func(context.Context, thing) error { return nil })
	r := b.start(broken)
	b.eventually(func() bool {
		err := broken.Ready()
		return errors.Is(err, rabbit.ErrNotFound) && strings.Contains(err.Error(), "NotThere")
	}, "readiness names what is missing")
	require.Equal(t, leveret.NotFound, leveret.CodeOf(broken.Ready()))
	_, err = b.peer().QueueDeclarePassive("NotThere", true, false, false, false, nil)
	require.Error(t, err, "never declared")
	require.NoError(t, r.halt())
}

// TestNamespaces: two systems of one make share a virtual host and never meet.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, ask := leveret.NewCommand[thing]("a.do", quick), leveret.NewRequest[thing, answer]("a.ask")
	happened := leveret.NewEvent[thing]("a.happened")
	service := leveret.NewService("a", leveret.Handles(do), leveret.Sends(do), leveret.Publishes(happened), leveret.SubscribesTo(happened), leveret.Answers(ask), leveret.Calls(ask))
	type system struct {
		client   *leveret.Client
		messages chan string
	}
	systems := map[string]system{}
	for _, namespace := range []string{"", "blue", "team.green"} {
		s := system{messages: make(chan string, 99)}
		conn := b.connect(leveret.ConnConfig{Namespace: namespace})
		s.client = b.client(conn, service, leveret.ClientConfig{ReplyQueue: true})
		w := b.worker(conn, service, leveret.WorkerConfig{})
		do.Handle(w.Handlers, func(_ context.Context, v thing) error { s.messages <- "do " + v.Text; return errors.New("no") })
		happened.Subscribe(w.Handlers, func(_ context.Context, v thing) error { s.messages <- "happened " + v.Text; return nil })
		ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) { return answer{Text: namespace}, nil })
		b.run(w)
		systems[namespace] = s
	}
	for namespace, s := range systems {
		require.NoError(t, do.Send(b.ctx, s.client, thing{Text: namespace}))
		require.NoError(t, happened.Publish(b.ctx, s.client, thing{Text: namespace}))
		reply, err := ask.Call(b.ctx, s.client, thing{})
		require.NoError(t, err)
		require.Equal(t, namespace, reply.Text)
	}
	foreign := b.peer()
	for namespace, s := range systems {
		seen := map[string]int{}
		for range 4 {
			seen[receive(t, s.messages)]++
		}
		require.Equal(t, map[string]int{"do " + namespace: 3, "happened " + namespace: 1}, seen)
		prefix := namespace
		if prefix != "" {
			prefix += "."
		}
		require.Equal(t, prefix+"a.do", foreign.take(prefix + "a.do.dlq").Headers["leveret-failed-queue"])
		require.Empty(t, s.messages)
	}
}

// TestDeclaresNothing: a user that may declare nothing works with what is there, says what is not, and takes it when it
// comes.
func TestDeclaresNothing(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	ask := leveret.NewRequest[thing, answer]("a.ask")
	service := leveret.NewService("a", leveret.Handles(h.do), leveret.Answers(ask))
	conn := h.connect(leveret.ConnConfig{NoDeclare: true})
	handled := make(chan thing, 9)
	w := h.worker(conn, service, leveret.WorkerConfig{})
	h.do.Handle(w.Handlers, func(_ context.Context, v thing) error { handled <- v; return nil })
	ask.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) { return answer(v), nil })
	h.start(w)
	h.eventually(func() bool {
		err := w.Ready()
		return errors.Is(err, leveret.NotFound) && errors.Is(err, rabbit.ErrNotFound) && strings.Contains(err.Error(), "a.do") && strings.Contains(err.Error(), "a.ask")
	})
	caller := leveret.NewService("tester", leveret.Sends(h.do), leveret.Calls(ask))
	client := h.client(conn, caller, leveret.ClientConfig{})
	require.ErrorIs(t, h.do.Send(h.ctx, client, thing{}), leveret.ErrUnroutable)
	_, err := ask.Call(h.ctx, client, thing{})
	require.ErrorIs(t, err, leveret.ErrUnroutable)

	other := h.worker(h.connect(leveret.ConnConfig{}), service, leveret.WorkerConfig{})
	h.do.Handle(other.Handlers, func(context.Context, thing) error { return nil })
	ask.Answer(other.Handlers, func(context.Context, thing) (answer, error) { return answer{}, nil })
	declaring := h.run(other)
	require.NoError(t, declaring.halt())
	h.eventually(func() bool { return w.Ready() == nil }, "what it needs is there by now: %v", w.Ready())
	require.NoError(t, h.do.Send(h.ctx, client, thing{N: 3}))
	require.Equal(t, 3, receive(t, handled).N)
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	reply, err := ask.Call(ctx, client, thing{N: 4})
	require.NoError(t, err)
	require.Equal(t, 4, reply.N)
}

// TestOtherArguments: a queue that exists with other arguments is used all the same.
func TestOtherArguments(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	foreign := h.peer()
	_, err := foreign.QueueDeclare("a.do", true, false, false, false, amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int64(7)})
	require.NoError(t, err)
	handled := make(chan thing, 9)
	h.handle(leveret.WorkerConfig{}, func(_ context.Context, v thing) error {
		handled <- v
		return leveret.Errorf(leveret.NotFound, "no")
	})
	h.send(thing{N: 1})
	require.Equal(t, 1, receive(t, handled).N)
	require.Equal(t, "not_found", foreign.take("a.do.dlq").Headers["leveret-error-code"])
}
