package leveret_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// with returns the lines that hold a text.
func (l *lines) with(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func (l *lines) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

// TestExternalQueueThatIsMissing: one warning says so, not one for each try, and Ready names the queue. When it is there
// the worker takes from it.
func TestExternalQueueThatIsMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	way, said := b.proxy(), &asked{}
	said.watch(way)
	log := &lines{}
	do := leveret.NewCommand[thing]("a.do", quick, leveret.At(leveret.Address{Queue: "theirs", External: true}))
	conn := b.connect(leveret.ConnConfig{URLs: []string{way.url}, Logger: log.logger(slog.LevelWarn)})
	w := b.worker(conn, leveret.NewService("a", leveret.Handles(do)), leveret.WorkerConfig{})
	w.declares = 20 * time.Millisecond
	handled := make(chan thing, 1)
	do.Handle(w.Handlers, func(_ context.Context, v thing) error { handled <- v; return nil })
	r := b.start(w)
	b.eventually(func() bool {
		said.mu.Lock()
		defer said.mu.Unlock()
		tries := 0
		for _, queue := range said.bindings {
			if queue == "theirs" {
				tries++
			}
		}
		return tries >= 6
	})
	err := r.Ready()
	require.ErrorContains(t, err, "the queue theirs is not consumed")
	require.Equal(t, leveret.NotFound, leveret.CodeOf(err))
	require.Len(t, log.with("not consuming"), 1)
	require.LessOrEqual(t, len(log.with("cannot declare")), 1)
	require.Empty(t, log.with("using"))
	foreign := b.peer()
	foreign.queue("theirs", "", "")
	receive(t, w.ready)
	foreign.publish("", "theirs", amqp.Publishing{Body: []byte(`{"n":1}`)})
	require.Equal(t, 1, receive(t, handled).N)
}

// TestStream: a worker on a stream ends before it has done anything with a message.
func TestStream(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := b.peer()
	_, err := foreign.QueueDeclare("ticks", true, false, false, false, amqp.Table{
		"x-queue-type": "stream", "x-max-length-bytes": int64(10_000_000),
	})
	require.NoError(t, err)
	tick := leveret.NewCommand[thing]("a.tick", quick, leveret.At(leveret.Address{Queue: "ticks", External: true}))
	w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("a", leveret.Handles(tick)), leveret.WorkerConfig{})
	tick.Handle(w.Handlers, func(context.Context, thing) error { return errors.New("never called") })
	r := b.run(w)
	foreign.publish("", "ticks", amqp.Publishing{Body: []byte(`{"n":1}`)})
	err = r.wait()
	require.Equal(t, leveret.FailedPrecondition, leveret.CodeOf(err))
	require.ErrorContains(t, err, "the queue ticks is a stream")
	require.NotContains(t, err.Error(), "never called")
	require.Zero(t, b.peer().count("ticks.dlq"))
	require.Zero(t, b.peer().count("retry.50ms"))
}

// TestNoStream: anybody can send the header of a stream's messages.
func TestNoStream(t *testing.T) {
	t.Parallel()
	for kind, args := range map[string]amqp.Table{"classic": nil, "quorum": {"x-queue-type": "quorum"}} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			foreign := b.peer()
			_, err := foreign.QueueDeclare("theirs", true, false, false, false, args)
			require.NoError(t, err)
			do := leveret.NewCommand[thing]("a.do", quick, leveret.At(leveret.Address{Queue: "theirs", External: true}))
			w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("a", leveret.Handles(do)), leveret.WorkerConfig{})
			handled := make(chan *leveret.Message, 9)
			do.Handle(w.Handlers, func(ctx context.Context, _ thing) error { handled <- leveret.MessageFrom(ctx); return errors.New("no") })
			b.run(w)
			for range 2 {
				foreign.publish("", "theirs", amqp.Publishing{Headers: amqp.Table{"x-stream-offset": int64(1)}, Body: []byte(`{}`)})
			}
			for range 6 {
				receive(t, handled)
			}
			require.NotContains(t, foreign.take("theirs.dlq").Headers, "x-stream-offset")
		})
	}
}

// TestDelayedExchange: the broker returns a mandatory message to an exchange that delays it, though it arrives later. The
// plugin is not here: what it would make of the message shows at an exchange from which no queue takes any.
func TestDelayedExchange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := b.peer()
	require.NoError(t, foreign.ExchangeDeclare("later", "direct", true, false, false, false, nil))
	at := leveret.Address{Exchange: "later", RoutingKey: "do", External: true}
	plain := leveret.NewCommand[thing]("a.do", leveret.At(at))
	at.Topology.Exchanges = []topology.Exchange{{Name: "later", Type: "x-delayed-message", Args: map[string]any{"x-delayed-type": "direct"}}}
	later := leveret.NewCommand[thing]("a.do-later", leveret.At(at))
	client := b.client(b.connect(leveret.ConnConfig{NoDeclare: true}), leveret.NewService("tester", leveret.Sends(plain, later)), leveret.ClientConfig{})
	require.ErrorIs(t, plain.Send(b.ctx, client, thing{}), leveret.ErrUnroutable)
	require.NoError(t, later.Send(b.ctx, client, thing{}, leveret.Header("x-delay", int64(1000))))
	p := client.Pipeline(nil)
	require.NoError(t, write(b.ctx, p, later, thing{}))
	require.NoError(t, p.Flush(b.ctx))
	require.NoError(t, write(b.ctx, p, plain, thing{}))
	require.ErrorIs(t, p.Flush(b.ctx), leveret.ErrUnroutable)
}

// TestCallerOfTheirQueue: nothing is declared on their broker for a call, and no call is called off.
func TestCallerOfTheirQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	way, said := b.proxy(), &asked{}
	said.watch(way)
	foreign := b.peer()
	_, err := foreign.QueueDeclare("rpc", false, true, false, false, nil)
	require.NoError(t, err)
	ask := leveret.NewRequest[thing, answer]("theirs.ask", leveret.Timeout(patience), leveret.At(leveret.Address{Queue: "rpc", External: true}))
	client := b.client(b.connect(leveret.ConnConfig{URLs: []string{way.url}}), leveret.NewService("a", leveret.Calls(ask)), leveret.ClientConfig{})
	for range 3 {
		ctx, cancel := context.WithCancel(b.ctx)
		called := make(chan error, 1)
		go func() {
			_, err := ask.Call(ctx, client, thing{N: 1})
			called <- err
		}()
		d := foreign.take("rpc")
		cancel()
		require.Equal(t, leveret.Canceled, leveret.CodeOf(receive(t, called)))
		require.NoError(t, foreign.Publish("", d.ReplyTo, false, false, amqp.Publishing{CorrelationId: d.CorrelationId, Body: []byte(`{}`)}))
	}
	go func() {
		d := foreign.take("rpc")
		_ = foreign.Publish("", d.ReplyTo, false, false, amqp.Publishing{CorrelationId: d.CorrelationId, Body: []byte(`{"n":2}`)})
	}()
	reply, err := ask.Call(b.ctx, client, thing{N: 2})
	require.NoError(t, err)
	require.Equal(t, 2, reply.N)
	require.Equal(t, count{consumers: 1}, said.count(), "declared; the consumer is that of replies")
	for _, name := range []string{"requests", "control"} {
		require.Error(t, b.peer().ExchangeDeclarePassive(name, "direct", true, false, false, false, nil), name)
	}
}

// TestForeignExchangeOfAnotherKind: the address of an exchange without External takes the exchange for one of ours; with
// External and Topology their program finds what it declares itself.
func TestForeignExchangeOfAnotherKind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	emitLog := func() error { return b.peer().ExchangeDeclare("logs", "fanout", true, false, false, false, nil) } // as emit_log.go does
	logged := leveret.NewEvent[thing]("app.logged", leveret.At(leveret.Address{Exchange: "logs"}))
	require.NoError(t, logged.Publish(b.ctx, b.sender(leveret.Publishes(logged)), thing{}))
	var refused *amqp.Error
	require.ErrorAs(t, emitLog(), &refused)
	require.Equal(t, amqp.PreconditionFailed, refused.Code)

	require.NoError(t, b.peer().ExchangeDelete("logs", false, false))
	logged = leveret.NewEvent[thing]("app.logged", leveret.At(leveret.Address{
		Exchange: "logs", External: true, Topology: topology.Topology{Exchanges: []topology.Exchange{{Name: "logs", Type: topology.Fanout}}},
	}))
	require.NoError(t, logged.Publish(b.ctx, b.sender(leveret.Publishes(logged)), thing{}))
	require.NoError(t, emitLog())
}

// TestLongHandler: a handler has as long as it is given.
func TestLongHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		encode := leveret.NewCommand[thing]("video.encode")
		service := leveret.NewService("video", leveret.Handles(encode))
		for limit, want := range map[time.Duration]leveret.Verdict{0: leveret.VerdictRetry, time.Hour: leveret.VerdictAck} {
			h := leveret.NewHandlers(service, leveret.HandlersConfig{HandlerTimeout: limit})
			encode.Handle(h, func(ctx context.Context, _ thing) error {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(50 * time.Minute):
					return nil
				}
			})
			began := time.Now()
			o := h.Process(t.Context(), leveret.NewMessage(t.Context(), encode, []byte(`{}`)), nil)
			require.Equal(t, want, o.Verdict)
			if limit == 0 {
				require.Equal(t, 5*time.Minute, time.Since(began))
			}
		}
	})
}

// TestLongHandlerNeedsTheBrokersConsent: a worker says at its start that the broker would take the message back.
func TestLongHandlerNeedsTheBrokersConsent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	encode := leveret.NewCommand[thing]("video.encode")
	service := leveret.NewService("video", leveret.Handles(encode))
	h := leveret.NewHandlers(service, leveret.HandlersConfig{HandlerTimeout: 2 * time.Hour})
	encode.Handle(h, func(context.Context, thing) error { return nil })
	_, err := leveret.NewWorker(b.connect(leveret.ConnConfig{}), h, leveret.WorkerConfig{})
	require.ErrorContains(t, err, "ConsumerTimeout")
	_, err = leveret.NewWorker(b.connect(leveret.ConnConfig{ConsumerTimeout: 3 * time.Hour}), h, leveret.WorkerConfig{})
	require.NoError(t, err)
}

// TestNamespaceAmongOthers: with a namespace, nothing of ours has a name without it, but for what is called after a
// queue of theirs.
func TestNamespaceAmongOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	way, said := b.proxy(), &asked{}
	said.watch(way)
	b.peer().queue("theirs", "", "")
	do, own := leveret.NewCommand[thing]("a.do", leveret.At(leveret.Address{Queue: "theirs", External: true})), leveret.NewCommand[thing]("a.own")
	happened, ask := leveret.NewEvent[thing]("a.happened"), leveret.NewRequest[thing, answer]("a.ask", leveret.Timeout(patience))
	service := leveret.NewService("a", leveret.Handles(do, own), leveret.SubscribesTo(happened), leveret.Answers(ask),
		leveret.Sends(do, own), leveret.Publishes(happened), leveret.Calls(ask))
	conn := b.connect(leveret.ConnConfig{URLs: []string{way.url}, Namespace: "ours"})
	w := b.worker(conn, service, leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(context.Context, thing) error { return nil })
	own.Handle(w.Handlers, func(context.Context, thing) error { return nil })
	happened.Subscribe(w.Handlers, func(context.Context, thing) error { return nil })
	ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) { return answer{}, nil })
	b.run(w)
	client := b.client(conn, service, leveret.ClientConfig{ReplyQueue: true})
	require.NoError(t, do.Send(b.ctx, client, thing{}))
	require.NoError(t, own.Send(b.ctx, client, thing{}))
	require.NoError(t, happened.Publish(b.ctx, client, thing{}))
	_, err := ask.Call(b.ctx, client, thing{})
	require.NoError(t, err)
	exchanges, queues, _ := said.take()
	require.Greater(t, len(exchanges), 5)
	require.Greater(t, len(queues), 5)
	for _, name := range append(exchanges, queues...) {
		if name != "theirs.dlq" {
			require.True(t, strings.HasPrefix(name, "ours."), name)
		}
	}
}

// TestSenderHeaders: what the sender said stays apart from what Leveret, the trace and RabbitMQ say, through retries and
// a replay.
func TestSenderHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do := leveret.NewCommand[thing]("a.do", quick)
	service := leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))
	conn := b.connect(leveret.ConnConfig{})
	handled := make(chan *leveret.Message, 9)
	w := b.worker(conn, service, leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(ctx context.Context, _ thing) error { handled <- leveret.MessageFrom(ctx); return errors.New("no") })
	b.run(w)
	client := b.client(conn, service, leveret.ClientConfig{})
	require.NoError(t, do.Send(b.ctx, client, thing{}, leveret.Header("tenant", "t7"), leveret.Header("x-delay", int64(5)),
		leveret.Header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")))
	want := map[string]any{"tenant": "t7", "x-delay": int64(5)}
	for range 3 {
		m := receive(t, handled)
		require.Equal(t, want, m.SenderHeaders())
		require.Greater(t, len(m.Headers), len(want)+1)
	}
	store := deadletter.New(conn)
	b.eventually(func() bool { return b.peer().count("a.do.dlq") == 1 })
	_, err := store.Replay(b.ctx, store.DeadLetters("a.do"), deadletter.Replay{})
	require.NoError(t, err)
	m := receive(t, handled)
	require.Contains(t, m.Headers, "leveret-replayed")
	require.Equal(t, want, m.SenderHeaders())
	m.SenderHeaders()["more"] = 1
	require.Equal(t, want, m.SenderHeaders(), "a map of its own")
	require.Empty(t, (&leveret.Message{}).SenderHeaders())
}
