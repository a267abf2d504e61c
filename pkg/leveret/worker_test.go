package leveret_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// TestHandlersErr: what is wrong with handlers and their service is reported, all at once, and by every way to use
// them.
func TestHandlersErr(t *testing.T) {
	t.Parallel()
	do, happened := leveret.NewCommand[thing]("a.do"), leveret.NewEvent[thing]("a.happened")
	ask := leveret.NewRequest[thing, answer]("a.ask")
	service := leveret.NewService("a", leveret.Handles(do), leveret.SubscribesTo(happened), leveret.SubscribesAs("too", happened))
	handler := func(context.Context, thing) error { return nil }
	process := func(h *leveret.Handlers) error {
		return h.Process(t.Context(), &leveret.Message{Contract: do, Body: []byte(`{}`)}, nil).Err
	}
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	require.EqualError(t, process(h), `not declared: the service "a" has no handler for the command "a.do"`)
	require.EqualError(t, h.Err(), `not declared: the service "a" handles a.do, but has no handler for it`+"\n"+
		`not declared: the service "a" subscribes to a.happened, but has no handler for it`+"\n"+
		`not declared: the service "a" subscribes to a.happened as "too", but has no handler for it`)
	do.Handle(h, handler)
	require.NoError(t, process(h))
	happened.Subscribe(h, handler)
	happened.Subscribe(h, handler, leveret.As("too"))
	require.NoError(t, h.Err())

	do.Handle(h, handler)
	require.EqualError(t, process(h), `the command "a.do" has two handlers`)
	require.EqualError(t, h.Err(), `the command "a.do" has two handlers`)

	service = leveret.NewService("a", leveret.Handles(do), leveret.Answers(ask), leveret.SubscribesTo(happened))
	h = leveret.NewHandlers(service, leveret.HandlersConfig{HandlerTimeout: -1})
	leveret.NewCommand[thing]("a.do").Handle(h, handler)
	leveret.NewCommand[thing]("a.other").Handle(h, handler)
	do.Handle(h, nil)
	ask.Answer(h, nil)
	happened.Subscribe(h, nil)
	for _, wrong := range []string{
		"HandlerTimeout is -1ns; it must be positive",
		`there are two contracts named "a.do": use the one that the service "a" declares`,
		`the service "a" has a handler for the command "a.other", but does not say that it serves it`,
		`the handler for the command "a.do" is nil`, `the handler for the request "a.ask" is nil`, `the handler for the event "a.happened" is nil`,
		`the service "a" answers a.ask, but has no handler for it`,
	} {
		require.ErrorContains(t, h.Err(), wrong)
	}

	service = leveret.NewService("a", leveret.SubscribesTo(happened), leveret.SubscribesPerProcess(happened))
	h = leveret.NewHandlers(service, leveret.HandlersConfig{})
	happened.Subscribe(h, handler, leveret.OnFresh(func(context.Context) error { return nil }))
	happened.Subscribe(h, handler, leveret.As("too"), leveret.OnFresh(func(context.Context) error { return nil }))
	for _, wrong := range []string{
		`the handler for the event "a.happened" has OnFresh, which is for queues that belong to one process: subscribe per process`,
		`the service "a" subscribes to a.happened as "per-process", but has no handler for it`,
		`the service "a" has a handler for the event "a.happened" as "too", but does not say that it serves it`,
	} {
		require.ErrorContains(t, h.Err(), wrong)
	}

	for _, none := range []*leveret.Handlers{nil, {}, leveret.NewHandlers(nil, leveret.HandlersConfig{})} {
		do.Handle(none, handler)
		require.ErrorContains(t, none.Err(), "there are no handlers")
		require.ErrorContains(t, process(none), "there are no handlers")
	}
	require.ErrorContains(t, leveret.NewHandlers(leveret.NewService("NO"), leveret.HandlersConfig{}).Err(), `service "NO"`)

	refused := leveret.NewCommand[thing]("a.do", leveret.Example(thing{N: -1}))
	service = leveret.NewService("a", leveret.Handles(refused))
	h = leveret.NewHandlers(service, leveret.HandlersConfig{})
	refused.Handle(h, handler)
	const wrong = `command "a.do": the example is not valid: invalid_argument: n: must not be negative`
	require.EqualError(t, h.Err(), wrong)
	require.EqualError(t, leveret.NewCatalog(service).Err(), wrong)
}

// TestNewWorkerRefuses: what cannot run is not made.
func TestNewWorkerRefuses(t *testing.T) {
	t.Parallel()
	do := leveret.NewCommand[thing]("a.do")
	handlers := func() *leveret.Handlers {
		h := leveret.NewHandlers(leveret.NewService("a", leveret.Handles(do)), leveret.HandlersConfig{})
		do.Handle(h, func(context.Context, thing) error { return nil })
		return h
	}
	_, err := leveret.NewWorker(nil, handlers(), leveret.WorkerConfig{})
	require.ErrorIs(t, err, leveret.InvalidArgument)
	require.ErrorContains(t, err, "a worker needs a connection")
	b := setup(t)
	conn := b.connect(leveret.ConnConfig{})
	for _, none := range []*leveret.Handlers{
		nil, leveret.NewHandlers(nil, leveret.HandlersConfig{}), leveret.NewHandlers(leveret.NewService("NO"), leveret.HandlersConfig{}),
		leveret.NewHandlers(leveret.NewService("a", leveret.Handles(do)), leveret.HandlersConfig{}),
	} {
		_, err = leveret.NewWorker(conn, none, leveret.WorkerConfig{})
		require.ErrorIs(t, err, leveret.InvalidArgument)
	}
	_, err = leveret.NewWorker(conn, leveret.NewHandlers(leveret.NewService("b"), leveret.HandlersConfig{}), leveret.WorkerConfig{})
	require.EqualError(t, err, `not declared: the service "b" serves nothing`)
	for _, config := range []leveret.WorkerConfig{
		{Concurrency: -1},
		{Concurrency: 10_001},
		{Prefetch: -1},
		{Concurrency: 8, Prefetch: 7},
		{Prefetch: 70_000},
		{StuckAfter: -1},
		{DrainTimeout: -1},
	} {
		_, err := leveret.NewWorker(conn, handlers(), config)
		require.ErrorIs(t, err, leveret.InvalidArgument, "%+v", config)
	}

	_, err = leveret.NewWorker(b.connect(leveret.ConnConfig{ConsumerTimeout: 5 * time.Minute}), handlers(), leveret.WorkerConfig{})
	require.ErrorIs(t, err, leveret.InvalidArgument)
	require.ErrorContains(t, err, "HandlerTimeout (worker.handler_timeout) is 5m0s and StuckAfter (worker.stuck_after) 30s")
	require.ErrorContains(t, err, "ConsumerTimeout (broker.consumer_timeout), which is 5m0s")

	w, err := leveret.NewWorker(conn, handlers(), leveret.WorkerConfig{})
	require.NoError(t, err)
	require.EqualError(t, w.Ready(), "the worker does not run yet")
	require.ErrorIs(t, w.Ready(), leveret.Unavailable)
}

// TestLateHandlers: once a worker has taken the handlers, one more is a mistake that cannot be missed.
func TestLateHandlers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do := leveret.NewCommand[thing]("a.do")
	handler := func(context.Context, thing) error { return nil }
	const late = `a handler for the command "a.do" was registered after the handlers had been given to a worker`
	w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("a", leveret.Handles(do)), leveret.WorkerConfig{})
	do.Handle(w.Handlers, handler)
	r := b.run(w)
	require.NoError(t, w.Ready())
	require.ErrorIs(t, w.Run(b.ctx), leveret.FailedPrecondition, "twice")
	do.Handle(w.Handlers, handler)
	require.EqualError(t, w.Ready(), late)
	require.EqualError(t, w.Err(), late)
	require.NoError(t, w.Process(b.ctx, &leveret.Message{Contract: do, Body: []byte(`{}`)}, nil).Err, "those that were there in time serve on")
	require.NoError(t, r.halt())
	require.Error(t, w.Ready(), "it has stopped")

	again := b.worker(w.conn, leveret.NewService("a", leveret.Handles(do)), leveret.WorkerConfig{})
	do.Handle(again.Handlers, handler)
	notRun, err := leveret.NewWorker(again.conn, again.Handlers, leveret.WorkerConfig{})
	require.NoError(t, err)
	do.Handle(again.Handlers, handler)
	require.ErrorContains(t, notRun.Run(b.ctx), late)
}

// TestConnConfig: what is wrong is named.
func TestConnConfig(t *testing.T) {
	t.Parallel()
	for _, config := range []leveret.ConnConfig{
		{RequestQueueType: "stream"},
		{Layout: "separate"},
		{Namespace: "No"},
		{Namespace: "a..b"},
		{Namespace: "amq"},
		{Namespace: strings.Repeat("n", 64)},
		{Instance: strings.Repeat("i", 101)},
		{Version: strings.Repeat("v", 64)},
		{Name: strings.Repeat("n", 128)},
		{URLs: []string{"http://u:hush@h/v"}},
		{Heartbeat: time.Millisecond},
	} {
		_, err := leveret.Connect(t.Context(), config)
		require.ErrorIs(t, err, leveret.InvalidArgument, "%+v", config)
		require.Equal(t, leveret.InvalidArgument, leveret.CodeOf(err))
		require.NotErrorIs(t, err, rabbit.ErrInvalid, "that is for messages")
		require.NotContains(t, err.Error(), "hush")
		if config.URLs != nil {
			require.EqualError(t, err, `the configuration is wrong: URLs[0] http://u:xxxxx@h/v: the scheme is "http"; expected amqp or amqps`)
		}
	}
	b := setup(t)
	conn := b.connect(leveret.ConnConfig{Namespace: strings.Repeat("n", 63)})
	long := leveret.NewEvent[thing]("a." + strings.Repeat("e", 125))
	service := leveret.NewService(strings.Repeat("s", 63), leveret.SubscribesTo(long))
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	long.Subscribe(h, func(context.Context, thing) error { return nil })
	_, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
	require.ErrorContains(t, err, "AMQP allows 255", "with this namespace, names grow too long")
	_, err = leveret.NewClient(nil, service, leveret.ClientConfig{})
	require.ErrorIs(t, err, leveret.InvalidArgument)
	_, err = leveret.NewClient(conn, leveret.NewService("NO"), leveret.ClientConfig{})
	require.ErrorIs(t, err, leveret.InvalidArgument)
}

// TestTwoSubscriptions: each has every event, and its own verdict.
func TestTwoSubscriptions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	happened := leveret.NewEvent[thing]("a.happened")
	service := leveret.NewService("a", leveret.Publishes(happened), leveret.SubscribesTo(happened), leveret.SubscribesAs("fraud", happened))
	conn := b.connect(leveret.ConnConfig{})
	seen := make(chan string, 9)
	w := b.worker(conn, service, leveret.WorkerConfig{})
	happened.Subscribe(w.Handlers, func(ctx context.Context, _ thing) error { seen <- leveret.MessageFrom(ctx).Queue; return nil })
	happened.Subscribe(w.Handlers, func(ctx context.Context, _ thing) error {
		seen <- leveret.MessageFrom(ctx).Queue
		return leveret.Errorf(leveret.PermissionDenied, "suspicious")
	}, leveret.As("fraud"))
	b.run(w)
	require.NoError(t, happened.Publish(b.ctx, b.client(conn, service, leveret.ClientConfig{}), thing{N: 1}))
	require.ElementsMatch(t, []string{"a.on.a.happened", "a.fraud.on.a.happened"}, []string{receive(t, seen), receive(t, seen)})
	foreign := b.peer()
	require.Equal(t, "permission_denied", foreign.take("a.fraud.on.a.happened.dlq").Headers["leveret-error-code"])
	require.Zero(t, foreign.count("a.on.a.happened.dlq"))
}

// TestHandlerLimit: a handler that takes too long has its context ended, and the message is tried again.
func TestHandlerLimit(t *testing.T) {
	t.Parallel()
	h := setupHandling(t, quick)
	causes := make(chan error, 9)
	h.handle(leveret.WorkerConfig{}, func(ctx context.Context, _ thing) error {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	}, leveret.HandlersConfig{HandlerTimeout: 50 * time.Millisecond})
	h.send(thing{N: 1})
	for range 3 {
		require.EqualError(t, receive(t, causes), "the handler took longer than its limit")
	}
	d := h.peer().take("a.do.dlq")
	require.Equal(t, "deadline_exceeded", d.Headers["leveret-error-code"])
	require.Equal(t, "the handler took longer than its limit: context deadline exceeded", d.Headers["leveret-error-message"])
}

// TestStuck: a handler that ignores the end of its context stops the worker, which puts the message aside before: as a
// failed attempt, so that the next worker does not take it at once.
func TestStuck(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	release := make(chan struct{})
	defer close(release)
	stuck, outcomes := make(chan struct{}, 1), make(chan leveret.Outcome, 9)
	conn := h.connect(leveret.ConnConfig{})
	w := h.worker(conn, h.service, leveret.WorkerConfig{StuckAfter: 100 * time.Millisecond, DrainTimeout: time.Minute}, leveret.HandlersConfig{
		HandlerTimeout: 50 * time.Millisecond,
		OnOutcome:      func(_ context.Context, _ *leveret.Message, o leveret.Outcome) { outcomes <- o },
	})
	h.do.Handle(w.Handlers, func(context.Context, thing) error {
		stuck <- struct{}{}
		<-release
		return nil
	})
	r := h.run(w)
	sent := time.Now()
	h.send(thing{N: 1})
	receive(t, stuck)
	err := r.wait()
	require.ErrorIs(t, err, leveret.ErrStuck)
	require.ErrorContains(t, err, "the queue a.do")
	require.ErrorIs(t, w.Ready(), leveret.ErrStuck)
	o := receive(t, outcomes)
	require.Equal(t, leveret.VerdictRetry, o.Verdict)
	require.ErrorIs(t, o.Err, leveret.DeadlineExceeded)
	require.NoError(t, o.SettleErr)
	require.Equal(t, time.Second, o.Delay)
	handled := make(chan *leveret.Message, 1)
	h.handle(leveret.WorkerConfig{}, func(ctx context.Context, _ thing) error { handled <- leveret.MessageFrom(ctx); return nil })
	m := receive(t, handled)
	require.Greater(t, time.Since(sent), o.Delay, "it has waited")
	require.Equal(t, 2, m.Attempt)
	require.False(t, m.Redelivered)
	require.Empty(t, outcomes, "the late handler has no further outcome")
}

// A handler that is stuck does not keep the others from finishing, nor those that have finished from being settled.
func TestStuckAmongOthers(t *testing.T) {
	t.Parallel()
	// The copy of the stuck one does not come back while the test lasts.
	h := setupHandling(t, leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{time.Hour}}))
	never := make(chan struct{})
	defer close(never)
	var finished atomic.Int64
	w := h.worker(h.connect(leveret.ConnConfig{}), h.service, leveret.WorkerConfig{StuckAfter: time.Second, DrainTimeout: time.Minute},
		leveret.HandlersConfig{HandlerTimeout: 100 * time.Millisecond})
	h.do.Handle(w.Handlers, func(ctx context.Context, v thing) error {
		if v.N == 0 {
			<-never
		}
		<-ctx.Done()
		finished.Add(1)
		return nil
	})
	for i := range 5 {
		h.send(thing{N: i})
	}
	require.ErrorIs(t, h.run(w).wait(), leveret.ErrStuck)
	foreign := h.peer()
	h.eventually(func() bool { return foreign.count("a.do")+int(finished.Load()) == 4 })
	require.Zero(t, foreign.count("a.do.dlq"))
}

// TestDrain: what runs is finished and settled, what was not begun goes back at once, untouched.
func TestDrain(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	started, release := make(chan int, 99), make(chan struct{})
	r := h.handle(leveret.WorkerConfig{Concurrency: 2, Prefetch: 10}, func(_ context.Context, v thing) error {
		started <- v.N
		<-release
		return nil
	})
	foreign := h.peer()
	for i := range 10 {
		h.send(thing{N: i})
	}
	receive(t, started)
	receive(t, started)
	h.eventually(func() bool { return foreign.count("a.do") == 0 }, "the worker has them all")
	r.stop()
	h.eventually(func() bool { return foreign.count("a.do") == 8 }, "given back before the handlers are done")
	close(release)
	require.NoError(t, r.wait())
	h.eventually(func() bool { return foreign.count("a.do") == 8 })
	require.Empty(t, started)
	require.Zero(t, foreign.count("a.do.dlq"))
}

// TestDrainTimeout: the contexts of handlers that outlast the drain time end, and their messages go back.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	started, causes := make(chan struct{}, 1), make(chan error, 1)
	r := h.handle(leveret.WorkerConfig{DrainTimeout: 50 * time.Millisecond}, func(ctx context.Context, _ thing) error {
		started <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return leveret.Errorf(leveret.Unavailable, "the database says: %w", ctx.Err())
	})
	h.send(thing{N: 1})
	receive(t, started)
	require.NoError(t, r.halt())
	require.ErrorIs(t, receive(t, causes), rabbit.ErrDraining)
	foreign := h.peer()
	h.eventually(func() bool { return foreign.count("a.do") == 1 }, "it went back")
	require.NotContains(t, foreign.take("a.do").Headers, "leveret-attempt", "no attempt was spent on it")
}

// TestDrainIgnored: a handler that does not even look at its context is left behind, and Run says so.
func TestDrainIgnored(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	started, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	r := h.handle(leveret.WorkerConfig{DrainTimeout: 20 * time.Millisecond, StuckAfter: 50 * time.Millisecond}, func(context.Context, thing) error {
		started <- struct{}{}
		<-release
		return nil
	})
	h.send(thing{N: 1})
	receive(t, started)
	require.ErrorIs(t, r.halt(), leveret.ErrStuck)
}

// counting is a log handler that counts errors.
type counting struct {
	slog.Handler
	errors *atomic.Int64
}

func (c counting) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		c.errors.Add(1)
	}
	return nil
}
func (c counting) Enabled(context.Context, slog.Level) bool { return true }
func (c counting) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c counting) WithGroup(string) slog.Handler            { return c }

// TestCannotBePutAside: while a dead letter or a retry cannot be published, the message keeps its place, readiness
// reports it, and nothing loops.
func TestCannotBePutAside(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err      error
		exchange string
		kind     string
		queue    string
	}{
		"dead letter": {leveret.Errorf(leveret.NotFound, "no"), "dead-letters", "direct", "a.do.dlq"},
		"retry":       {leveret.Errorf(leveret.Unavailable, "no"), "retry.50ms", "fanout", "retry.50ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setupHandling(t, quick)
			client := h.sender(leveret.Sends(h.do))
			require.NoError(t, h.do.Send(h.ctx, client, thing{N: 0})) // declares the work queue; the tiers are the worker's
			names := topology.Names{}
			foreign := h.peer()
			require.NoError(t, rabbit.NewDeclarer(h.connect(leveret.ConnConfig{}).Rabbit()).Declare(h.ctx, h.service.Topology(names, "classic")))
			require.NoError(t, foreign.ExchangeDelete(test.exchange, false, false))

			var failures, handled atomic.Int64
			conn := h.connect(leveret.ConnConfig{NoDeclare: true, Logger: slog.New(counting{errors: &failures})})
			w := h.worker(conn, h.service, leveret.WorkerConfig{Concurrency: 2, DrainTimeout: 100 * time.Millisecond})
			fail := test.err
			h.do.Handle(w.Handlers, func(ctx context.Context, v thing) error {
				handled.Add(1)
				if v.N == 0 && leveret.MessageFrom(ctx).Attempt == 1 {
					return fail
				}
				return nil
			})
			r := h.start(w) // run would wait for a readiness that may last no longer than the first message takes
			h.eventually(func() bool { err := w.Ready(); return err != nil && strings.Contains(err.Error(), test.exchange) }, "readiness reports it")
			require.ErrorContains(t, w.Ready(), "a failed message of the queue a.do cannot be put aside")
			require.NoError(t, h.do.Send(h.ctx, client, thing{N: 1}))
			h.eventually(func() bool { return handled.Load() == 2 }, "the others are handled")
			require.Zero(t, foreign.count("a.do"))
			require.LessOrEqual(t, failures.Load(), int64(20), "no hot loop")

			require.NoError(t, r.halt())
			h.eventually(func() bool { return foreign.count("a.do") == 1 }, "it went back when the worker stopped")

			again := h.worker(conn, h.service, leveret.WorkerConfig{})
			h.do.Handle(again.Handlers, func(ctx context.Context, _ thing) error {
				if leveret.MessageFrom(ctx).Attempt == 1 {
					return fail
				}
				return nil
			})
			h.start(again)
			h.eventually(func() bool { err := again.Ready(); return err != nil && strings.Contains(err.Error(), test.exchange) })
			require.NoError(t, foreign.ExchangeDeclare(test.exchange, test.kind, true, false, false, false, nil))
			require.NoError(t, foreign.QueueBind(test.queue, "a.do", test.exchange, false, nil))
			h.eventually(func() bool { return again.Ready() == nil && foreign.count("a.do") == 0 }, "all is well again")
			if name == "dead letter" {
				require.Equal(t, "not_found", foreign.take("a.do.dlq").Headers["leveret-error-code"])
			}
		})
	}
}

// TestExchangeComesBack: what somebody deletes under a worker that may declare is there again.
func TestExchangeComesBack(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	h.handle(leveret.WorkerConfig{}, func(context.Context, thing) error { return leveret.Errorf(leveret.NotFound, "no") })
	foreign := h.peer()
	require.NoError(t, foreign.ExchangeDelete("dead-letters", false, false))
	foreign.publish("commands", "a.do", amqp.Publishing{Body: []byte(`{}`)})
	require.Equal(t, "not_found", foreign.take("a.do.dlq").Headers["leveret-error-code"])
	_, err := foreign.QueueDelete("a.do", false, false, false)
	require.NoError(t, err)
	h.eventually(func() bool { // the worker has declared it again, and consumes it
		ch, err := foreign.conn.Channel()
		if err != nil {
			return false
		}
		defer ch.Close()
		q, err := ch.QueueDeclarePassive("a.do", true, false, false, false, nil)
		return err == nil && q.Consumers == 1
	})
	require.NoError(t, h.do.Send(h.ctx, h.sender(leveret.Sends(h.do)), thing{N: 1}))
	require.Equal(t, "not_found", foreign.take("a.do.dlq").Headers["leveret-error-code"])
}

// user makes a user for a test's virtual host, and returns its address.
func (b *bench) user(configure, write, read string) string {
	b.t.Helper()
	node, vhost := leverettest.Node(b.t), leverettest.VHost(b.t, b.url)
	name := vhost + "-user"
	api, err := node.Management()
	require.NoError(b.t, err)
	manage := func(method string, body any, path ...string) {
		require.NoError(b.t, api.Call(context.WithoutCancel(b.ctx), method, body, nil, path...))
	}
	manage(http.MethodPut, map[string]string{"password": "secret", "tags": ""}, "users", name)
	b.t.Cleanup(func() { manage(http.MethodDelete, nil, "users", name) })
	manage(http.MethodPut, map[string]string{"configure": configure, "write": write, "read": read}, "permissions", vhost, name)
	return strings.Replace(b.url, node.Username()+":"+node.Password()+"@", name+":secret@", 1)
}

// TestLeastPrivilege: a user that may do nothing but its job does it; what it may not do is logged, and ends nothing
// else.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	started, release := make(chan struct{}, 9), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	b.answering(leveret.WorkerConfig{}, func(_ context.Context, v thing) (answer, error) {
		started <- struct{}{}
		<-release
		return answer{N: v.N}, nil
	})
	// Requests, and nothing more: not control either. Direct reply-to needs no permission.
	forbidden := leveret.NewCommand[thing]("a.forbidden")
	conn := b.connect(leveret.ConnConfig{URLs: []string{b.user("^$", "^requests$", "^$")}, NoDeclare: true})
	client := b.client(conn, leveret.NewService("tester", leveret.Calls(b.ask), leveret.Sends(forbidden)), leveret.ClientConfig{})
	replies, errs := make(chan answer, 1), make(chan error, 3)
	go func() { a, err := b.ask.Call(b.ctx, client, thing{N: 1}); replies <- a; errs <- err }()
	receive(t, started)
	for range 2 {
		ctx, giveUp := context.WithCancel(b.ctx)
		go func() { _, err := b.ask.Call(ctx, client, thing{N: 2}); errs <- err }()
		receive(t, started)
		giveUp()
		require.ErrorIs(t, receive(t, errs), leveret.Canceled)
	}
	letGo()
	require.Equal(t, answer{N: 1}, receive(t, replies), "the call that goes on is not ended by those that were cancelled")
	require.NoError(t, receive(t, errs))
	err := forbidden.Send(b.ctx, client, thing{})
	require.True(t, errors.Is(err, leveret.ErrRefused) || errors.Is(err, leveret.ErrUnroutable), "%v", err)
	_, err = b.ask.Call(b.ctx, client, thing{N: 3})
	require.NoError(t, err)
}

// TestReplyForbidden: a worker that may not answer gets an error, and does not handle the same request for ever.
func TestReplyForbidden(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Idempotent())
	declaring := b.answering(leveret.WorkerConfig{}, func(context.Context, thing) (answer, error) { return answer{}, nil })
	require.NoError(t, declaring.halt())
	var handled atomic.Int64
	conn := b.connect(leveret.ConnConfig{URLs: []string{b.user(".*", "^(requests|control|a[.]ask|control[.].*)$", ".*")}})
	w := b.worker(conn, b.service, leveret.WorkerConfig{})
	b.ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) { handled.Add(1); return answer{}, nil })
	b.start(w)
	foreign := b.peer()
	foreign.publish("requests", "a.ask", amqp.Publishing{ReplyTo: "amq.gen-nobody", CorrelationId: "c", Body: []byte(`{}`)})
	b.eventually(func() bool { return handled.Load() == 2 }, "once, and once more since it came again")
	b.eventually(func() bool { return foreign.count("a.ask") == 0 && w.Ready() == nil })
	require.EqualValues(t, 2, handled.Load())
}

// TestReconnect: a worker whose connections are cut again and again handles everything, and comes back each time.
func TestReconnect(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	way := h.proxy()
	conn := h.connect(leveret.ConnConfig{URLs: []string{way.url}})
	const n = 3000
	var seen sync.Map
	var distinct, handled atomic.Int64
	w := h.worker(conn, h.service, leveret.WorkerConfig{})
	h.do.Handle(w.Handlers, func(_ context.Context, v thing) error {
		if _, again := seen.LoadOrStore(v.N, true); !again {
			distinct.Add(1)
		}
		handled.Add(1)
		return nil
	})
	h.run(w)
	sender := h.client(h.connect(leveret.ConnConfig{URLs: []string{way.url}}), h.service, leveret.ClientConfig{})
	sent := make(chan error, 1)
	go func() {
		p := sender.Pipeline(nil)
		for i := range n {
			if err := write(h.ctx, p, h.do, thing{N: i}); err != nil {
				sent <- err
				return
			}
		}
		sent <- p.Flush(h.ctx)
	}()
	for range 4 {
		before := handled.Load()
		h.eventually(func() bool { return handled.Load() > before+100 || distinct.Load() == n })
		way.cut()
	}
	require.NoError(t, receive(t, sent))
	h.eventually(func() bool { return distinct.Load() == n }, "all of them")
	h.eventually(func() bool { return w.Ready() == nil })
	way.refuse(true)
	way.cut()
	h.eventually(func() bool { return w.Ready() != nil && conn.Ready() != nil }, "readiness reports that the broker is gone")
	way.refuse(false)
	h.eventually(func() bool { return w.Ready() == nil })
	foreign := h.peer()
	h.eventually(func() bool { return foreign.count("a.do") == 0 })
	require.Zero(t, foreign.count("a.do.dlq"))
}

// TestNodeInTrouble has a node of its own, whose limit shrinks first, and which stops then.
func TestNodeInTrouble(t *testing.T) { //nolint:tparallel // its parts share the node
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.WithoutCancel(ctx))) })
	t.Run("its limit shrinks", func(t *testing.T) { brokersLimitShrinks(t, node) })
	t.Run("it stops", func(t *testing.T) { stoppedBrokerIsUnknown(t, node) })
}

// brokersLimitShrinks: a failed message that has become too large to publish is dead-lettered by the broker itself.
func brokersLimitShrinks(t *testing.T, node *devbroker.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	do := leveret.NewCommand[thing]("a.do", quick)
	h := &handling{&bench{t, ctx, node.URL(), logger(t)}, do, leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))}
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{node.URL()}})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(ctx))) }()
	client, err := leveret.NewClient(conn, h.service, leveret.ClientConfig{})
	require.NoError(t, err)
	require.NoError(t, do.Send(ctx, client, thing{N: 1, Text: strings.Repeat("x", 100_000)}))
	require.NoError(t, client.Close(ctx))
	_, err = node.Ctl(ctx, "eval", "application:set_env(rabbit, max_message_size, 50000), persistent_term:put(max_message_size, 50000).")
	require.NoError(t, err)
	w := h.worker(conn, h.service, leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(context.Context, thing) error { return leveret.Errorf(leveret.NotFound, "no") })
	r := h.run(w)
	d := h.peer().take("a.do.dlq")
	require.Greater(t, len(d.Body), 100_000)
	require.Contains(t, d.Headers, "x-death", "it was the broker that put it there")
	require.NoError(t, w.Ready())
	require.NoError(t, r.halt())
}

// TestRunEndsWithItsConnection: a connection that was closed does not come back.
func TestRunEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	conn := h.connect(leveret.ConnConfig{})
	w := h.worker(conn, h.service, leveret.WorkerConfig{})
	h.do.Handle(w.Handlers, func(context.Context, thing) error { return nil })
	r := h.run(w)
	require.NoError(t, conn.Close(h.ctx))
	require.ErrorIs(t, r.wait(), leveret.ErrClosed)
}

// TestTooManyQueues: a service with more queues than a connection has channels is refused at once, with both numbers.
func TestTooManyQueues(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 2040
	var all []leveret.Contract
	var handled []*leveret.Command[thing]
	for i := range n {
		c := leveret.NewCommand[thing](fmt.Sprintf("a.do-%d", i))
		all, handled = append(all, c), append(handled, c)
	}
	conn := b.connect(leveret.ConnConfig{})
	w := b.worker(conn, leveret.NewService("a", leveret.Handles(all...)), leveret.WorkerConfig{})
	for _, c := range handled {
		c.Handle(w.Handlers, func(context.Context, thing) error { return nil })
	}
	err := b.start(w).wait()
	require.ErrorIs(t, err, leveret.FailedPrecondition)
	require.ErrorContains(t, err, "commands and events from 2040 queues")
	require.ErrorContains(t, err, "2047 (channel_max)")
	_, err = conn.Rabbit().Inspect(b.ctx, "a.do-0")
	require.ErrorIs(t, err, rabbit.ErrNotFound, "nothing was declared")
}
