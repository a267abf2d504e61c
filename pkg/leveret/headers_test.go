package leveret_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestReservedHeaders: no sender may say what is for Leveret and RabbitMQ to say, whichever way it tries.
func TestReservedHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, happened := leveret.NewCommand[thing]("a.do"), leveret.NewEvent[thing]("tester.happened")
	ask := leveret.NewRequest[thing, answer]("a.ask")
	service := leveret.NewService("tester", leveret.Sends(do), leveret.Publishes(happened), leveret.Calls(ask))
	var forge atomic.Pointer[string]
	conn := b.connect(leveret.ConnConfig{})
	client := b.client(conn, service, leveret.ClientConfig{})
	forging := b.client(conn, service, leveret.ClientConfig{Middleware: []leveret.Middleware{func(next leveret.Handler) leveret.Handler {
		return func(ctx context.Context, m *leveret.Message) error {
			m.Headers = map[string]any{*forge.Load(): []any{"b.do"}}
			return next(ctx, m)
		}
	}}})
	for _, name := range []string{
		"leveret-attempt", "Leveret-Deadline", "leveret-", "CC", "BCC", "cc", "x-death", "X-Death", "x-first-death-queue", "x-last-death-reason",
		"x-delivery-count", "x-acquired-count", "x-stream-offset",
	} {
		forge.Store(&name)
		header := leveret.Header(name, []any{"b.do"})
		_, called := ask.Call(b.ctx, client, thing{}, header)
		_, forged := ask.Call(b.ctx, forging, thing{})
		_, made := do.Message(b.ctx, thing{}, header)
		for what, err := range map[string]error{
			"a command": do.Send(b.ctx, client, thing{}, header), "an event": happened.Publish(b.ctx, client, thing{}, header), "a request": called,
			"a message": made, "sent by hand": client.Send(b.ctx, leveret.NewMessage(b.ctx, do, []byte(`{}`), header)),
			"called by hand": client.Call(b.ctx, leveret.NewMessage(b.ctx, ask, []byte(`{}`), header)),
			"a pipeline":     client.Pipeline(nil).Write(b.ctx, leveret.NewMessage(b.ctx, do, []byte(`{}`), header)),
			"middleware":     do.Send(b.ctx, forging, thing{}), "middleware of calls": forged,
			"middleware of a pipeline": write(b.ctx, forging.Pipeline(nil), do, thing{}),
		} {
			require.ErrorIs(t, err, leveret.InvalidArgument, "%s: %s", name, what)
			require.ErrorContains(t, err, `the header "`+name+`" cannot be set`, what)
		}
	}
	require.NoError(t, do.Send(b.ctx, client, thing{}, leveret.Header("x-delay", int64(5)), leveret.Header("leveret", "mine"), leveret.Header("CCC", "a")))
	foreign := b.peer()
	b.eventually(func() bool { return foreign.count("a.do") == 1 })
}

// full is a header that fills the frame of a message: there is room for a short id and a reply-to, and none for what the
// broker adds.
func full() amqp.Table { return amqp.Table{"large": strings.Repeat("x", 131_009)} }

// TestHeadersThatGrowOnTheirWay: a header frame that fitted when it was sent, and does not when it is delivered. Nobody
// loses a connection over it, whatever it is: a command that came back, a request, a reply, a dead letter.
func TestHeadersThatGrowOnTheirWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do := leveret.NewCommand[thing]("a.do", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{10 * time.Millisecond}}))
	ask, other := leveret.NewRequest[thing, answer]("a.ask", leveret.Timeout(patience)), leveret.NewRequest[thing, answer]("b.ask", leveret.Timeout(patience))
	service := leveret.NewService("a", leveret.Handles(do), leveret.Answers(ask))
	foreign := b.peer()
	conn := b.connect(leveret.ConnConfig{})
	w := b.worker(conn, service, leveret.WorkerConfig{})
	handled := make(chan *leveret.Message, 10)
	do.Handle(w.Handlers, func(ctx context.Context, _ thing) error {
		handled <- leveret.MessageFrom(ctx)
		return leveret.Errorf(leveret.Unavailable, "not now")
	})
	ask.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) { return answer{N: 2 * v.N}, nil })
	client := b.client(conn, leveret.NewService("tester", leveret.Sends(do), leveret.Calls(other)), leveret.ClientConfig{})
	require.NoError(t, do.Send(b.ctx, client, thing{})) // declares its queue
	foreign.take("a.do")

	// A command comes back to its queue, which counts that in a header.
	foreign.publish("commands", "a.do", amqp.Publishing{Headers: full(), MessageId: "large", Body: []byte(`{"n":1}`)})
	taker := b.peer()
	_, _, err := taker.Get("a.do", false)
	_ = err // RabbitMQ 3.10 counts the first time, too, and the driver gives up
	require.NoError(t, taker.Channel.Close())
	b.eventually(func() bool { return foreign.count("a.do") == 1 })
	b.run(w)
	m := receive(t, handled)
	require.Equal(t, "large", m.ID)
	require.Equal(t, 1, m.Attempt)
	require.Less(t, len(m.Headers), 5)
	require.Contains(t, m.Headers["leveret-headers-dropped"], "larger than a frame")
	require.EqualValues(t, 1, m.Headers["x-delivery-count"], "by this a message ends that crashes its workers")
	m = receive(t, handled)
	require.Equal(t, 2, m.Attempt, "it has been through a retry tier")
	b.eventually(func() bool { return foreign.count("a.do.dlq") == 1 })

	// A request, whose reply-to the broker replaces by a longer one.
	d := foreign.ask("a.ask", amqp.Publishing{Headers: full(), CorrelationId: "c", Body: []byte(`{"n":21}`)})
	require.JSONEq(t, `{"n":42}`, string(d.Body))

	// A dead letter that the broker made itself: it has added the whole story.
	_, err = foreign.QueueDeclare("b.do", true, false, false, false, amqp.Table{
		"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b.do.dlq",
	})
	require.NoError(t, err)
	foreign.queue("b.do.dlq", "", "")
	foreign.publish("", "b.do", amqp.Publishing{Headers: full(), MessageId: "dead", Expiration: "1", Body: []byte(`{}`)})
	b.eventually(func() bool { return foreign.count("b.do.dlq") == 1 })
	store := deadletter.New(conn)
	_, err = store.Peek(b.ctx, store.DeadLetters("b.do"), 1, func(l *deadletter.Letter) bool {
		require.Equal(t, []string{"dead", "expired", ""}, []string{l.ID, l.Reason, l.Code})
		return true
	})
	require.NoError(t, err)
	var result deadletter.Result
	b.eventually(func() bool { // of a queue whose leader is slow to answer, the broker says that it is empty
		result, err = store.Replay(b.ctx, store.DeadLetters("b.do"), deadletter.Replay{})
		return err != nil || result.Seen > 0
	})
	require.NoError(t, err)
	require.Equal(t, deadletter.Result{Seen: 1, Matched: 1, Replayed: 1}, result)
	b.eventually(func() bool { return foreign.count("b.do") == 1 && foreign.count("b.do.dlq") == 0 })

	// A reply.
	foreign.queue("their requests", "requests", "b.ask")
	requests, err := foreign.Consume("their requests", "", true, false, false, false, nil)
	require.NoError(t, err)
	go func() {
		for d := range requests {
			_ = foreign.Publish("", d.ReplyTo, false, false, amqp.Publishing{
				Headers: amqp.Table{"large": strings.Repeat("x", 130_900)}, CorrelationId: d.CorrelationId, Body: []byte(`{"n":5}`),
			})
		}
	}()
	reply, err := other.Call(b.ctx, client, thing{})
	require.NoError(t, err)
	require.Equal(t, 5, reply.N)

	require.Zero(t, conn.Rabbit().State().Lost+conn.Publishing().State().Lost)
}

// TestCopyThatKillsItsConnection: a failed message whose copy makes the broker close the connection, here since somebody
// keeps what is retried in a stream, which cannot take in decimals. It is left to the broker to dead-letter it.
func TestCopyThatKillsItsConnection(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do := leveret.NewCommand[thing]("a.do", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{10 * time.Millisecond}}))
	conn := b.connect(leveret.ConnConfig{})
	w := b.worker(conn, leveret.NewService("a", leveret.Handles(do)), leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(ctx context.Context, _ thing) error {
		if leveret.MessageFrom(ctx).Attempt == 1 {
			return leveret.Errorf(leveret.Unavailable, "not now")
		}
		return nil // the retry tier may have taken what the stream could not
	})
	b.run(w)
	foreign := b.peer()
	_, err := foreign.QueueDeclare("audit", true, false, false, false, amqp.Table{"x-queue-type": "stream"})
	require.NoError(t, err)
	require.NoError(t, foreign.QueueBind("audit", "", "retry.10ms", false, nil))
	foreign.publish("commands", "a.do", amqp.Publishing{
		Headers: amqp.Table{"amount": amqp.Decimal{Scale: 2, Value: 999}}, MessageId: "one", Body: []byte(`{}`),
	})
	b.eventually(func() bool { return foreign.count("a.do.dlq") == 1 && foreign.count("a.do") == 0 })
	require.LessOrEqual(t, conn.Publishing().State().Lost+conn.Rabbit().State().Lost, 1)
}
