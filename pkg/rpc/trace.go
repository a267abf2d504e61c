package rpc

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// InItsTrace returns the context in which an instrumented caller sends a message: ctx, or, where the message carries
// another trace than that of ctx, one in which that trace goes on. A message that is replayed, for instance, stays in
// the trace in which it was made.
func InItsTrace(ctx context.Context, m *leveret.Message) context.Context {
	parent, _ := m.Headers["traceparent"].(string)
	if parent == "" {
		return ctx
	}
	state, _ := m.Headers["tracestate"].(string)
	carrier := propagation.MapCarrier{"traceparent": parent, "tracestate": state}
	carried := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	if !carried.IsValid() || carried.TraceID() == trace.SpanContextFromContext(ctx).TraceID() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, carried)
}
