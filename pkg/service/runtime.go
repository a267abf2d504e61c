package service

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Runtime is what a program finds when its Setup is called: everything is configured and connected. Its fields must not
// be changed. Its methods are for Setup and the goroutines that Setup waits for; after Setup they panic.
type Runtime struct {
	// Config is what every program is configured by. For the program's own keys, see [Runtime.Decode].
	Config config.Config
	// Logger adds the ids of the message that a context belongs to.
	Logger *slog.Logger
	Conn   *leveret.Conn
	// Client sends what the service declared.
	Client *leveret.Client
	// Handlers takes the handlers of what the service declared. A worker serves them once Setup has returned.
	Handlers *leveret.Handlers

	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	Propagator     propagation.TextMapPropagator

	// DataDir is the folder for the service's files. It exists, unless it is the default one and cannot be made: then the
	// log says so, and a service without files does without.
	DataDir string
	// DatabasePath is the SQLite file for the service's state: what database.url says, else <service>.db in DataDir. For
	// its folder the same holds.
	DatabasePath string

	loaded *config.Loaded
	ready  *readiness

	mu         sync.Mutex
	sealed     bool
	middleware []leveret.Middleware
	beside     []function
	edges      []function
	closers    []closer
}

// function is what runs beside the worker.
type function struct {
	name string
	run  func(context.Context) error
}

// Decode reads the program's own keys of a section into a struct with `config:"…"` tags: see [config.Loaded.Decode].
func (rt *Runtime) Decode(section string, into any) error { return rt.loaded.Decode(section, into) }

// Use puts middleware around every handler, the first outermost, inside of Program.Handlers.Middleware. For middleware that
// needs what Setup opens; call it in Setup.
func (rt *Runtime) Use(middleware ...leveret.Middleware) {
	rt.change("Use", func() { rt.middleware = append(rt.middleware, middleware...) })
}

// Go runs run beside the worker, once Setup has returned. Its ctx ends when the worker has drained, so that what runs here
// still serves handlers until the last of them is done. Where run returns before that, with an error or without, the
// program ends; a run that may end early blocks on ctx. Call it in Setup.
//
// On the way down run has worker.drain_timeout to return; one that does not is left behind, and the exit code is 1.
func (rt *Runtime) Go(name string, run func(ctx context.Context) error) {
	rt.change("Go", func() { rt.beside = append(rt.beside, function{name, run}) })
}

// Edge is Go for what brings work in, an HTTP server for instance: its ctx ends first, at the very beginning of the way
// down, and the worker drains when run has returned. Call it in Setup.
func (rt *Runtime) Edge(name string, run func(ctx context.Context) error) {
	rt.change("Edge", func() { rt.edges = append(rt.edges, function{name, run}) })
}

// Close registers what is closed on the way down, after worker and Go, the last one first; also where Setup fails. Each
// has ten seconds. Call it in Setup.
func (rt *Runtime) Close(name string, end func() error) {
	rt.change("Close", func() {
		rt.closers = append(rt.closers, closer{name: name, own: true, close: func(context.Context) error { return end() }})
	})
}

// Ready adds a check to /readyz: nil, or why the program is not ready. It is called by many goroutines at once and must
// answer at once. Call it in Setup.
func (rt *Runtime) Ready(name string, check func() error) {
	rt.change("Ready", func() { rt.ready.add(name, check) })
}

// change takes what Setup registers.
func (rt *Runtime) change(method string, do func()) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.sealed {
		panic(fmt.Sprintf("service: Runtime.%s is for Setup, which has returned", method))
	}
	do()
}

// seal ends what Setup may register.
func (rt *Runtime) seal() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.sealed = true
}

// used is the middleware that puts those of Use around a handler. Handlers are registered while Setup runs, which may call
// Use later; so the chain is made with the first message.
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
