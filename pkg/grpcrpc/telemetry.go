package grpcrpc

import (
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric"
	nometric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	notrace "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/stats"
)

// telemetry is OpenTelemetry's instrumentation of gRPC, without its use of global providers.
type telemetry struct {
	tracers trace.TracerProvider
	meters  metric.MeterProvider
}

func (t telemetry) wanted() bool { return t.tracers != nil || t.meters != nil }

func (t telemetry) server() stats.Handler { return otelgrpc.NewServerHandler(t.options()...) }
func (t telemetry) client() stats.Handler { return otelgrpc.NewClientHandler(t.options()...) }

func (t telemetry) options() []otelgrpc.Option {
	if t.tracers == nil {
		t.tracers = notrace.NewTracerProvider()
	}
	if t.meters == nil {
		t.meters = nometric.NewMeterProvider()
	}
	return []otelgrpc.Option{
		otelgrpc.WithTracerProvider(t.tracers), otelgrpc.WithMeterProvider(t.meters),
		otelgrpc.WithPropagators(propagation.TraceContext{}), // baggage travels with the message
	}
}
