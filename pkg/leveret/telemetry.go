package leveret

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	scope = "github.com/leveretmq/leveret"
	// defaultExchange is what the exchange without a name is called in spans, as in RabbitMQ's log.
	defaultExchange = "amq.default"
)

// telemetry is OpenTelemetry's part: names and attributes follow its conventions for messaging, ours begin with
// "leveret".
type telemetry struct {
	tracer trace.Tracer
	meter  metric.Meter

	operation   metric.Float64Histogram
	process     metric.Float64Histogram
	sent        metric.Int64Counter
	consumed    metric.Int64Counter
	verdicts    metric.Int64Counter
	redelivered metric.Int64Counter
	late        metric.Int64Counter

	server       []attribute.KeyValue
	registration metric.Registration
}

func newTelemetry(config ConnConfig) (*telemetry, error) {
	t := &telemetry{
		tracer: config.TracerProvider.Tracer(scope),
		meter:  config.MeterProvider.Meter(scope),
	}
	seconds := metric.WithUnit("s")
	buckets := metric.WithExplicitBucketBoundaries(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 300)
	var errs [7]error
	t.operation, errs[0] = t.meter.Float64Histogram("messaging.client.operation.duration", seconds, buckets,
		metric.WithDescription("How long a publish took until its confirm, or a call until its reply."))
	t.process, errs[1] = t.meter.Float64Histogram("messaging.process.duration", seconds, buckets,
		metric.WithDescription("How long a handler took."))
	t.sent, errs[2] = t.meter.Int64Counter("messaging.client.sent.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Messages sent."))
	t.consumed, errs[3] = t.meter.Int64Counter("messaging.client.consumed.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Messages received."))
	t.verdicts, errs[4] = t.meter.Int64Counter("leveret.verdicts", metric.WithUnit("{message}"),
		metric.WithDescription("What became of received messages: ack, retry, dead_letter, discard, requeue, expired, refused, forbidden, reject, dropped."))
	t.redelivered, errs[5] = t.meter.Int64Counter("leveret.redelivered.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Messages that the broker had delivered before to a worker that did not settle them."))
	t.late, errs[6] = t.meter.Int64Counter("leveret.late.replies", metric.WithUnit("{message}"),
		metric.WithDescription("Replies that no caller waited for any more."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, Errorf(InvalidArgument, "the meter provider refuses an instrument: %w", err)
	}
	return t, nil
}

// observe reports the state of a connection.
func (t *telemetry) observe(c *Conn) error {
	// With several addresses it may change, and attributes are made once.
	address, _ := c.Broker()
	if u, err := url.Parse(address); err == nil && len(c.config.URLs) == 1 {
		t.server = append(t.server, attribute.String("server.address", u.Hostname()))
		if port, err := strconv.Atoi(u.Port()); err == nil {
			t.server = append(t.server, attribute.Int("server.port", port))
		}
	}
	up, err := t.meter.Int64ObservableGauge("leveret.connection.up", metric.WithDescription("1 while connected and not blocked."))
	lost, err2 := t.meter.Int64ObservableCounter("leveret.connection.lost", metric.WithDescription("How often the connection was lost."))
	mismatches, err3 := t.meter.Int64ObservableCounter("leveret.topology.mismatches",
		metric.WithDescription("Declarations that the broker refused, because something exists otherwise or may not be declared."))
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	t.registration, err = t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for purpose, conn := range map[string]*rabbit.Conn{"publish": c.publish, "consume": c.consume} {
			s := conn.State()
			which := metric.WithAttributes(attribute.String("leveret.connection", purpose))
			var connected int64
			if s.Phase == rabbit.Connected {
				connected = 1
			}
			o.ObserveInt64(up, connected, which)
			o.ObserveInt64(lost, int64(s.Lost), which)
		}
		o.ObserveInt64(mismatches, c.declarer.Mismatches())
		return nil
	}, up, lost, mismatches)
	return err
}

func (t *telemetry) lateReply(*rabbit.Delivery) { t.late.Add(context.Background(), 1) }

// w3c reads and writes a trace and its baggage as docs/wire.md has them.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// trace puts the trace and the baggage of ctx into a message that is being made, unless it carries a trace already.
func (m *Message) trace(ctx context.Context) {
	if _, carries := m.Headers["traceparent"]; carries {
		return
	}
	if trace.SpanContextFromContext(ctx).IsValid() || baggage.FromContext(ctx).Len() > 0 {
		w3c.Inject(ctx, carrier(m.ownHeaders()))
	}
}

// foreign returns the span in whose trace a message travels, where that trace is another than that of ctx, as in a
// relay; else an invalid one.
func (m *Message) foreign(ctx context.Context) trace.SpanContext {
	if _, carries := m.Headers["traceparent"]; carries {
		carried := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier(m.Headers)))
		if carried.TraceID() != trace.SpanContextFromContext(ctx).TraceID() {
			return carried
		}
	}
	return trace.SpanContext{}
}

// carrier lets a propagator read and write headers.
type carrier rabbit.Table

// Get returns a header; a baggage that cannot be read is none. The propagator would write of it to the standard error,
// for every message.
func (c carrier) Get(key string) string {
	value := wire.Text(rabbit.Table(c), key)
	if key == "baggage" && value != "" {
		if _, err := baggage.Parse(value); err != nil {
			return ""
		}
	}
	return value
}

func (c carrier) Set(key, value string) { c[key] = value }
func (c carrier) Keys() []string        { return slices.Collect(maps.Keys(c)) }

// signals are the names and attributes of one contract's spans and measurements, made once.
type signals struct {
	*telemetry
	span       string
	start      []trace.SpanStartOption
	attributes []attribute.KeyValue
	ok         metric.MeasurementOption
	duration   metric.Float64Histogram
	count      metric.Int64Counter
}

// signals makes the signals of a contract's sender; or, with a queue, of that queue's worker.
func (t *telemetry) signals(spec Spec, exchange, routingKey, queue string) *signals {
	s := &signals{telemetry: t, duration: t.operation, count: t.sent}
	spanKind, operation, kind := trace.SpanKindProducer, "publish", "send"
	destination := cmp.Or(exchange, defaultExchange) + ":" + routingKey
	switch {
	case queue != "":
		spanKind, operation, kind = trace.SpanKindConsumer, "process", "process"
		s.duration, s.count = t.process, t.consumed
		if queue != routingKey {
			destination += ":" + queue
		}
	case spec.Kind == KindRequest:
		spanKind, operation = trace.SpanKindClient, "call"
	}
	s.span = operation + " " + destination
	s.attributes = append([]attribute.KeyValue{
		attribute.String("messaging.system", "rabbitmq"),
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.operation.type", kind),
		attribute.String("messaging.destination.name", destination),
	}, t.server...)
	s.ok = metric.WithAttributeSet(attribute.NewSet(s.attributes...))
	s.start = []trace.SpanStartOption{
		trace.WithSpanKind(spanKind),
		trace.WithAttributes(s.attributes...),
		trace.WithAttributes(attribute.String("messaging.rabbitmq.destination.routing_key", routingKey)),
	}
	return s
}

// with returns the measurement's attributes for an outcome.
func (s *signals) with(err error) metric.MeasurementOption {
	if err == nil {
		return s.ok
	}
	return metric.WithAttributes(append(slices.Clip(s.attributes),
		attribute.String("error.type", CodeOf(err).String()))...)
}

// begin starts the span of an operation on a message, with a link to another span where that is valid. The function
// that it returns ends the span and measures the operation; its duration only if the operation took place. A message
// that is sent links to the trace that it keeps: see [Message.foreign].
func (s *signals) begin(ctx context.Context, m *Message, link trace.SpanContext) (context.Context, func(err error, tookPlace bool)) {
	options := s.start
	if link.IsValid() {
		options = append(slices.Clip(options), trace.WithLinks(trace.Link{SpanContext: link}))
	}
	ctx, span := s.tracer.Start(ctx, s.span, options...)
	began := time.Now()
	return ctx, func(err error, tookPlace bool) {
		option := s.with(err)
		if tookPlace {
			s.duration.Record(ctx, time.Since(began).Seconds(), option)
		}
		s.count.Add(ctx, 1, option)
		if span.IsRecording() {
			span.SetAttributes(
				attribute.String("messaging.message.id", wire.Cut(m.ID, maxShortString)), // in UTF-8, as OTLP wants it
				attribute.String("messaging.message.conversation_id", wire.Cut(m.ConversationID, maxShortString)),
				attribute.Int("messaging.message.body.size", len(m.Body)),
			)
			if err != nil {
				span.SetStatus(codes.Error, wire.Cut(messageOf(err), wire.MaxMessage))
				span.SetAttributes(attribute.String("error.type", CodeOf(err).String()))
			}
		}
		span.End()
	}
}

// beginProcessing is begin for a message that a worker received. The sender's span is a link, and the parent: a
// request's trace goes through, and a message that fans out still leads back.
func (s *signals) beginProcessing(ctx context.Context, m *Message) (context.Context, func(error, bool)) {
	ctx = w3c.Extract(ctx, carrier(m.Headers))
	return s.begin(ctx, m, trace.SpanContextFromContext(ctx))
}

// observed is the middleware that measures what a client sends.
func (c *Client) observed(next Handler) Handler {
	return func(ctx context.Context, m *Message) error {
		ctx, done := c.routes[m.Contract].signals.begin(ctx, m, m.foreign(ctx))
		err := next(ctx, m)
		done(err, true)
		return err
	}
}
