package service_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
)

func TestAWholeLife(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	setUp, entered, finish := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var rt *service.Runtime
	r := start(t, service.Program{
		Service: units, Version: "1.2.3",
		Setup: func(ctx context.Context, given *service.Runtime) error {
			rt = given
			do.Handle(rt.Handlers, func(ctx context.Context, u unit) error {
				rt.Logger.InfoContext(ctx, "doing", "n", u.N)
				switch u.N {
				case 2:
					close(entered)
					<-finish
				case 3:
					return leveret.Errorf(leveret.NotFound, "no 3")
				}
				return happened.Publish(ctx, rt.Client, u)
			})
			ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return unit{u.N + 1}, nil })
			<-setUp
			return ctx.Err()
		},
	}, map[string]string{"broker.url": broker})

	r.log.await(t, "connecting")
	require.Eventually(t, func() bool {
		status, body := r.get(t, "/readyz")
		return status == 503 && body == "starting: waiting for the program's Setup\n"
	}, 2*time.Minute, 10*time.Millisecond)
	status, body := r.get(t, "/healthz")
	require.Equal(t, 200, status)
	require.Equal(t, "ok\n", body)
	require.Empty(t, r.log.records(t, "ready"))
	close(setUp)

	ready := r.log.await(t, "ready")
	require.Equal(t, "INFO", ready["level"])
	require.Equal(t, "unit", ready["service"])
	require.Equal(t, "1.2.3", ready["version"])
	require.Equal(t, []any{"unit.do", "unit.ask"}, ready["queues"])
	require.Equal(t, r.log.await(t, "health")["address"], ready["health"])
	require.Contains(t, ready["broker"], "amqp://guest@")
	require.NotContains(t, r.log.String(), leverettest.Node(t).Password())
	status, body = r.get(t, "/readyz")
	require.Equal(t, 200, status)
	require.Equal(t, "ready\n", body)

	require.NoError(t, do.Send(t.Context(), rt.Client, unit{1}, leveret.MessageID("the-id")))
	answer, err := ask.Call(t.Context(), rt.Client, unit{1})
	require.NoError(t, err)
	require.Equal(t, 2, answer.N)
	doing := r.log.await(t, "doing")
	require.Equal(t, "the-id", doing["message_id"])
	require.Equal(t, "the-id", doing["conversation_id"])
	require.Equal(t, "the-id", doing["correlation_id"])
	require.Len(t, doing["trace_id"], 32)
	require.Len(t, doing["span_id"], 16)

	require.NoError(t, do.Send(t.Context(), rt.Client, unit{3}))
	failed := r.log.await(t, "message failed; dead-lettering it")
	require.Len(t, failed["trace_id"], 32)
	require.Equal(t, failed["message_id"], failed["conversation_id"])
	require.Equal(t, "not_found: no 3", failed["error"])

	require.NoError(t, do.Send(t.Context(), rt.Client, unit{2}))
	<-entered
	requireMetrics(t, r)

	r.stop()
	r.log.await(t, "draining")
	status, body = r.get(t, "/readyz")
	require.Equal(t, 503, status)
	require.Equal(t, "draining\n", body)
	status, _ = r.get(t, "/healthz")
	require.Equal(t, 200, status)
	close(finish)
	require.Equal(t, 0, r.code(t))
	r.log.await(t, "ended")
	requireEmpty(t, broker, "unit.do") // the running handler's message was acked, not requeued
}

// requireMetrics waits until a scrape shows everything: a verdict is counted when its ack was written, and the first
// message's handler may still be publishing when the third one's runs.
func requireMetrics(t *testing.T, r *running) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, body := r.get(t, "/metrics")
		require.Equal(t, 200, status)
		for _, want := range []string{
			`messaging_client_operation_duration_seconds_count{`,
			`messaging_process_duration_seconds_bucket{`,
			`messaging_client_sent_messages_total{`,
			`messaging_client_consumed_messages_total{`,
			`leveret_verdicts_total{leveret_verdict="ack",messaging_destination_name="unit.do"} 1`,
			`leveret_connection_up{leveret_connection="consume"} 1`,
			`leveret_connection_up{leveret_connection="publish"} 1`,
			`leveret_connection_lost_total{leveret_connection="consume"} 0`,
			`leveret_topology_mismatches_total 0`,
			`leveret_service_ready 1`,
			`service_name="unit"`, `service_version="1.2.3"`,
			"go_goroutines ", "process_resident_memory_bytes ",
		} {
			if !strings.Contains(body, want) {
				return false
			}
		}
		return true
	}, 2*time.Minute, 10*time.Millisecond, "the metrics never had all of it")
}

// requireEmpty checks that a queue holds no messages.
func requireEmpty(t *testing.T, broker, queue string) {
	t.Helper()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	ch, err := conn.Rabbit().Channel(t.Context())
	require.NoError(t, err)
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	require.NoError(t, err)
	require.Zero(t, q.Messages, queue)
	require.NoError(t, conn.Close(t.Context()))
}

// Shutdown ends servers, the worker, the functions of Go, and closers in reverse. Each still has what it depends on.
func TestTheWayDownIsInOrder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	entered, serverEnds := make(chan struct{}), make(chan struct{})
	var rt *service.Runtime
	r := start(t, service.Program{
		Service: units,
		Setup: func(_ context.Context, given *service.Runtime) error {
			rt = given
			handlers(rt)
			rt.Close("first", func() error { note("close first"); return nil })
			rt.Close("second", func() error { note("close second"); return nil })
			rt.Go("beside", func(ctx context.Context) error {
				<-ctx.Done()
				note("beside")
				return happened.Publish(context.WithoutCancel(ctx), rt.Client, unit{})
			})
			rt.Serve("server", func(ctx context.Context) error {
				<-ctx.Done()
				<-serverEnds // what it brought in before is still handled
				_, err := ask.Call(context.WithoutCancel(ctx), rt.Client, unit{1})
				note("server")
				return errors.Join(err, do.Send(context.WithoutCancel(ctx), rt.Client, unit{1}))
			})
			rt.Use(func(next leveret.Handler) leveret.Handler {
				return func(ctx context.Context, m *leveret.Message) error {
					defer func() {
						if m.Contract == do {
							note("handler")
						}
					}()
					if m.Contract == do {
						close(entered)
					}
					return next(ctx, m)
				}
			})
			return nil
		},
	}, map[string]string{"broker.url": leverettest.Broker(t)})
	r.log.await(t, "ready")
	r.stop()
	r.log.await(t, "draining")
	close(serverEnds)
	require.Equal(t, 0, r.code(t))
	mu.Lock()
	defer mu.Unlock()
	if order[1] != "handler" { // the worker may stop before the message is delivered, which then stays in its queue
		order = append(order[:1:1], append([]string{"handler"}, order[1:]...)...)
	}
	require.Equal(t, []string{"server", "handler", "beside", "close second", "close first"}, order)
}

func TestWhatEndsByItselfEndsTheProgram(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setup func(*service.Runtime)
		want  string
	}{
		"error": {func(rt *service.Runtime) {
			rt.Go("outbox", func(context.Context) error { return errors.New("disk full") })
		}, "outbox: disk full"},
		"nothing": {func(rt *service.Runtime) {
			rt.Go("outbox", func(context.Context) error { return nil })
		}, "outbox ended unexpectedly"},
		"panic": {func(rt *service.Runtime) {
			rt.Serve("http", func(context.Context) error { panic("ouch") })
		}, "http: panic: ouch"},
		"abandoned": {func(rt *service.Runtime) {
			rt.Go("outbox", func(context.Context) error { return errors.New("disk full") })
			rt.Serve("http", func(context.Context) error { <-t.Context().Done(); return nil })
		}, "http did not end within 50ms and was abandoned"},
		"close": {func(rt *service.Runtime) {
			rt.Go("outbox", func(context.Context) error { return errors.New("disk full") })
			rt.Close("store", func() error { return errors.New("not flushed") })
			rt.Close("cache", func() error { panic("ouch") })
		}, "outbox: disk full\nclose cache: panic: ouch\nclose store: not flushed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := false
			settings := map[string]string{"broker.url": leverettest.Broker(t)}
			if name == "abandoned" {
				settings["worker.drain_timeout"] = "50ms"
			}
			r := start(t, service.Program{Service: units, Setup: func(_ context.Context, rt *service.Runtime) error {
				handlers(rt)
				rt.Close("last", func() error { closed = true; return nil })
				c.setup(rt)
				return nil
			}}, settings)
			require.Equal(t, 1, r.code(t))
			require.True(t, closed)
			end := r.log.await(t, "ended by an error")
			require.Contains(t, end["error"], c.want)
			require.EqualValues(t, 1, end["exit"])
		})
	}
}

func TestWrongPrograms(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	for name, c := range map[string]struct {
		program service.Program
		want    string
	}{
		"no service": {service.Program{Name: "x", Setup: func(context.Context, *service.Runtime) error { return nil }}, "Service is required"},
		"no setup":   {service.Program{Service: units}, "Setup is required"},
		"setup fails": {service.Program{Service: units, Setup: func(context.Context, *service.Runtime) error {
			return errors.New("no such table")
		}}, "setup: no such table"},
		"setup panics": {service.Program{Service: units, Setup: func(context.Context, *service.Runtime) error {
			handlers(nil)
			return nil
		}}, "setup: panic: runtime error: invalid memory address"},
		"no handlers": {
			service.Program{Service: units, Setup: func(context.Context, *service.Runtime) error { return nil }},
			`the service "unit" handles unit.do, but has no handler for it`,
		},
		"a handler too many": {service.Program{Service: front, Setup: func(_ context.Context, rt *service.Runtime) error {
			do.Handle(rt.Handlers, func(context.Context, unit) error { return nil })
			return nil
		}}, `has a handler for the command "unit.do", but does not say that it serves it`},
		"nothing to do": {
			service.Program{Service: front, Setup: func(context.Context, *service.Runtime) error { return nil }},
			`the service "front" serves nothing, and Setup registered nothing with Go, Serve, ServeHTTP or ServeGRPC`,
		},
		"a wrong key": {service.Program{
			Service: units, Keys: []config.Key{{Name: "unit"}},
			Setup: func(context.Context, *service.Runtime) error { return nil },
		}, "the program's table of settings is invalid"},
		"a wrong service": {service.Program{
			Service: leveret.NewService("Not A Name"),
			Setup:   func(context.Context, *service.Runtime) error { return nil },
		}, "the name must be lower-case letters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, c.program, map[string]string{"broker.url": broker})
			code := r.code(t)
			require.Contains(t, r.log.String(), strings.ReplaceAll(c.want, `"`, quoteIn(r.log.String())))
			require.Equal(t, 1, code)
		})
	}
}

// quoteIn returns a quotation mark as it appears in text: escaped if text is JSON.
func quoteIn(text string) string {
	if strings.HasPrefix(text, "{") {
		return `\"`
	}
	return `"`
}

// At whatever point a program is stopped, it shuts down gracefully and leaves nothing behind.
func TestEndInEveryPhase(t *testing.T) { //nolint:paralleltest // counts goroutines
	broker := leverettest.Broker(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections but never answers
	require.NoError(t, err)
	defer silent.Close()
	serving := func(_ context.Context, rt *service.Runtime) error {
		handlers(rt)
		rt.ServeHTTP(http.NotFoundHandler())
		return nil
	}
	before := goleak.IgnoreCurrent()
	for _, c := range []struct {
		name, broker string
		until        string // the log record after which it is stopped; if it is "http", the program serves
		setup        func(context.Context, *service.Runtime) error
	}{
		{"at once", broker, "", nil},
		{"nobody there", "amqp://127.0.0.1:1/", "cannot connect to the broker; trying again", nil},
		{"somebody who says nothing", "amqp://" + silent.Addr().String() + "/", "connecting", nil},
		{"Setup", broker, "in Setup", func(ctx context.Context, rt *service.Runtime) error {
			rt.Logger.Info("in Setup")
			<-ctx.Done()
			return ctx.Err()
		}},
		{"Setup that fails otherwise", broker, "in Setup", func(ctx context.Context, rt *service.Runtime) error {
			rt.Logger.Info("in Setup")
			<-ctx.Done()
			return errors.New("interrupted (9)")
		}},
		{"behind Setup", broker, "in Setup", func(_ context.Context, rt *service.Runtime) error {
			handlers(rt)
			rt.Logger.Info("in Setup")
			return nil
		}},
		{"ready", broker, "ready", func(_ context.Context, rt *service.Runtime) error {
			handlers(rt)
			return nil
		}},
		{"serving, with a broker or not yet", broker, "http", serving},
		{"serving, without a broker", nowhere, "http", serving},
		{"serving, with a broker that says nothing", "amqp://" + silent.Addr().String() + "/", "http", serving},
	} {
		closed := false
		p := service.Program{Service: units, Setup: func(ctx context.Context, rt *service.Runtime) error {
			rt.Close("it", func() error { closed = true; return nil })
			return c.setup(ctx, rt)
		}}
		settings := map[string]string{"broker.url": c.broker}
		if c.until == "http" {
			settings["http.address"] = "127.0.0.1:0"
		}
		r := start(t, p, settings)
		if c.until != "" {
			r.log.await(t, c.until)
		}
		require.Equal(t, 0, r.end(t), "%s\n%s", c.name, r.log)
		require.Equal(t, c.setup != nil, closed, c.name)
		require.NotContains(t, r.log.String(), "not closed cleanly", c.name)
		require.NoError(t, testmain.Leaked(before))
	}
}

func TestUnreachableAndRefused(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	for name, c := range map[string]struct {
		settings map[string]string
		code     int
		want     string
	}{
		"unreachable": {
			map[string]string{"broker.url": "amqp://u:hunter2@127.0.0.1:1/", "broker.connect_timeout": "200ms"},
			7,
			"the broker was not reached within broker.connect_timeout (200ms)",
		},
		"wrong password":                {map[string]string{"broker.url": broker, "broker.password": "hunter2"}, 7, "refused the login"},
		"no virtual host":               {map[string]string{"broker.url": broker + "-hunter2"}, 7, "NOT_ALLOWED"},
		"not an address":                {map[string]string{"broker.url": "amqp://u:hunter2@127.0.0.1/?heartbeat=x"}, 2, "section broker"},
		"a file instead of a folder":    {map[string]string{"broker.url": broker, "data.dir": "/dev/null"}, 2, "data.dir: mkdir /dev/null"},
		"no such authority":             {map[string]string{"broker.url": "amqps://127.0.0.1:1/", "broker.tls.ca_file": "/nowhere.pem"}, 2, "broker.tls.ca_file: open /nowhere.pem"},
		"an address of another machine": {map[string]string{"broker.url": broker, "health.address": "192.0.2.1:80"}, 2, "health.address: listen tcp 192.0.2.1:80"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, service.Program{Service: units, Setup: func(_ context.Context, rt *service.Runtime) error {
				handlers(rt)
				return nil
			}}, c.settings)
			require.Equal(t, c.code, r.code(t))
			require.Contains(t, r.log.String(), c.want)
			if name != "no virtual host" { // in that case it is not a secret
				require.NotContains(t, r.log.String(), "hunter2")
			}
		})
	}
}

func TestAStuckHandlerEndsTheProgram(t *testing.T) {
	t.Parallel()
	var rt *service.Runtime
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		do.Handle(rt.Handlers, func(context.Context, unit) error { <-release; return nil })
		ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
		return nil
	}}, map[string]string{
		"broker.url": leverettest.Broker(t), "worker.handler_timeout": "50ms", "worker.stuck_after": "50ms", "worker.drain_timeout": "50ms",
	})
	r.log.await(t, "ready")
	require.NoError(t, do.Send(t.Context(), rt.Client, unit{}))
	require.Equal(t, 1, r.code(t))
	require.Contains(t, r.log.await(t, "ended by an error")["error"], leveret.ErrStuck.Error())
}

func TestReadyTellsEveryReason(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var trouble error
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, rt *service.Runtime) error {
		handlers(rt)
		rt.Ready("store", func() error {
			mu.Lock()
			defer mu.Unlock()
			return trouble
		})
		rt.Ready("cache", func() error {
			mu.Lock()
			defer mu.Unlock()
			if trouble != nil {
				panic("ouch")
			}
			return nil
		})
		return nil
	}}, map[string]string{"broker.url": leverettest.Broker(t)})
	r.log.await(t, "ready")
	mu.Lock()
	trouble = errors.Join(errors.New("disk full"), errors.New("read only"))
	mu.Unlock()
	status, body := r.get(t, "/readyz")
	require.Equal(t, 503, status)
	require.Equal(t, "store: disk full\nstore: read only\ncache: the check panicked: ouch\n", body)
	_, metrics := r.get(t, "/metrics")
	require.Contains(t, metrics, "\nleveret_service_ready 0\n")
	mu.Lock()
	trouble = nil
	mu.Unlock()
	status, _ = r.get(t, "/readyz")
	require.Equal(t, 200, status)
	require.Equal(t, 0, r.end(t))
}

func TestAServiceThatServesNothing(t *testing.T) {
	t.Parallel()
	sent := make(chan error, 1)
	r := start(t, service.Program{Service: front, Setup: func(_ context.Context, rt *service.Runtime) error {
		rt.Serve("http", func(ctx context.Context) error {
			sent <- do.Send(ctx, rt.Client, unit{})
			<-ctx.Done()
			return ctx.Err()
		})
		return nil
	}}, map[string]string{"broker.url": leverettest.Broker(t), "health.address": "off"})
	ready := r.log.await(t, "ready")
	require.Equal(t, []any{}, ready["queues"])
	require.Equal(t, "off", ready["health"])
	require.NoError(t, <-sent)
	require.Equal(t, 0, r.end(t))
	require.Empty(t, r.log.records(t, "health"))
}

type own struct {
	DeclineAbove int           `config:"decline_above"`
	APIKey       string        `config:"api_key"`
	Delay        time.Duration `config:"delay"`
}

func (o *own) Validate() error {
	if o.DeclineAbove < 0 {
		return errors.New("decline_above is negative")
	}
	return nil
}

func TestAConfigurationOfItsOwn(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(secret, []byte("hunter2\n"), 0o600))
	var got own
	p := service.Program{
		Service: units,
		Keys: []config.Key{
			{Name: "unit.decline_above", Type: config.Int, Usage: "decline over this"},
			{Name: "unit.api_key", Type: config.String, Secret: true, Usage: "who we are"},
			{Name: "unit.delay", Type: config.Duration, Default: "3s", Usage: "how long"},
		},
		Setup: func(_ context.Context, rt *service.Runtime) error {
			handlers(rt)
			if err := rt.Decode("unit", &got); err != nil {
				return err
			}
			dir, err := os.Stat(rt.DataDir)
			if err != nil || !dir.IsDir() || filepath.Dir(rt.DatabaseSource) != rt.DataDir {
				return errors.New("there is no folder for files")
			}
			return nil
		},
	}
	settings := map[string]string{
		"broker.url": leverettest.Broker(t), "unit.decline_above": "5", "unit.api_key_file": secret, "data.dir": filepath.Join(t.TempDir(), "a", "b"),
	}
	r := start(t, p, settings)
	r.log.await(t, "ready")
	require.Equal(t, own{5, "hunter2", 3 * time.Second}, got)
	require.Equal(t, 0, r.end(t))
	require.NotContains(t, r.log.String(), "hunter2")

	settings["unit.decline_above"] = "-1"
	r = start(t, p, settings)
	require.Equal(t, 1, r.code(t))
	require.Contains(t, r.log.await(t, "ended by an error")["error"], "setup: unit: decline_above is negative")
}

// Program.Worker and Program.Client apply unless configured otherwise. Their middleware is outside that of Use.
func TestWhatTheProgramSaysAndWhatIsConfigured(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	around := func(name string) leveret.Middleware {
		return func(next leveret.Handler) leveret.Handler {
			return func(ctx context.Context, m *leveret.Message) error {
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				return next(ctx, m)
			}
		}
	}
	tooLarge := make(chan error, 1)
	var rt *service.Runtime
	r := start(t, service.Program{
		Service:  units,
		Client:   leveret.ClientConfig{Middleware: []leveret.Middleware{around("client")}, MaxBody: 8},
		Handlers: leveret.HandlersConfig{Middleware: []leveret.Middleware{around("program")}},
		Setup: func(_ context.Context, given *service.Runtime) error {
			rt = given
			handlers(rt)
			rt.Use(around("use 1"), around("use 2"))
			rt.Go("sender", func(ctx context.Context) error {
				tooLarge <- do.Send(ctx, rt.Client, unit{123456789})
				<-ctx.Done()
				return nil
			})
			return nil
		},
	}, map[string]string{"broker.url": leverettest.Broker(t)})
	require.ErrorIs(t, <-tooLarge, leveret.ErrTooLarge)
	r.log.await(t, "ready")
	_, err := ask.Call(t.Context(), rt.Client, unit{1})
	require.NoError(t, err)
	require.Equal(t, 0, r.end(t))
	require.Equal(t, []string{"client", "client", "program", "use 1", "use 2"}, order)
}

// A queue that exists with different arguments is used unchanged, or a rolling deployment would become a crash loop.
func TestAQueueWithOtherArgumentsIsUsed(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	ch, err := conn.Rabbit().Channel(t.Context())
	require.NoError(t, err)
	_, err = ch.QueueDeclare("unit.do", true, false, false, false, map[string]any{"x-queue-type": "quorum"})
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))

	handled := make(chan struct{})
	var rt *service.Runtime
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		do.Handle(rt.Handlers, func(context.Context, unit) error { close(handled); return nil })
		ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
		return nil
	}}, map[string]string{"broker.url": broker})
	r.log.await(t, "ready")
	said := r.log.await(t, "cannot declare; using what exists")
	require.Equal(t, "queue unit.do", said["what"])
	require.Contains(t, said["reason"], "PRECONDITION_FAILED")
	_, metrics := r.get(t, "/metrics")
	require.Contains(t, metrics, "\nleveret_topology_mismatches_total 1\n")
	require.NoError(t, do.Send(t.Context(), rt.Client, unit{}))
	<-handled
	require.Equal(t, 0, r.end(t))
}

func TestRuntimeIsForSetup(t *testing.T) {
	t.Parallel()
	var rt *service.Runtime
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		handlers(rt)
		return nil
	}}, map[string]string{"broker.url": leverettest.Broker(t)})
	r.log.await(t, "ready")
	require.PanicsWithValue(t, "service: Runtime.Go is for Setup, which has returned", func() { rt.Go("late", nil) })
	require.Panics(t, func() { rt.Serve("late", nil) })
	require.Panics(t, func() { rt.ServeHTTP(nil) })
	require.Panics(t, func() { rt.ServeGRPC(nil) })
	require.Panics(t, func() { rt.Close("late", nil) })
	require.Panics(t, func() { rt.Ready("late", nil) })
	require.Panics(t, func() { rt.Use(nil) })
	require.Equal(t, 0, r.end(t))
}
