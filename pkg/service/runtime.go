package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/stream"
)

// A Runtime is passed to a program's Setup. Everything in it is configured, and connected to the broker unless the
// program has an http.address or a grpc.address: then Setup does not wait for the broker, but what Setup sends does. Do
// not change its fields. Its methods may be called only by Setup and the goroutines that Setup waits for; after Setup
// has returned, they panic.
type Runtime struct {
	// Config holds the settings common to all programs. For the program's own keys, see [Runtime.Decode].
	Config config.Config
	// Logger adds the ids of the message in a record's context.
	Logger *slog.Logger
	Conn   *leveret.Conn
	// Client sends what the service declares.
	Client *leveret.Client
	// Handlers takes the handlers of what the service declared. A worker serves them once Setup has returned.
	Handlers *leveret.Handlers

	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	Propagator     propagation.TextMapPropagator

	// ServerTLS is for servers: it presents tls.cert_file and, if tls.ca_file is set, requires clients to have a
	// certificate of its authorities. It is nil if tls.cert_file is not set. ServeHTTP and ServeGRPC apply it themselves.
	ServerTLS *tls.Config
	// ClientTLS is for calls to other services: it trusts tls.ca_file and presents tls.cert_file. It is nil if the
	// section tls is not set. Both configurations read a certificate again when its file has changed.
	ClientTLS *tls.Config

	// DataDir is the folder for the service's files. It exists, unless it is the default folder and could not be created,
	// which is logged.
	DataDir string
	// DatabaseSource is where the service's state is, as database.url says: the path of a SQLite file, by default
	// <service>.db in DataDir, whose folder exists under the same condition as DataDir; or the URL of a PostgreSQL database,
	// which may contain a password. See [config.Config.DatabaseSource].
	DatabaseSource string

	loaded    *config.Loaded
	service   *leveret.Service
	program   string
	hasOutbox bool
	ready     *readiness
	required  *required

	mu         sync.Mutex
	sealed     bool
	middleware []leveret.Middleware
	beside     []function
	projected  []*stream.Projection
	outbox     *outbox.Outbox
	servers    []function
	closers    []closer
	http       http.Handler
	grpc       GRPCServer
	mistakes   []error
}

// function is a named function that runs alongside the worker.
type function struct {
	name string
	run  func(context.Context) error
}

// Decode reads the program's own keys of a section into a struct with `config:"…"` tags: see [config.Loaded.Decode].
func (rt *Runtime) Decode(section string, into any) error { return rt.loaded.Decode(section, into) }

// Use wraps every handler of rt.Handlers in middleware, the first being the outermost, but inside
// Program.Handlers.Middleware. It is meant for middleware that depends on what Setup opens.
func (rt *Runtime) Use(middleware ...leveret.Middleware) {
	rt.change("Use", func() { rt.middleware = append(rt.middleware, middleware...) })
}

// Go runs a function alongside the worker, once Setup has returned. Its ctx ends after the worker has drained, so that
// handlers can rely on it until the last of them is done. If run returns before that, with an error or without, the
// program shuts down; a function that is done early must wait for ctx.
//
// On shutdown, run has worker.drain_timeout to return. If it does not, it is abandoned and the exit code is 1.
func (rt *Runtime) Go(name string, run func(ctx context.Context) error) {
	rt.change("Go", func() { rt.beside = append(rt.beside, function{name, run}) })
}

// Project runs a projection alongside the worker, once Setup has returned. If it stands still, the program stays ready:
// what it serves from the projection's tables gets old, but other processes would stand still as well. /readyz has a line
// for it, which does not count. The program's command "projection" shows it, and builds it again. For each event that the
// service reads, one must be registered that reads it.
func (rt *Runtime) Project(p *stream.Projection) {
	rt.change("Project", func() {
		if slices.ContainsFunc(rt.projected, func(other *stream.Projection) bool { return other.Name() == p.Name() }) {
			rt.mistakes = append(rt.mistakes, fmt.Errorf("Setup called Project with two projections named %q", p.Name()))
		}
		rt.mistakes = append(rt.mistakes, p.Err())
		rt.projected = append(rt.projected, p)
		rt.beside = append(rt.beside, function{"projection " + p.Name(), p.Run})
		rt.ready.note(part{name: "projection " + p.Name(), ask: p.Ready})
	})
}

// Relay sends the messages of an outbox with rt.Client, alongside the worker, once Setup has returned. Where some cannot be
// sent, the program stays ready; /readyz has a line for it, which does not count. The program's command "outbox" shows them, and
// decides about them. The program needs Program.Outbox for it.
func (rt *Runtime) Relay(o *outbox.Outbox) {
	rt.change("Relay", func() {
		switch {
		case rt.outbox != nil:
			rt.mistakes = append(rt.mistakes, errors.New("Setup called Relay twice"))
		case !rt.hasOutbox:
			rt.mistakes = append(rt.mistakes, errors.New("Setup called Relay: set Program.Outbox, so that the program has the command \"outbox\""))
		}
		rt.outbox = o
		rt.beside = append(rt.beside, function{"outbox", func(ctx context.Context) error { return o.Relay(ctx, rt.service, rt.Client) }})
		rt.ready.note(part{name: "outbox", ask: o.Ready})
	})
}

// outboxReport returns what operators are told of the outbox; nil where there is none. Where something waits, that may be over
// since the relay looked last, so it looks again.
func (rt *Runtime) outboxReport(ctx context.Context) *operator.Outbox {
	if rt.outbox == nil {
		return nil
	}
	s, known := rt.outbox.Last()
	if !known || len(s.Trouble)+s.Counts[outbox.Ready]+s.Counts[outbox.Aside] > 0 {
		now, err := rt.outbox.Status(ctx)
		switch {
		case err == nil:
			s = now
		case !known:
			return &operator.Outbox{Program: rt.program, Unseen: oneLine(err.Error())}
		}
	}
	return &operator.Outbox{
		Program: rt.program,
		Ready:   s.Counts[outbox.Ready], Later: s.Counts[outbox.Later], Blocked: s.Counts[outbox.Blocked], Aside: s.Counts[outbox.Aside],
		BlockedKeys: s.BlockedKeys, Lag: s.Lag.Seconds(), Trouble: s.Trouble, Remembers: s.Remembers.Seconds(),
	}
}

// unread returns an error for each event that the service reads, and no projection does.
func (rt *Runtime) unread(s *leveret.Service) error {
	read := map[leveret.Contract]bool{}
	for _, p := range rt.projected {
		for _, e := range p.Events() {
			read[e] = true
		}
	}
	var errs []error
	for _, e := range s.Contracts(leveret.RoleReads) {
		if !read[e] {
			errs = append(errs, fmt.Errorf("%w: the service %q reads %s, but Setup registers no projection that does: call stream.On and Runtime.Project",
				leveret.ErrUndeclared, s.Name(), e.Spec().Name))
		}
	}
	return errors.Join(errs...)
}

// Serve is like Go, but for functions that bring work in, such as a server of another protocol. On shutdown, its ctx is
// the first to end, and the worker drains only after run has returned.
func (rt *Runtime) Serve(name string, run func(ctx context.Context) error) {
	rt.change("Serve", func() { rt.servers = append(rt.servers, function{name, run}) })
}

// ServeHTTP serves over HTTP/1.1 and HTTP/2 at http.address, once Setup has returned, with the limits of the section
// http. If that is off, nothing is served over HTTP. It serves while the broker is away, too.
//
// On shutdown, answers over HTTP/1.1 ask their clients to connect elsewhere. If there are connections, this goes on for
// 0.6 s, in the second half of which no new one is accepted. Requests that are being handled then have the rest of
// worker.drain_timeout to be answered, after which their contexts end and their connections are cut. The worker drains
// after that.
func (rt *Runtime) ServeHTTP(handler http.Handler) {
	rt.change("ServeHTTP", func() {
		if rt.http != nil {
			rt.mistakes = append(rt.mistakes, errors.New("Setup called ServeHTTP twice; use an http.ServeMux"))
		}
		rt.http = handler
	})
}

// ServeGRPC is like ServeHTTP, but for a *grpc.Server, at grpc.address. TLS is applied to its connections: make the
// server without credentials, and with grpc.WaitForHandlers(true), so that no handler is left when the store is closed.
func (rt *Runtime) ServeGRPC(server GRPCServer) {
	rt.change("ServeGRPC", func() {
		if rt.grpc != nil {
			rt.mistakes = append(rt.mistakes, errors.New("Setup called ServeGRPC twice; register all services with one server"))
		}
		rt.grpc = server
	})
}

// Close registers a function to call on shutdown, after the worker and the functions of Go have ended, even if Setup
// fails. Functions are called in reverse order; each has ten seconds.
func (rt *Runtime) Close(name string, end func() error) {
	rt.change("Close", func() {
		rt.closers = append(rt.closers, closer{name: name, own: true, close: func(context.Context) error { return end() }})
	})
}

// Ready adds a check to /readyz, of something that the program cannot work without. The check returns nil, or why the
// program is not ready. It must be safe for concurrent use and return quickly.
func (rt *Runtime) Ready(name string, check func() error) {
	rt.change("Ready", func() { rt.ready.add(name, check) })
}

// Required is like Ready, but for what no message can be handled without, such as a store that can be written. While
// the check fails, the worker takes no messages: it leaves them in their queues, and puts those back whose handlers fail
// meanwhile. HTTP and gRPC requests are still handled.
//
// The check is made before the worker starts, then every five seconds, every second while it fails, and at once after a
// handler has failed, unless the error's code says that the message or the caller is to blame. Its ctx ends after 15
// seconds. One that does not return then has failed, and is not called again before it has returned.
func (rt *Runtime) Required(name string, check func(ctx context.Context) error) {
	rt.change("Required", func() {
		c := &requirement{name: name, check: check}
		rt.required.checks = append(rt.required.checks, c)
		rt.ready.add(name, c.last)
	})
}

// change registers something, unless Setup has returned.
func (rt *Runtime) change(method string, do func()) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.sealed {
		panic(fmt.Sprintf("service: Runtime.%s is for Setup, which has returned", method))
	}
	do()
}

// seal ends registration.
func (rt *Runtime) seal() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.sealed = true
}

// used applies the middleware of Use to a handler. It builds the chain when the first message arrives, because Setup
// may call Use after registering handlers.
func (rt *Runtime) used(next leveret.Handler) leveret.Handler {
	chain := sync.OnceValue(func() leveret.Handler {
		rt.mu.Lock()
		defer rt.mu.Unlock()
		h := next
		for _, m := range slices.Backward(rt.middleware) {
			h = m(h)
		}
		return h
	})
	return func(ctx context.Context, m *leveret.Message) error { return chain()(ctx, m) }
}
