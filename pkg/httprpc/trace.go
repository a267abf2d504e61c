package httprpc

import (
	"context"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
)

// w3c carries a trace and its baggage as the W3C has them. A baggage that cannot be read is none; OpenTelemetry's own
// propagator would write of it to the standard error, for every request.
type w3c struct{}

func (w3c) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	propagation.TraceContext{}.Inject(ctx, carrier)
	propagation.Baggage{}.Inject(ctx, carrier)
}

func (w3c) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	ctx = propagation.TraceContext{}.Extract(ctx, carrier)
	if value := carrier.Get("baggage"); value != "" {
		if b, err := baggage.Parse(value); err == nil {
			ctx = baggage.ContextWithBaggage(ctx, b)
		}
	}
	return ctx
}

func (w3c) Fields() []string { return []string{"traceparent", "tracestate", "baggage"} }
