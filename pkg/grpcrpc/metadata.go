package grpcrpc

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// lower holds the names of package rpc as gRPC has them.
var lower = map[string]string{
	rpc.IdempotencyKey: "idempotency-key",
	rpc.Conversation:   "leveret-conversation-id",
	rpc.Causation:      "leveret-causation-id",
	rpc.AppID:          "leveret-app-id",
	rpc.Headers:        "leveret-headers",
	rpc.AnsweredBy:     "leveret-answered-by",
}

func nameIn(md string) string {
	if name, ok := lower[md]; ok {
		return name
	}
	return strings.ToLower(md)
}

// received returns the message that the metadata of an incoming call describes.
func received(ctx context.Context) (*leveret.Message, error) {
	md, _ := metadata.FromIncomingContext(ctx) // one copy costs less than a search for each name
	if n := len(md[nameIn(rpc.IdempotencyKey)]); n > 1 {
		return nil, leveret.Errorf(leveret.InvalidArgument, "%s is given %d times; it identifies one request", rpc.IdempotencyKey, n)
	}
	return rpc.Read(func(name string) string {
		if values := md[nameIn(name)]; len(values) > 0 {
			return values[0]
		}
		return ""
	})
}

// outgoing adds the metadata of a message to an outgoing call.
func outgoing(ctx context.Context, m *leveret.Message, service string) (context.Context, error) {
	pairs := make([]string, 0, 4) // of most calls
	err := rpc.Write(m, service, func(name, value string) { pairs = append(pairs, nameIn(name), value) })
	return metadata.AppendToOutgoingContext(ctx, pairs...), err
}

// headers lets a propagator read the trace in a message's headers.
type headers map[string]any

// Get returns a header. A baggage that cannot be read is left out, since the propagator would log each one.
func (h headers) Get(key string) string {
	value, _ := h[key].(string)
	if key == "baggage" && value != "" {
		if _, err := baggage.Parse(value); err != nil {
			return ""
		}
	}
	return value
}

// Set is never called: headers are only read.
func (h headers) Set(string, string) {}

// Keys is never called: the W3C propagators know their keys.
func (h headers) Keys() []string { return nil }

// w3c reads a trace and its baggage.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// traced puts the trace that a received message carries into ctx, unless there is a span in ctx already: that of the
// instrumentation, which belongs to the same trace.
func traced(ctx context.Context, m *leveret.Message) context.Context {
	switch {
	case len(m.Headers) == 0:
		return ctx
	case trace.SpanContextFromContext(ctx).IsValid():
		return propagation.Baggage{}.Extract(ctx, headers(m.Headers))
	default:
		return w3c.Extract(ctx, headers(m.Headers))
	}
}
