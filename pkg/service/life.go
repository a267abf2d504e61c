package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/operator"
)

// life is one run of a program, from startup to shutdown.
type life struct {
	program   Program
	loaded    *config.Loaded
	settings  settings
	log       *slog.Logger
	ready     *readiness
	health    *health
	telemetry *telemetry
	rt        *Runtime
	worker    *leveret.Worker // nil where the service consumes nothing
	facts     operator.Facts  // of its queues, for operators
	servers   []*server
	serverTLS *tls.Config
	clientTLS *tls.Config
	opened    []closer
	connectBy time.Time // the end of broker.connect_timeout; zero if there is none, or the broker has been waited for
}

// closer is something to close on shutdown.
type closer struct {
	name  string
	own   bool // registered by the program, which then fails if close does
	close func(context.Context) error
}

// closeLimit is the time limit for each closer.
const closeLimit = 10 * time.Second

// live runs the program until ctx ends or something fails. When it returns, everything is closed.
func (p Program) live(ctx context.Context, loaded *config.Loaded, stderr io.Writer) error {
	s, err := p.settings(loaded)
	if err != nil {
		return exit(exitUsage, "%w", err)
	}
	l := &life{program: p, loaded: loaded, settings: s, ready: &readiness{}}
	l.log = newLogger(stderr, s.logFormat, s.logLevel).With("service", p.Service.Name())
	l.log.InfoContext(ctx, "starting", "name", p.Name, "version", p.Version, "instance", s.conn.Instance,
		"go", runtime.Version(), "config", loaded.File())
	if loaded.Config().Broker.TLS.Insecure {
		l.log.WarnContext(ctx, "any certificate is accepted from the broker, so an impostor could read the password", "key", "broker.tls.insecure")
	}
	began := time.Now()
	err = l.up(ctx)
	if err == nil {
		err = l.serve(ctx)
	} else if _, broken := errors.AsType[*panicked](err); ctx.Err() != nil && !broken {
		l.log.InfoContext(ctx, "stopped before startup was complete", "reason", reason(ctx), "error", err)
		err = nil
	}
	l.ready.drain()
	err = errors.Join(err, l.down(context.WithoutCancel(ctx)))
	return l.end(ctx, err, time.Since(began))
}

// end logs how the program ended.
func (l *life) end(ctx context.Context, err error, took time.Duration) error {
	if err == nil {
		l.log.InfoContext(ctx, "ended", "after", took.String())
		return nil
	}
	code := ExitCode(err)
	attrs := []any{"error", err, "exit", code, "after", took.String()}
	if p, ok := errors.AsType[*panicked](err); ok {
		attrs = append(attrs, "stack", string(p.stack))
	}
	l.log.ErrorContext(ctx, "ended by an error", attrs...)
	return &exitError{code: code, err: err, logged: true}
}

// up starts the program's parts. What it has opened is closed by down, even if up fails.
func (l *life) up(ctx context.Context) error {
	l.ready.wait("the program's parts")
	var err error
	if l.telemetry, err = newTelemetry(ctx, l.program, l.settings, l.ready, l.log); err != nil {
		return err
	}
	if !l.settings.healthOff() {
		if l.health, err = listen(ctx, l.settings.health, l.ready, l.telemetry.metrics, l.log); err != nil {
			return errors.Join(exit(exitUsage, "%w", err), l.telemetry.close(ctx))
		}
		l.opens("health", l.health.close)
		l.log.InfoContext(ctx, "health", "address", l.health.address())
	}
	l.opens("telemetry", l.telemetry.close)
	if err := l.build(ctx, l.connect); err != nil {
		return err
	}
	return l.complete(ctx)
}

// build opens what Setup needs, and calls it.
func (l *life) build(ctx context.Context, connect func(context.Context) (*leveret.Conn, error)) error {
	err := l.folders(ctx)
	if err != nil {
		return err
	}
	if l.serverTLS, l.clientTLS, err = tlsConfigs(l.settings.tls, l.log); err != nil {
		return exit(exitUsage, "%w", err)
	}
	conn, err := connect(ctx)
	if err != nil {
		return err
	}
	l.opens("connection", conn.Close)
	if err := l.runtime(conn); err != nil {
		return exit(exitUsage, "%w", err)
	}
	l.ready.wait("the program's Setup")
	if err := l.setup(ctx); err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	return nil
}

func (l *life) opens(name string, end func(context.Context) error) {
	l.opened = append(l.opened, closer{name: name, close: end})
}

// folders creates the folders for the service's files. If a default folder cannot be created, it only logs a warning: a
// service without files runs on a read-only file system.
func (l *life) folders(ctx context.Context) error {
	folders := []struct{ key, path string }{{"data.dir", l.settings.dataDir}}
	if !l.loaded.Config().Database.OnServer() {
		folders = append(folders, struct{ key, path string }{"database.url", filepath.Dir(l.settings.databaseSource)})
	}
	for _, f := range folders {
		err := os.MkdirAll(f.path, 0o700)
		if err == nil {
			continue
		}
		if v, _ := l.loaded.Value(f.key); v.Origin.Source != config.FromDefault {
			return exit(exitUsage, "%s: %w (set by %s)", f.key, err, v.Origin.Where)
		}
		l.log.WarnContext(ctx, "cannot create the folder for files", "key", f.key, "error", err)
	}
	return nil
}

// theBroker is what startup waits for first.
const theBroker = "the broker"

// connect waits for the broker, up to broker.connect_timeout if that is set. A program with an address to serve at does
// not wait.
func (l *life) connect(ctx context.Context) (*leveret.Conn, error) {
	config := l.connConfig(ctx)
	l.log.InfoContext(ctx, "connecting", "broker", l.shownBroker())
	if l.settings.serves() {
		if l.settings.connectTimeout > 0 {
			l.connectBy = time.Now().Add(l.settings.connectTimeout)
		}
		conn, err := leveret.Open(config)
		return conn, l.connectErr(ctx, err)
	}
	l.ready.wait(theBroker)
	dialing, cancel := ctx, context.CancelFunc(func() {})
	if l.settings.connectTimeout > 0 {
		dialing, cancel = context.WithTimeout(ctx, l.settings.connectTimeout)
	}
	defer cancel()
	conn, err := leveret.Connect(dialing, config)
	return conn, l.connectErr(ctx, err)
}

// connConfig returns what the connection is made with.
func (l *life) connConfig(ctx context.Context) leveret.ConnConfig {
	config := l.settings.conn
	config.Logger = slog.New(newSparing(l.log.Handler()))
	config.Access = func() ([]string, *tls.Config) { return l.settings.access.Current(l.log) }
	config.TracerProvider, config.MeterProvider = l.telemetry.tracer, l.telemetry.meter
	complaints := &complaints{log: l.log}
	config.OnFailure = func(err error) {
		l.ready.explain(theBroker, err)
		complaints.about(ctx, err)
	}
	return config
}

// connectErr gives an error of connecting its exit code.
func (l *life) connectErr(ctx context.Context, err error) error {
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.Is(err, leveret.ErrRefused):
		return exit(exitUnreachable, "%w", err)
	case errors.Is(err, leveret.ErrNotConnected):
		return exit(exitUnreachable, "the broker was not reached within broker.connect_timeout (%v): %w", l.settings.connectTimeout, err)
	case leveret.CodeOf(err) == leveret.InvalidArgument:
		return exit(exitUsage, "the section broker: %w", err)
	default:
		return fmt.Errorf("connect: %w", err)
	}
}

// reach fails if the broker is not reached by connectBy.
func (l *life) reach(ctx context.Context) error {
	waiting, cancel := context.WithDeadline(ctx, l.connectBy)
	defer cancel()
	if err := l.rt.Conn.Await(waiting); err != nil && ctx.Err() == nil {
		return l.connectErr(ctx, err)
	}
	<-ctx.Done()
	return nil
}

func (l *life) shownBroker() string {
	v, _ := l.loaded.Value("broker.url")
	return v.String()
}

// runtime creates the Runtime for Setup.
func (l *life) runtime(conn *leveret.Conn) error {
	service := l.program.Service
	client, err := leveret.NewClient(conn, service, l.settings.client)
	if err != nil {
		return err
	}
	l.opens("client", client.Close)
	l.rt = &Runtime{
		ServerTLS: l.serverTLS, ClientTLS: l.clientTLS,
		Config: l.loaded.Config(), Logger: l.log, Conn: conn, Client: client,
		TracerProvider: l.telemetry.tracer, MeterProvider: l.telemetry.meter, Propagator: l.telemetry.propagator,
		DataDir: l.settings.dataDir, DatabaseSource: l.settings.databaseSource,
		loaded: l.loaded, service: service, program: l.program.Name, hasOutbox: l.program.Outbox, ready: l.ready, required: &required{log: l.log},
	}
	config := l.settings.handlers
	config.Middleware = slices.Concat([]leveret.Middleware{l.facts.Watch, l.rt.required.watch}, config.Middleware, []leveret.Middleware{l.rt.used})
	l.rt.Handlers = leveret.NewHandlers(service, config)
	return nil
}

// setup calls the program's Setup.
func (l *life) setup(ctx context.Context) error {
	err := function{run: func(ctx context.Context) error { return l.program.Setup(ctx, l.rt) }}.call(ctx)
	l.rt.seal()
	l.opened = append(l.opened, l.rt.closers...)
	return saidOnce(err)
}

// complete makes the worker and the servers, and checks that Setup has registered what the service needs.
func (l *life) complete(ctx context.Context) (err error) {
	if err := l.rt.Handlers.Err(); err != nil {
		return fmt.Errorf("the handlers registered by Setup do not match the service %q: %w", l.program.Service.Name(), err)
	}
	if err := l.rt.unread(l.program.Service); err != nil {
		return err
	}
	for _, short := range forgets(l.rt.outbox, l.program.Service) {
		l.log.WarnContext(ctx, "the inbox keeps ids for less time than messages may take to come again", "kept", l.rt.outbox.Remembers(), "needed", short)
	}
	if l.consumes() {
		if l.worker, err = leveret.NewWorker(l.rt.Conn, l.rt.Handlers, l.settings.worker); err != nil {
			return exit(exitUsage, "%w", err)
		}
		l.rt.required.worker = l.worker
	}
	if err := errors.Join(l.rt.mistakes...); err != nil {
		return err
	}
	if err := l.listen(ctx); err != nil {
		return err
	}
	if !l.consumes() && len(l.rt.servers)+len(l.rt.beside)+len(l.servers) == 0 {
		return l.nothingToDo()
	}
	return nil
}

// answerOperators answers what operators ask about the worker and the outbox. Like a caller that gives up, they reach it through a queue
// of its own. Where its user may not declare that, they are not answered.
func (l *life) answerOperators(ctx context.Context) error {
	conn := l.settings.conn
	err := operator.Serve(ctx, l.rt.Conn, operator.Config{
		Service: l.program.Service, Instance: conn.Instance, Version: conn.Version, Facts: &l.facts, Logger: l.log,
		NoDeclare: conn.NoDeclare, Outbox: l.rt.outboxReport, Commands: outboxCommands(l.rt.outbox, l.program.Service),
	})
	if ctx.Err() == nil { // the connection was closed: the worker says so
		<-ctx.Done()
	}
	return err
}

// consumes reports whether the service consumes any queues.
func (l *life) consumes() bool { return len(l.program.Service.WorkQueues(l.rt.Conn.Names())) > 0 }

// down closes everything that was opened, in reverse order. It returns the errors of what the program itself
// registered, and logs the others.
func (l *life) down(ctx context.Context) error {
	var errs []error
	for _, c := range slices.Backward(l.opened) {
		err := c.run(ctx)
		if err == nil {
			continue
		}
		err = fmt.Errorf("close %s: %w", c.name, err)
		if c.own {
			errs = append(errs, err)
		} else {
			l.log.WarnContext(ctx, "not closed cleanly", "error", err)
		}
	}
	return errors.Join(errs...)
}

// run calls close with a time limit.
func (c closer) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- function{run: c.close}.call(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(closeLimit + time.Second):
		return fmt.Errorf("not done within %v, and abandoned", closeLimit)
	}
}

// reason returns why ctx ended.
func reason(ctx context.Context) string { return context.Cause(ctx).Error() }
