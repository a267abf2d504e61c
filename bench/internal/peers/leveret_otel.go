package peers

import (
	"context"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// leveretOtel is Leveret with OpenTelemetry's SDK behind it: every message in metrics, and in a span that is recorded
// on both sides and handed to an exporter in batches.
func leveretOtel() Peer {
	f := flavour(func(c *leveret.ConnConfig) {
		c.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
		c.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithBatcher(discarded{}))
	})
	return f.peer(Peer{
		Name: Telemetry, Module: leveretModule, With: "go.opentelemetry.io/otel/sdk", Variant: true,
		About: "The same with OpenTelemetry's SDK: metrics, and a span for each message on each side, all of them sampled. Measured in a few scenarios.",
	})
}

// discarded is an exporter to nowhere.
type discarded struct{}

func (discarded) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discarded) Shutdown(context.Context) error                             { return nil }
