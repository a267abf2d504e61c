package httprpc

import (
	"context"
	"net/http"
	"slices"
	"strings"

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

// Limits of what telemetry and logs say of a request, in bytes.
const (
	maxAttribute = 255
	maxLogged    = 2 << 10
)

// observable returns a request as OpenTelemetry may see it. Its host is name: clients may make up hosts without end, and
// each would be a metric of its own. What spans quote is short and UTF-8, for otherwise a collector refuses all spans
// that are sent along.
func observable(r *http.Request, name string) *http.Request {
	seen := *r
	seen.Host = name
	for _, field := range [...]string{"User-Agent", "X-Forwarded-For"} {
		if value := r.Header.Get(field); value != cut(value, maxAttribute) {
			seen.Header = seen.Header.Clone()
			seen.Header.Set(field, cut(value, maxAttribute))
		}
	}
	return &seen
}

// cut shortens a text from outside to n bytes, and makes it UTF-8.
func cut(text string, n int) string { return strings.ToValidUTF8(text[:min(len(text), n)], "\ufffd") }

// spanName returns the pattern of a request's route, or its method until that is known.
func spanName(_ string, r *http.Request) string {
	switch {
	case r.Pattern != "":
		return r.Pattern
	case slices.Contains([]string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
	}, r.Method):
		return r.Method
	default: // as OpenTelemetry has it: methods may be made up
		return "HTTP"
	}
}
