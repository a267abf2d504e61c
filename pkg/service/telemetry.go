package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// telemetry holds a program's OpenTelemetry providers. They are passed on explicitly and never set globally.
type telemetry struct {
	tracer     trace.TracerProvider
	meter      metric.MeterProvider
	propagator propagation.TextMapPropagator
	// metrics serves all metrics in Prometheus's format. It is nil if the health server is off.
	metrics http.Handler
	ends    []func(context.Context) error
}

// newTelemetry creates the providers. It does not block, because exporters connect only when they have data.
func newTelemetry(ctx context.Context, p Program, s settings, ready *readiness, log *slog.Logger) (*telemetry, error) {
	what, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", p.Service.Name()),
		attribute.String("service.version", p.Version),
		attribute.String("service.instance.id", s.conn.Instance),
	), resource.WithFromEnv())
	if err != nil {
		log.WarnContext(ctx, "OTEL_RESOURCE_ATTRIBUTES is partly invalid", "error", err)
	}
	t := &telemetry{
		meter:      noopmetric.NewMeterProvider(),
		propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	}
	if err := t.trace(ctx, what, s.otlpEndpoint, log); err != nil {
		return nil, err
	}
	if s.healthOff() {
		return t, nil
	}
	if err := t.measure(what, log); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return t, t.measureReadiness(ready)
}

// trace sends spans to a collector if one is configured, by its key or by OpenTelemetry's own variables.
func (t *telemetry) trace(ctx context.Context, what *resource.Resource, endpoint string, log *slog.Logger) error {
	var options []otlptracehttp.Option
	switch {
	case endpoint != "":
		u, err := tracesURL(endpoint)
		if err != nil {
			return exit(exitUsage, "telemetry.otlp_endpoint: %w", err)
		}
		options = append(options, otlptracehttp.WithEndpointURL(u))
	case os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "":
		t.tracer = newTraceIDs()
		return nil
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return exit(exitUsage, "telemetry.otlp_endpoint: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(loggedExporter{exporter, log}), sdktrace.WithResource(what),
		sdktrace.WithRawSpanLimits(spanLimits()))
	t.tracer, t.ends = provider, append(t.ends, provider.Shutdown)
	return nil
}

// spanLimits are OpenTelemetry's, but for the length of texts, which by default has none.
func spanLimits() sdktrace.SpanLimits {
	limits := sdktrace.NewSpanLimits() // with those of the environment
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = maxValue
	}
	return limits
}

// tracesURL returns the URL for traces: the endpoint with OpenTelemetry's standard path, unless it has that path
// already.
func tracesURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", errors.New("it is not a URL")
	}
	if !strings.HasSuffix(u.Path, "/v1/traces") {
		u = u.JoinPath("v1", "traces")
	}
	return u.String(), nil
}

// measure collects metrics for Prometheus in the program's own registry.
func (t *telemetry) measure(what *resource.Resource, log *slog.Logger) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return err
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(what))
	t.meter, t.ends = provider, append(t.ends, provider.Shutdown)
	t.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError,
	})
	return nil
}

// measureReadiness exports readiness as a metric.
func (t *telemetry) measureReadiness(ready *readiness) error {
	_, err := t.meter.Meter(scope).Int64ObservableGauge("leveret.service.ready",
		metric.WithDescription("1 if /readyz reports that the program is ready, else 0."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			var is int64
			if ready.report().ready {
				is = 1
			}
			o.Observe(is)
			return nil
		}))
	return err
}

const scope = "github.com/leveretmq/leveret/pkg/service"

// close exports what is left, until ctx ends.
func (t *telemetry) close(ctx context.Context) error {
	var errs []error
	for _, end := range t.ends {
		errs = append(errs, end(ctx))
	}
	return errors.Join(errs...)
}

// loggedExporter logs when spans are lost, which OpenTelemetry's global error handler would report otherwise. It exports
// texts in UTF-8: a collector refuses all spans of a batch in which one text is not.
type loggedExporter struct {
	sdktrace.SpanExporter

	log *slog.Logger
}

// ExportSpans implements sdktrace.SpanExporter.
func (e loggedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	readable := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		readable[i] = readableSpan{s}
	}
	if err := e.SpanExporter.ExportSpans(ctx, readable); err != nil {
		e.log.WarnContext(context.WithoutCancel(ctx), "spans were not exported; they are lost", "spans", len(spans), "error", err)
	}
	return nil
}
