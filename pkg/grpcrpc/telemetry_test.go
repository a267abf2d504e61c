package grpcrpc_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/baggage"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// The caller's trace and baggage go on in the handler, with instrumentation and without.
func TestTraceTravels(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	for _, instrumented := range []bool{false, true} {
		var serverConfig grpcrpc.ServerConfig
		var config grpcrpc.CallerConfig
		reader := sdkmetric.NewManualReader()
		meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
		if instrumented {
			serverConfig = grpcrpc.ServerConfig{TracerProvider: provider, MeterProvider: meters}
			config = grpcrpc.CallerConfig{TracerProvider: provider, MeterProvider: meters}
		}
		k := newKitchen()
		var there trace.SpanContext
		var parent any
		var tenant string
		config.Addresses = []string{k.start(t, func(ctx context.Context, q question) (question, error) {
			there, tenant = trace.SpanContextFromContext(ctx), baggage.FromContext(ctx).Member("tenant").Value()
			parent = leveret.MessageFrom(ctx).Headers["traceparent"]
			return echo(ctx, q)
		}, serverConfig)}
		c := k.callerOf(t, config)
		member, err := baggage.NewMember("tenant", "blue")
		require.NoError(t, err)
		carried, err := baggage.New(member)
		require.NoError(t, err)
		ctx, here := provider.Tracer("test").Start(baggage.ContextWithBaggage(t.Context(), carried), "here")
		_, _, err = k.call(ctx, c, question{})
		here.End()
		require.NoError(t, err)
		require.Equal(t, here.SpanContext().TraceID(), there.TraceID())
		require.Equal(t, instrumented, there.SpanID() != here.SpanContext().SpanID())
		require.NotEmpty(t, parent)
		require.Equal(t, "blue", tenant)

		// A message that carries a trace of its own, such as one that is replayed, stays in it.
		const own = "0af7651916cd43dd8448eb211c80319c"
		_, _, err = k.call(ctx, c, question{}, leveret.Header("traceparent", "00-"+own+"-b7ad6b7169203331-01"))
		require.NoError(t, err)
		require.Equal(t, own, there.TraceID().String())

		var metrics metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &metrics))
		require.Equal(t, instrumented, len(metrics.ScopeMetrics) > 0)
	}
	kinds := make(map[trace.SpanKind]int)
	for _, span := range recorder.Ended() {
		kinds[span.SpanKind()]++
	}
	require.Equal(t, 2, kinds[trace.SpanKindClient])
}

// Callers cannot make up metrics: gRPC reports only the calls of methods that exist.
func TestTelemetryOfUnknownMethods(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	reader := sdkmetric.NewManualReader()
	k := newKitchen()
	address := k.start(t, echo, grpcrpc.ServerConfig{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)), MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	conn := foreign(t, address)
	for i := range 20 {
		err := conn.Invoke(t.Context(), fmt.Sprintf("/made.up.Service%d/Method", i), &healthv1.HealthCheckRequest{}, &healthv1.HealthCheckResponse{})
		require.Error(t, err)
	}
	_, _, err := k.call(t.Context(), k.caller(t, address), question{})
	require.NoError(t, err)
	var metrics metricdata.ResourceMetrics
	require.Eventually(t, func() bool { // the server's metric comes after its span, and that after the answer
		metrics = metricdata.ResourceMetrics{}
		return reader.Collect(t.Context(), &metrics) == nil && len(metrics.ScopeMetrics) > 0
	}, time.Minute, time.Millisecond)
	require.Len(t, spans.Ended(), 1)
	for _, m := range metrics.ScopeMetrics[0].Metrics {
		if data, ok := m.Data.(metricdata.Histogram[float64]); ok {
			require.Len(t, data.DataPoints, 1, m.Name)
		}
	}
}
