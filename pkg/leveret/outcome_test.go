package leveret_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// serve runs the handlers of a suite.
func (b *bench) serve(h *leveret.Handlers) {
	b.t.Helper()
	w := b.worker(b.connect(leveret.ConnConfig{}), h.Service(), leveret.WorkerConfig{DrainTimeout: 100 * time.Millisecond})
	w.Handlers = h
	b.run(w)
}

// TestClientIsASender and TestClientIsACaller check the client as every other sender and caller is.
func TestClientIsASender(t *testing.T) {
	t.Parallel()
	b, suite, way := setupSuite(t)
	conn := b.connect(leveret.ConnConfig{URLs: []string{way.url}})
	client := b.client(conn, suite.Client(), leveret.ClientConfig{})
	suite.TestSender(t, leverettest.SenderCase{Sender: client, Disconnect: func() { b.disconnect(conn, way) }})
}

func TestClientIsACaller(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]leveret.ClientConfig{"direct reply-to": {}, "reply queue": {ReplyQueue: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, suite, way := setupSuite(t)
			conn := b.connect(leveret.ConnConfig{URLs: []string{way.url}})
			client := b.client(conn, suite.Client(), config)
			suite.TestCaller(t, leverettest.CallerCase{Caller: client, Disconnect: func() { b.disconnect(conn, way) }})
		})
	}
}

func setupSuite(t *testing.T) (*bench, *leverettest.Suite, *proxy) {
	t.Helper()
	b, suite := setup(t), leverettest.NewSuite()
	b.serve(suite.Handlers())
	return b, suite, b.proxy()
}

// disconnect cuts a connection off, and returns when it has noticed.
func (b *bench) disconnect(conn *leveret.Conn, way *proxy) {
	way.refuse(true)
	way.cut()
	b.eventually(func() bool { err := conn.Ready(); return err != nil && strings.Contains(err.Error(), "publishing") })
}

// requireUnknown checks an error after which the request may have been handled.
func requireUnknown(t *testing.T, err error, code leveret.Code, remote bool) {
	t.Helper()
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.Equal(t, code, leveret.CodeOf(err), "%v", err)
	require.Equal(t, remote, leveret.IsRemote(err), "%v", err)
}

// requireNotHandled checks an error after which the request was certainly not handled.
func requireNotHandled(t *testing.T, err error, code leveret.Code) {
	t.Helper()
	require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.Equal(t, code, leveret.CodeOf(err), "%v", err)
	require.False(t, leveret.IsRemote(err), "%v", err)
}

// TestUnroutableIsNotUnknown: nobody serves it, so nobody has handled it.
func TestUnroutableIsNotUnknown(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	_, err := b.ask.Call(b.ctx, b.newCaller(), thing{})
	require.ErrorIs(t, err, leveret.ErrUnroutable)
	requireNotHandled(t, err, leveret.Unavailable)
}

// TestInterruptedHandlerIsUnknown: the caller's deadline, or the handler's own limit, ends a handler in the middle.
func TestInterruptedHandlerIsUnknown(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	seen := make(outcomes, 9)
	config := seen.config()
	config.HandlerTimeout = 300 * time.Millisecond
	b.answering(leveret.WorkerConfig{}, func(ctx context.Context, _ thing) (answer, error) {
		<-ctx.Done()
		return answer{}, leveret.Errorf(leveret.Unavailable, "the database: %w", ctx.Err())
	}, config)
	// A foreign caller that waits longer than its deadline sees the answer of the handler that the deadline interrupted. On
	// a busy machine some deadlines pass before a handler has begun, which is not answered.
	foreign := b.peer()
	replies, err := foreign.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	for limit := 40 * time.Millisecond; ; limit *= 2 {
		foreign.publish("requests", "a.ask", amqp.Publishing{
			Body: []byte(`{}`), CorrelationId: "c", Expiration: "60000", ReplyTo: replies.Name,
			Headers: amqp.Table{"leveret-deadline": time.Now().Add(limit).Format(time.RFC3339Nano)},
		})
		if receive(t, seen).Verdict != leveret.VerdictExpired {
			break
		}
	}
	reply := foreign.take(replies.Name)
	require.Equal(t, "application/problem+json", reply.ContentType)
	requireUnknown(t, leveret.DecodeProblem(reply.Body), leveret.Unavailable, true)

	_, err = b.ask.Call(b.ctx, b.newCaller(), thing{})
	requireUnknown(t, err, leveret.Unavailable, true)
	require.ErrorContains(t, err, "the handler took longer than its limit")
}

// TestNestedCallIsUnknown: what a handler does not know of its own call, its caller does not know either, however many
// hops away.
func TestNestedCallIsUnknown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	front, back := leveret.NewRequest[thing, answer]("a.front", leveret.Timeout(patience)), leveret.NewRequest[thing, answer]("b.back", leveret.Timeout(patience))
	way := b.proxy()
	a := leveret.NewService("a", leveret.Answers(front), leveret.Calls(back))
	nested := b.client(b.connect(leveret.ConnConfig{URLs: []string{way.url}}), a, leveret.ClientConfig{})
	wa := b.worker(b.connect(leveret.ConnConfig{}), a, leveret.WorkerConfig{})
	front.Answer(wa.Handlers, func(ctx context.Context, v thing) (answer, error) {
		reply, err := back.Call(ctx, nested, v)
		if err != nil {
			return reply, leveret.Errorf(leveret.Internal, "the back: %w", err)
		}
		return reply, nil
	})
	b.run(wa)
	wb := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("b", leveret.Answers(back)), leveret.WorkerConfig{})
	back.Answer(wb.Handlers, func(_ context.Context, v thing) (answer, error) {
		if v.N == 1 {
			way.cut()
		}
		return answer{}, leveret.Errorf(leveret.Unavailable, "not now")
	})
	b.run(wb)
	client := b.sender(leveret.Calls(front))
	_, err := front.Call(b.ctx, client, thing{N: 1})
	requireUnknown(t, err, leveret.Internal, true)
	_, err = front.Call(b.ctx, client, thing{})
	require.ErrorIs(t, err, leveret.Internal)
	require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown, "the back has said that it did nothing")
}

// TestRedeliveredIsUnknown: a worker died with the request. The next refuses it, or tries again and fails.
func TestRedeliveredIsUnknown(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options []leveret.ContractOption
		fails   error
		code    leveret.Code
		unknown bool
	}{
		"refused":                         {nil, nil, leveret.Aborted, true},
		"idempotent and not now":          {[]leveret.ContractOption{leveret.Idempotent()}, leveret.Errorf(leveret.Unavailable, "not now"), leveret.Unavailable, true},
		"idempotent and refused for good": {[]leveret.ContractOption{leveret.Idempotent()}, errDeclined, leveret.FailedPrecondition, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupAsking(t, append(test.options, leveret.Timeout(patience))...)
			first := b.answering(leveret.WorkerConfig{}, func(context.Context, thing) (answer, error) { return answer{}, nil })
			require.NoError(t, first.halt())
			crashing := b.peer()
			deliveries, err := crashing.Consume("a.ask", "", false, false, false, false, nil)
			require.NoError(t, err)
			errs := make(chan error, 1)
			client := b.newCaller()
			go func() { _, err := b.ask.Call(b.ctx, client, thing{}); errs <- err }()
			receive(t, deliveries)
			require.NoError(t, crashing.conn.Close())
			b.answering(leveret.WorkerConfig{}, func(context.Context, thing) (answer, error) { return answer{}, test.fails })
			err = receive(t, errs)
			require.Equal(t, test.code, leveret.CodeOf(err))
			require.True(t, leveret.IsRemote(err))
			require.Equal(t, test.unknown, errors.Is(err, leveret.ErrOutcomeUnknown), "%v", err)
		})
	}
}

// TestCalledAgainIsUnknown: an idempotent call that was lost once and then cannot be made again may have been handled.
func TestCalledAgainIsUnknown(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Idempotent(), leveret.Timeout(patience))
	way := b.proxy()
	began := make(chan struct{}, 9)
	b.answering(leveret.WorkerConfig{DrainTimeout: 100 * time.Millisecond}, func(ctx context.Context, _ thing) (answer, error) {
		began <- struct{}{}
		<-ctx.Done()
		return answer{}, ctx.Err()
	})
	conn := b.connect(leveret.ConnConfig{URLs: []string{way.url}})
	client := b.client(conn, b.caller, leveret.ClientConfig{})
	ctx, giveUp := context.WithCancel(b.ctx)
	errs := make(chan error, 1)
	go func() { _, err := b.ask.Call(ctx, client, thing{}); errs <- err }()
	receive(t, began)
	b.disconnect(conn, way)
	giveUp()
	err := receive(t, errs)
	requireUnknown(t, err, leveret.Canceled, false)
	require.ErrorIs(t, err, context.Canceled)
}

// stoppedBrokerIsUnknown: the broker goes while the request is being handled.
func stoppedBrokerIsUnknown(t *testing.T, node *devbroker.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	b := &bench{t: t, ctx: ctx, url: node.URL(), log: logger(t)}
	ask := leveret.NewRequest[thing, answer]("a.ask", leveret.Timeout(patience))
	began, release := make(chan struct{}, 1), make(chan struct{})
	w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("a", leveret.Answers(ask)), leveret.WorkerConfig{})
	ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) {
		began <- struct{}{}
		<-release
		return answer{}, nil
	})
	b.run(w)
	defer close(release)
	client := b.sender(leveret.Calls(ask))
	errs := make(chan error, 1)
	go func() { _, err := ask.Call(ctx, client, thing{}); errs <- err }()
	receive(t, began)
	require.NoError(t, node.Close(ctx))
	requireUnknown(t, receive(t, errs), leveret.Unavailable, false)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err := ask.Call(short, client, thing{})
	requireNotHandled(t, err, leveret.DeadlineExceeded)
	require.ErrorIs(t, err, leveret.ErrNotConnected)
}

// TestUnconfirmedIsUnknown: a publish that was written and not confirmed is as much in doubt as a call.
func TestUnconfirmedIsUnknown(t *testing.T) {
	t.Parallel()
	for _, err := range []error{leveret.ErrUnconfirmed, fmt.Errorf("x: %w", leveret.ErrUnconfirmed), leveret.Errorf(leveret.Unavailable, "x: %w", leveret.ErrUnconfirmed)} {
		requireUnknown(t, err, leveret.Unavailable, false)
		requireUnknown(t, leveret.DecodeProblem(leveret.EncodeProblem(err)), leveret.Unavailable, true)
	}
	for _, err := range []error{leveret.ErrNotConnected, leveret.ErrBlocked, leveret.ErrNacked, leveret.ErrUnroutable, leveret.ErrClosed, leveret.Unavailable} {
		require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown)
		require.NotErrorIs(t, leveret.DecodeProblem(leveret.EncodeProblem(err)), leveret.ErrOutcomeUnknown)
	}
	require.True(t, leveret.IsRemote(fmt.Errorf("x: %w", leveret.DecodeProblem(nil))))
	require.False(t, leveret.IsRemote(leveret.Errorf(leveret.Internal, "x: %w", leveret.DecodeProblem(nil))), "an error of one's own, made of the other side's")
	require.False(t, leveret.IsRemote(nil))
}

// outcomes records what OnOutcome is called with.
type outcomes chan leveret.Outcome

func (o outcomes) config() leveret.HandlersConfig {
	return leveret.HandlersConfig{OnOutcome: func(_ context.Context, _ *leveret.Message, outcome leveret.Outcome) { o <- outcome }}
}

// TestOutcomes: each message has one, with its verdict, whatever that is.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	h := setupHandling(t, quick)
	seen := make(outcomes, 99)
	h.handle(leveret.WorkerConfig{}, func(_ context.Context, v thing) error {
		switch v.N {
		case 1:
			return leveret.Unavailable
		case 2:
			return leveret.Discard(errors.New("old"))
		case 3:
			return leveret.PermissionDenied
		default:
			return nil
		}
	}, seen.config())
	for n, want := range [][]leveret.Verdict{
		{leveret.VerdictAck}, {leveret.VerdictRetry, leveret.VerdictRetry, leveret.VerdictDeadLetter}, {leveret.VerdictDiscard}, {leveret.VerdictDeadLetter},
	} {
		h.send(thing{N: n})
		var got []leveret.Verdict
		for range want {
			o := receive(t, seen)
			require.NoError(t, o.SettleErr)
			got = append(got, o.Verdict)
		}
		require.ElementsMatch(t, want, got, "a copy may be reported first")
	}
	require.Empty(t, seen)

	b := setupAsking(t)
	b.answering(leveret.WorkerConfig{}, func(context.Context, thing) (answer, error) { return answer{}, errDeclined }, seen.config())
	_, err := b.ask.Call(b.ctx, b.newCaller(), thing{})
	require.ErrorIs(t, err, errDeclined)
	o := receive(t, seen)
	require.Equal(t, leveret.VerdictAck, o.Verdict)
	require.ErrorIs(t, o.Err, errDeclined)
	b.peer().publish("requests", "a.ask", amqp.Publishing{Body: []byte(`{}`), Headers: amqp.Table{
		"leveret-deadline": time.Now().Add(-time.Hour).Format(time.RFC3339Nano),
	}})
	require.Equal(t, leveret.VerdictExpired, receive(t, seen).Verdict)
	require.Empty(t, seen)
}

// TestSettlementFailed: a message whose connection is lost before it is settled comes again, and its outcome says so.
func TestSettlementFailed(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]error{"acked": nil, "retried": leveret.Unavailable, "dead-lettered": leveret.NotFound} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupHandling(t)
			way := h.proxy()
			conn := h.connect(leveret.ConnConfig{URLs: []string{way.url}})
			seen := make(outcomes, 9)
			w := h.worker(conn, h.service, leveret.WorkerConfig{}, seen.config())
			h.do.Handle(w.Handlers, func(ctx context.Context, _ thing) error {
				if leveret.MessageFrom(ctx).Redelivered {
					return nil
				}
				way.cut()
				<-ctx.Done() // the channel has ended
				return fails
			})
			h.run(w)
			h.send(thing{})
			o := receive(t, seen)
			require.ErrorIs(t, o.Err, fails)
			require.ErrorIs(t, o.SettleErr, leveret.ErrNotConnected)
			o = receive(t, seen)
			require.NoError(t, o.Err)
			require.NoError(t, o.SettleErr)
			require.Equal(t, leveret.VerdictAck, o.Verdict)
		})
	}
}

// TestDrainedIsNotSettled: a failed message that cannot be put aside when the worker stops goes back, and its outcome
// says so.
func TestDrainedIsNotSettled(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	client := h.sender(leveret.Sends(h.do))
	require.NoError(t, h.do.Send(h.ctx, client, thing{})) // declares
	foreign := h.peer()
	require.NoError(t, foreign.ExchangeDelete("dead-letters", false, false))
	seen := make(outcomes, 9)
	w := h.worker(h.connect(leveret.ConnConfig{NoDeclare: true}), h.service, leveret.WorkerConfig{DrainTimeout: 50 * time.Millisecond}, seen.config())
	failed := make(chan struct{}, 1)
	h.do.Handle(w.Handlers, func(context.Context, thing) error { failed <- struct{}{}; return leveret.NotFound })
	r := h.start(w)
	receive(t, failed)
	require.NoError(t, r.halt())
	o := receive(t, seen)
	require.Equal(t, leveret.VerdictDeadLetter, o.Verdict)
	require.ErrorIs(t, o.SettleErr, rabbit.ErrDraining)
	h.eventually(func() bool { return foreign.count("a.do") == 1 }, "it went back")
}

// TestNilLogger: a program that sets no logger sees why it cannot connect, and what its handlers return.
func TestNilLogger(t *testing.T) { //nolint:paralleltest // it sets the process's logger
	before := slog.Default()
	defer slog.SetDefault(before)
	var logged logbook
	slog.SetDefault(slog.New(&logged))
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, nobody.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	logged.on = func(r slog.Record) {
		if r.Message == "cannot connect to the broker; trying again" {
			cancel()
		}
	}
	_, err = leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{"amqp://" + nobody.Addr().String()}})
	require.ErrorIs(t, err, context.Canceled, "it was said, or else it would still try")

	b := setup(t)
	conn, err := leveret.Connect(b.ctx, leveret.ConnConfig{URLs: []string{b.url}})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(b.ctx))) }()
	said := make(chan struct{}, 9)
	logged.on = func(r slog.Record) {
		if r.Message == "message failed; dead-lettering it" {
			said <- struct{}{}
		}
	}
	do := leveret.NewCommand[thing]("a.do")
	service := leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))
	w := b.worker(conn, service, leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(context.Context, thing) error { return leveret.NotFound })
	r := b.run(w)
	require.NoError(t, do.Send(b.ctx, b.client(b.connect(leveret.ConnConfig{}), service, leveret.ClientConfig{}), thing{}))
	receive(t, said)
	require.NoError(t, r.halt())
}

// logbook is a log handler that calls on with each record.
type logbook struct {
	mu sync.Mutex
	on func(slog.Record)
}

func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on(r)
	return nil
}

func (l *logbook) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (l *logbook) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *logbook) WithGroup(string) slog.Handler                    { return l }
