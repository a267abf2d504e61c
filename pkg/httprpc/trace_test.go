package httprpc_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// tracing returns a provider of tracers, and what has been traced.
func tracing(t testing.TB) (trace.TracerProvider, *tracetest.InMemoryExporter) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.WithoutCancel(t.Context()))) })
	return provider, spans
}

const (
	someTrace = "0af7651916cd43dd8448eb211c80319c"
	incoming  = "00-" + someTrace + "-b7ad6b7169203331-01"
)

// Without OpenTelemetry the trace of the client goes through: what a handler sends is in it.
func TestTraceGoesThrough(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	var baggage any
	var seen trace.SpanContext
	event := leveret.NewEvent[nothing]("shop.shown")
	rec := &leverettest.Recorder{}
	s.do = func(ctx context.Context) error {
		seen = trace.SpanContextFromContext(ctx)
		baggage = leveret.MessageFrom(ctx).Headers["baggage"]
		return event.Publish(ctx, rec, nothing{})
	}
	a := ask(t, s.server(t, httprpc.ServerConfig{}), "GET /orders/7", "", "traceparent", incoming, "baggage", "tenant=blue")
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, someTrace, seen.TraceID().String())
	require.True(t, seen.IsRemote())
	require.Equal(t, "tenant=blue", baggage)
	sent := rec.Messages()[0]
	require.Contains(t, sent.Headers["traceparent"], someTrace)
	require.Equal(t, "tenant=blue", sent.Headers["baggage"])
}

// With it, a call has a span on either side, named after the pattern, in the trace of the caller.
func TestSpans(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	provider, spans := tracing(t)
	reader := sdkmetric.NewManualReader()
	server := s.server(t, httprpc.ServerConfig{TracerProvider: provider, MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	caller := newCaller(t, httprpc.CallerConfig{Service: s.caller, URLs: []string{server.URL}, TracerProvider: provider})
	ctx, root := provider.Tracer("test").Start(t.Context(), "root")
	_, err := s.show.Call(ctx, caller, order{OrderID: "7"})
	require.NoError(t, err)
	root.End()
	require.Eventually(t, func() bool { return len(spans.GetSpans()) == 3 }, waiting, tick)
	byKind := make(map[trace.SpanKind]tracetest.SpanStub)
	for _, span := range spans.GetSpans() {
		require.Equal(t, root.SpanContext().TraceID(), span.SpanContext.TraceID())
		byKind[span.SpanKind] = span
	}
	in, out := byKind[trace.SpanKindServer], byKind[trace.SpanKindClient]
	require.Equal(t, "GET /orders/{order_id}", in.Name)
	require.Equal(t, "GET /orders/{order_id}", out.Name)
	require.Equal(t, out.SpanContext.SpanID(), in.Parent.SpanID())
	require.Equal(t, root.SpanContext().SpanID(), out.Parent.SpanID())

	var metrics metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &metrics))
	require.NotEmpty(t, metrics.ScopeMetrics)
}

// Clients cannot make up metrics, nor spans that a collector refuses.
func TestTelemetryOfHostileRequests(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	provider, spans := tracing(t)
	reader := sdkmetric.NewManualReader()
	server := s.server(t, httprpc.ServerConfig{TracerProvider: provider, MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	const requests = 20
	for i := range requests {
		r, err := http.NewRequestWithContext(t.Context(), fmt.Sprintf("MADE-UP-%d", i%5), server.URL+"/orders/"+strings.Repeat("7", i), nil)
		require.NoError(t, err)
		r.Host = fmt.Sprintf("made-up-%d.example:%d", i, 1000+i)
		r.Header["User-Agent"], r.Header["X-Forwarded-For"] = []string{"\xff" + strings.Repeat("a", 10_000)}, []string{"\xff"}
		do(t, server, r)
	}
	a := ask(t, server, "GET /orders/%ff", "")
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	require.Contains(t, a.body, "the path is not UTF-8")
	require.Eventually(t, func() bool { return len(spans.GetSpans()) == requests }, waiting, tick)
	for _, span := range spans.GetSpans() {
		require.Equal(t, "/", span.Name) // the route of what no other matches
		for _, attribute := range span.Attributes {
			require.True(t, utf8.ValidString(attribute.Value.String()), attribute.Key)
			require.Less(t, len(attribute.Value.String()), 300, attribute.Key)
		}
	}
	var metrics metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &metrics))
	for _, m := range metrics.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Histogram[float64]:
			require.LessOrEqual(t, len(data.DataPoints), 2, m.Name)
		case metricdata.Histogram[int64]:
			require.LessOrEqual(t, len(data.DataPoints), 2, m.Name)
		default:
			require.Fail(t, m.Name)
		}
	}
}

// A message that carries another trace than its context keeps it.
func TestMessageKeepsItsTrace(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	traces := make(chan string, 1)
	s.do = func(ctx context.Context) error {
		traces <- trace.SpanContextFromContext(ctx).TraceID().String()
		return nil
	}
	server := s.server(t, httprpc.ServerConfig{})
	provider, _ := tracing(t)
	ctx, root := provider.Tracer("test").Start(t.Context(), "root")
	defer root.End()
	for _, config := range []httprpc.CallerConfig{{}, {TracerProvider: provider}} {
		config.Service, config.URLs = s.caller, []string{server.URL}
		caller := newCaller(t, config)
		_, err := s.ping.Call(ctx, caller, nothing{}, leveret.Header("traceparent", incoming))
		require.NoError(t, err)
		require.Equal(t, someTrace, <-traces)
		_, err = s.ping.Call(ctx, caller, nothing{})
		require.NoError(t, err)
		require.Equal(t, root.SpanContext().TraceID().String(), <-traces)
		_, err = s.ping.Call(ctx, caller, nothing{}, leveret.Header("traceparent", "no\ntrace"))
		require.NoError(t, err)
		require.Equal(t, root.SpanContext().TraceID().String(), <-traces)
	}
}
