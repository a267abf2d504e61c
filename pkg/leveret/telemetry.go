package leveret

import (
	"context"
	"errors"
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

const scope = "github.com/leveretmq/leveret"

// telemetry is OpenTelemetry's part: names and attributes follow its conventions for messaging, ours begin with "leveret".
type telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	meter      metric.Meter

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
		tracer:     config.TracerProvider.Tracer(scope),
		meter:      config.MeterProvider.Meter(scope),
		propagator: config.Propagator,
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
		metric.WithDescription("What became of received messages: ack, retry, dead_letter, discard, requeue, expired."))
	t.redelivered, errs[5] = t.meter.Int64Counter("leveret.redelivered.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Messages that the broker had delivered before to a worker that did not settle them."))
	t.late, errs[6] = t.meter.Int64Counter("leveret.late.replies", metric.WithUnit("{message}"),
		metric.WithDescription("Replies that nobody waited for any more."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, Errorf(InvalidArgument, "the meter provider refuses an instrument: %w", err)
	}
	return t, nil
}

// observe reports what a connection knows of itself.
func (t *telemetry) observe(c *Conn) error {
	// Which one it is of several may change, and attributes are made once.
	address, _ := c.Server()
	if u, err := url.Parse(address); err == nil && len(c.config.URLs) == 1 {
		t.server = append(t.server, attribute.String("server.address", u.Hostname()))
		if port, err := strconv.Atoi(u.Port()); err == nil {
			t.server = append(t.server, attribute.Int("server.port", port))
		}
	}
	up, err := t.meter.Int64ObservableGauge("leveret.connection.up", metric.WithDescription("1 while connected and not blocked."))
	if err != nil {
		return err
	}
	lost, err := t.meter.Int64ObservableCounter("leveret.connection.lost", metric.WithDescription("How often the connection was lost."))
	if err != nil {
		return err
	}
	mismatches, err := t.meter.Int64ObservableCounter("leveret.topology.mismatches",
		metric.WithDescription("Declarations that the broker refused, because something exists otherwise or may not be declared."))
	if err != nil {
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
		o.ObserveInt64(mismatches, c.declarer.Mismatches()+c.exclusive.Mismatches())
		return nil
	}, up, lost, mismatches)
	return err
}

func (t *telemetry) close() {
	if t.registration != nil {
		_ = t.registration.Unregister()
	}
}

func (t *telemetry) lateReply(*rabbit.Delivery) { t.late.Add(context.Background(), 1) }

// inject puts the trace and the baggage of ctx into headers.
func (t *telemetry) inject(ctx context.Context, headers rabbit.Table) {
	t.propagator.Inject(ctx, carrier(headers))
}

func (t *telemetry) extract(ctx context.Context, headers rabbit.Table) context.Context {
	return t.propagator.Extract(ctx, carrier(headers))
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
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

// signals are the names and attributes of one contract's spans and measurements, made once.
type signals struct {
	*telemetry
	span       string
	start      []trace.SpanStartOption
	attributes []attribute.KeyValue
	ok         metric.MeasurementOption
}

func (t *telemetry) signals(operation, kind, destination, routingKey string, spanKind trace.SpanKind) *signals {
	s := &signals{telemetry: t, span: operation + " " + destination}
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

// sending makes the signals of a contract's sender.
func (t *telemetry) sending(spec *Spec, exchange, routingKey string) *signals {
	if exchange == "" {
		exchange = "amq.default"
	}
	if spec.Kind == KindRequest {
		return t.signals("call", "send", exchange+":"+routingKey, routingKey, trace.SpanKindClient)
	}
	return t.signals("publish", "send", exchange+":"+routingKey, routingKey, trace.SpanKindProducer)
}

// processing makes the signals of a queue's worker.
func (t *telemetry) processing(exchange, routingKey, queue string) *signals {
	if exchange == "" {
		exchange = "amq.default"
	}
	destination := exchange + ":" + routingKey
	if queue != routingKey {
		destination += ":" + queue
	}
	return t.signals("process", "process", destination, routingKey, trace.SpanKindConsumer)
}

// with returns the measurement's attributes for an outcome.
func (s *signals) with(err error) metric.MeasurementOption {
	if err == nil {
		return s.ok
	}
	return metric.WithAttributes(append(slices.Clip(s.attributes),
		attribute.String("error.type", CodeOf(err).String()))...)
}

// end closes a span with its outcome.
func end(span trace.Span, m *Message, err error) {
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("messaging.message.id", m.ID),
			attribute.String("messaging.message.conversation_id", m.ConversationID),
			attribute.Int("messaging.message.body.size", len(m.Body)),
		)
		if err != nil {
			span.SetStatus(codes.Error, messageOf(err))
			span.SetAttributes(attribute.String("error.type", CodeOf(err).String()))
		}
	}
	span.End()
}

// observed is the middleware that measures what a client sends.
func (c *Client) observed(next Handler) Handler {
	return func(ctx context.Context, m *Message) error {
		s := c.routes[m.Contract].signals
		ctx, span := s.tracer.Start(ctx, s.span, s.start...)
		began := time.Now()
		err := next(ctx, m)
		option := s.with(err)
		s.operation.Record(ctx, time.Since(began).Seconds(), option)
		s.sent.Add(ctx, 1, option)
		end(span, m, err)
		return err
	}
}

// observed is the middleware that measures what a worker handles. The sender's span is a link, and the parent: a
// request's trace goes through, and a message that fans out still leads back.
func (s *signals) observed(next Handler) Handler {
	return func(ctx context.Context, m *Message) error {
		ctx = s.extract(ctx, m.Headers)
		options := s.start
		if sender := trace.SpanContextFromContext(ctx); sender.IsValid() {
			options = append(slices.Clip(options), trace.WithLinks(trace.Link{SpanContext: sender}))
		}
		ctx, span := s.tracer.Start(ctx, s.span, options...)
		began := time.Now()
		err := next(ctx, m)
		option := s.with(err)
		s.process.Record(ctx, time.Since(began).Seconds(), option)
		s.consumed.Add(ctx, 1, option)
		end(span, m, err)
		return err
	}
}
