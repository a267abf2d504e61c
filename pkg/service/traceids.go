package service

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
)

// traceIDs is a tracer provider for programs whose spans go nowhere. Its spans have ids and record nothing: so a message
// has a trace id from its first sender on, logs of all services share it, and those services that do export have whole
// traces. The SDK without an exporter would do the same for three times the time and twice the memory, since it records
// what nobody reads: 7.5 µs and 6 KB for a message sent and handled, against 2.3 µs and 2.6 KB.
type traceIDs struct {
	embedded.TracerProvider

	roots *sdktrace.TracerProvider
}

func newTraceIDs() *traceIDs { return &traceIDs{roots: sdktrace.NewTracerProvider()} }

// Tracer implements trace.TracerProvider.
func (p *traceIDs) Tracer(name string, options ...trace.TracerOption) trace.Tracer {
	return &tracerOfIDs{roots: p.roots.Tracer(name, options...)}
}

type tracerOfIDs struct {
	embedded.Tracer

	// roots begins traces: it decides, by OTEL_TRACES_SAMPLER, whether the services that export should.
	roots trace.Tracer
}

// Start implements trace.Tracer.
func (t *tracerOfIDs) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	span := trace.SpanContextFromContext(ctx)
	if config := trace.NewSpanStartConfig(options...); config.NewRoot() || !span.HasTraceID() {
		_, root := t.roots.Start(context.Background(), name) // of ctx, nothing is wanted
		span = root.SpanContext()
	} else {
		span = span.WithSpanID(newSpanID()).WithRemote(false)
	}
	ctx = trace.ContextWithSpanContext(ctx, span)
	return ctx, trace.SpanFromContext(ctx)
}

func newSpanID() (id trace.SpanID) {
	binary.NativeEndian.PutUint64(id[:], max(rand.Uint64(), 1)) // all zeros is no id
	return id
}
