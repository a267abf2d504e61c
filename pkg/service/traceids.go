package service

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
)

// traceIDs is a tracer provider for programs that export no spans. Its spans have ids but record nothing. Thus a
// message has a trace id from its first sender on, the logs of all services share it, and services that do export spans
// produce complete traces. The SDK without an exporter would do the same but records what nobody reads: for a message
// sent and handled it takes 7.5 µs and 6 KB, instead of 2.3 µs and 2.6 KB.
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

	// roots starts traces. By OTEL_TRACES_SAMPLER, it decides whether the services that export spans should sample them.
	roots trace.Tracer
}

// Start implements trace.Tracer.
func (t *tracerOfIDs) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	span := trace.SpanContextFromContext(ctx)
	if config := trace.NewSpanStartConfig(options...); config.NewRoot() || !span.HasTraceID() {
		_, root := t.roots.Start(context.Background(), name) // a root span inherits nothing from ctx
		span = root.SpanContext()
	} else {
		span = span.WithSpanID(newSpanID()).WithRemote(false)
	}
	ctx = trace.ContextWithSpanContext(ctx, span)
	return ctx, trace.SpanFromContext(ctx)
}

func newSpanID() (id trace.SpanID) {
	binary.NativeEndian.PutUint64(id[:], max(rand.Uint64(), 1)) // zero is not a valid id
	return id
}
