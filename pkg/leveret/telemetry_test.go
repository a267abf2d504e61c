package leveret_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// meter collects measurements.
type meter struct {
	provider *sdkmetric.MeterProvider
	reader   *sdkmetric.ManualReader
}

func newMeter() *meter {
	reader := sdkmetric.NewManualReader()
	return &meter{sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), reader}
}

func (m *meter) collect(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, m.reader.Collect(t.Context(), &all))
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		for _, metric := range scope.Metrics {
			found[metric.Name] = metric
		}
	}
	return found
}

// sum returns what a counter has counted, whatever its attributes.
func (m *meter) sum(t *testing.T, name string) int64 {
	t.Helper()
	var n int64
	if s, ok := m.collect(t)[name].Data.(metricdata.Sum[int64]); ok {
		for _, p := range s.DataPoints {
			n += p.Value
		}
	}
	return n
}

// by returns what a counter has counted, by the value of one attribute.
func (m *meter) by(t *testing.T, name, key string) map[string]int64 {
	t.Helper()
	counted := map[string]int64{}
	if s, ok := m.collect(t)[name].Data.(metricdata.Sum[int64]); ok {
		for _, p := range s.DataPoints {
			v, _ := p.Attributes.Value(attribute.Key(key))
			counted[v.AsString()] += p.Value
		}
	}
	return counted
}

// attributes returns a span's attributes as text.
func attributes(span sdktrace.ReadOnlySpan) map[string]string {
	found := map[string]string{}
	for _, a := range span.Attributes() {
		found[string(a.Key)] = a.Value.String()
	}
	return found
}

// TestSpans: names, attributes, parents and links follow OpenTelemetry's conventions for messaging.
func TestSpans(t *testing.T) {
	t.Parallel()
	b := setup(t)
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	do, ask := leveret.NewCommand[thing]("a.do"), leveret.NewRequest[thing, answer]("b.ask", leveret.Timeout(patience))
	happened := leveret.NewEvent[thing]("a.happened")
	a := leveret.NewService("a", leveret.Handles(do), leveret.Publishes(happened), leveret.Calls(ask))
	other := leveret.NewService("b", leveret.SubscribesTo(happened), leveret.Answers(ask))
	conn := b.connect(leveret.ConnConfig{TracerProvider: provider})
	client := b.client(conn, a, leveret.ClientConfig{})
	carried := make(chan string, 9)
	wa := b.worker(conn, a, leveret.WorkerConfig{})
	do.Handle(wa.Handlers, func(ctx context.Context, v thing) error {
		if err := happened.Publish(ctx, client, v, leveret.MessageID("event")); err != nil {
			return err
		}
		_, err := ask.Call(ctx, client, v, leveret.MessageID("call"))
		return err
	})
	b.run(wa)
	wb := b.worker(conn, other, leveret.WorkerConfig{})
	happened.Subscribe(wb.Handlers, func(ctx context.Context, _ thing) error {
		carried <- baggage.FromContext(ctx).Member("tenant").Value() + " " + trace.SpanContextFromContext(ctx).TraceID().String()
		return nil
	})
	ask.Answer(wb.Handlers, func(context.Context, thing) (answer, error) { return answer{}, leveret.Errorf(leveret.NotFound, "no") })
	b.run(wb)

	foreign := b.peer()
	const traceID, senderID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	foreign.publish("commands", "a.do", amqp.Publishing{MessageId: "command", CorrelationId: "talk", Body: []byte(`{"n":1}`), Headers: amqp.Table{
		"traceparent": "00-" + traceID + "-" + senderID + "-01", "tracestate": "vendor=1", "baggage": "tenant=blue",
	}})
	require.Equal(t, "blue "+traceID, receive(t, carried))
	byName := map[string]sdktrace.ReadOnlySpan{}
	b.eventually(func() bool {
		for _, s := range spans.Ended() {
			byName[s.Name()] = s
		}
		return len(byName) == 5
	}, "five spans")
	u, err := url.Parse(b.url)
	require.NoError(t, err)
	common := func(more map[string]string) map[string]string {
		more["messaging.system"] = "rabbitmq"
		more["server.address"], more["server.port"] = u.Hostname(), u.Port()
		more["messaging.message.conversation_id"] = "talk"
		more["messaging.message.body.size"] = "7"
		return more
	}
	for name, want := range map[string]struct {
		kind       trace.SpanKind
		parent     string
		linked     bool
		status     codes.Code
		attributes map[string]string
	}{
		"process commands:a.do": {trace.SpanKindConsumer, senderID, true, codes.Error, map[string]string{
			"messaging.operation.name": "process", "messaging.operation.type": "process", "messaging.destination.name": "commands:a.do",
			"messaging.rabbitmq.destination.routing_key": "a.do", "messaging.message.id": "command", "error.type": "not_found",
		}},
		"publish events:a.happened": {trace.SpanKindProducer, "process commands:a.do", false, codes.Unset, map[string]string{
			"messaging.operation.name": "publish", "messaging.operation.type": "send", "messaging.destination.name": "events:a.happened",
			"messaging.rabbitmq.destination.routing_key": "a.happened", "messaging.message.id": "event",
		}},
		"process events:a.happened:b.on.a.happened": {trace.SpanKindConsumer, "publish events:a.happened", true, codes.Unset, map[string]string{
			"messaging.operation.name": "process", "messaging.operation.type": "process", "messaging.destination.name": "events:a.happened:b.on.a.happened",
			"messaging.rabbitmq.destination.routing_key": "a.happened", "messaging.message.id": "event",
		}},
		"call requests:b.ask": {trace.SpanKindClient, "process commands:a.do", false, codes.Error, map[string]string{
			"messaging.operation.name": "call", "messaging.operation.type": "send", "messaging.destination.name": "requests:b.ask",
			"messaging.rabbitmq.destination.routing_key": "b.ask", "messaging.message.id": "call", "error.type": "not_found",
		}},
		"process requests:b.ask": {trace.SpanKindConsumer, "call requests:b.ask", true, codes.Error, map[string]string{
			"messaging.operation.name": "process", "messaging.operation.type": "process", "messaging.destination.name": "requests:b.ask",
			"messaging.rabbitmq.destination.routing_key": "b.ask", "messaging.message.id": "call", "error.type": "not_found",
		}},
	} {
		span := byName[name]
		require.NotNil(t, span, "%s of %v", name, byName)
		require.Equal(t, want.kind, span.SpanKind(), name)
		require.Equal(t, traceID, span.SpanContext().TraceID().String(), name)
		require.Equal(t, "vendor=1", span.SpanContext().TraceState().String(), name)
		require.Equal(t, want.status, span.Status().Code, name)
		parent := want.parent
		if p, ok := byName[parent]; ok {
			parent = p.SpanContext().SpanID().String()
		}
		require.Equal(t, parent, span.Parent().SpanID().String(), name)
		if want.linked {
			require.Len(t, span.Links(), 1, name)
			require.Equal(t, parent, span.Links()[0].SpanContext.SpanID().String(), name)
		} else {
			require.Empty(t, span.Links(), name)
		}
		require.Equal(t, common(want.attributes), attributes(span), name)
	}
}

// TestRelayedTrace: a message carries the trace in which it was made. Sent in the same one, it carries the publish span
// on; sent in another, as by a relay or an outbox, or in none, it keeps its own, and the publish span links to that.
func TestRelayedTrace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tracer := provider.Tracer("test")
	happened := leveret.NewEvent[thing]("a.happened")
	client := b.client(b.connect(leveret.ConnConfig{TracerProvider: provider}), leveret.NewService("a", leveret.Publishes(happened)), leveret.ClientConfig{})
	foreign := b.peer()
	require.NoError(t, foreign.ExchangeDeclare("events", "topic", true, false, false, false, nil))
	foreign.queue("listener", "events", "a.happened")

	member, err := baggage.NewMember("tenant", "blue")
	require.NoError(t, err)
	bag, err := baggage.New(member)
	require.NoError(t, err)
	making, made := tracer.Start(baggage.ContextWithBaggage(b.ctx, bag), "make")
	m, err := happened.Message(making, thing{})
	require.NoError(t, err)
	require.Contains(t, m.Headers["traceparent"], made.SpanContext().TraceID().String()+"-"+made.SpanContext().SpanID().String())
	require.Equal(t, "tenant=blue", m.Headers["baggage"])
	own := m.Headers["traceparent"]
	relaying, relay := tracer.Start(b.ctx, "relay")

	pipeline := client.Pipeline(nil)
	for name, test := range map[string]struct {
		send func() error
		kept bool
	}{
		"in the same trace": {func() error { return client.Send(making, m) }, false},
		"in another":        {func() error { return client.Send(relaying, m) }, true},
		"in none":           {func() error { return client.Send(b.ctx, m) }, true},
		"by a pipeline": {func() error {
			require.NoError(t, pipeline.Write(relaying, m))
			return pipeline.Flush(b.ctx)
		}, true},
	} {
		before := len(spans.Ended())
		require.NoError(t, test.send())
		require.Len(t, spans.Ended(), before+1, name)
		publish := spans.Ended()[before]
		d := foreign.take("listener")
		require.Equal(t, own, m.Headers["traceparent"], "%s: the message itself is left alone", name)
		require.Equal(t, "tenant=blue", d.Headers["baggage"], name)
		if test.kept {
			require.Equal(t, own, d.Headers["traceparent"], name)
			require.Len(t, publish.Links(), 1, name)
			require.Equal(t, made.SpanContext().SpanID(), publish.Links()[0].SpanContext.SpanID(), name)
			continue
		}
		require.Contains(t, d.Headers["traceparent"], publish.SpanContext().TraceID().String()+"-"+publish.SpanContext().SpanID().String(), name)
		require.Equal(t, made.SpanContext().SpanID(), publish.Parent().SpanID(), name)
		require.Empty(t, publish.Links(), name)
	}
	made.End()
	relay.End()

	by, err := happened.Message(making, thing{}, leveret.Header("traceparent", own))
	require.NoError(t, err)
	require.Equal(t, own, by.Headers["traceparent"])
	plain, err := happened.Message(b.ctx, thing{})
	require.NoError(t, err)
	require.NotContains(t, plain.Headers, "traceparent")
}

// TestPipelineIsObserved: span and measurement of a message in a pipeline end with its outcome, and hold it.
func TestPipelineIsObserved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	spans, meter := tracetest.NewSpanRecorder(), newMeter()
	conn := b.connect(leveret.ConnConfig{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)), MeterProvider: meter.provider})
	do := leveret.NewCommand[thing]("a.do")
	lost := leveret.NewCommand[thing]("a.lost", leveret.At(leveret.Address{Exchange: "amq.direct", RoutingKey: "nowhere", External: true}))
	client := b.client(conn, leveret.NewService("a", leveret.Sends(do, lost)), leveret.ClientConfig{})
	p := client.Pipeline(nil)
	require.NoError(t, write(b.ctx, p, do, thing{}))
	require.NoError(t, write(b.ctx, p, lost, thing{}))
	require.ErrorIs(t, write(b.ctx, p, do, thing{Text: strings.Repeat("x", 20<<20)}), leveret.ErrTooLarge)
	require.ErrorIs(t, p.Flush(b.ctx), leveret.ErrUnroutable)
	require.Equal(t, map[string]int64{"": 1, "unavailable": 1, "invalid_argument": 1}, meter.by(t, "messaging.client.sent.messages", "error.type"))
	failed := map[string]codes.Code{}
	for _, s := range spans.Ended() {
		failed[attributes(s)["error.type"]] = s.Status().Code
	}
	require.Equal(t, map[string]codes.Code{"": codes.Unset, "unavailable": codes.Error, "invalid_argument": codes.Error}, failed)
}

// TestMetrics: what is counted and measured, under the conventions' names, with nothing in the attributes that grows.
func TestMetrics(t *testing.T) {
	t.Parallel()
	b := setup(t)
	meter := newMeter()
	do, ask := leveret.NewCommand[thing]("a.do", quick), leveret.NewRequest[thing, answer]("a.ask", leveret.Timeout(patience))
	service := leveret.NewService("a", leveret.Handles(do), leveret.Sends(do), leveret.Answers(ask), leveret.Calls(ask))
	conn := b.connect(leveret.ConnConfig{MeterProvider: meter.provider})
	client := b.client(conn, service, leveret.ClientConfig{})
	w := b.worker(conn, service, leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(_ context.Context, v thing) error {
		if v.N == 1 {
			return errors.New("no")
		}
		return nil
	})
	ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) { return answer{}, nil })
	b.run(w)
	for i := range 3 {
		require.NoError(t, do.Send(b.ctx, client, thing{N: i}))
	}
	require.ErrorIs(t, do.Send(b.ctx, client, thing{Text: strings.Repeat("x", 20<<20)}), leveret.ErrTooLarge)
	_, err := ask.Call(b.ctx, client, thing{})
	require.NoError(t, err)
	// An expired request is consumed, and that is all.
	b.peer().publish("requests", "a.ask", amqp.Publishing{Body: []byte(`{}`), Headers: amqp.Table{
		"leveret-deadline": time.Now().Add(-time.Hour).Format(time.RFC3339Nano),
	}})
	b.eventually(func() bool {
		v := meter.by(t, "leveret.verdicts", "leveret.verdict")
		return v["ack"] == 3 && v["retry"] == 2 && v["dead_letter"] == 1 && v["expired"] == 1
	})
	require.Equal(t, map[string]int64{"commands:a.do": 4, "requests:a.ask": 1}, meter.by(t, "messaging.client.sent.messages", "messaging.destination.name"))
	require.Equal(t, map[string]int64{"": 4, "invalid_argument": 1}, meter.by(t, "messaging.client.sent.messages", "error.type"))
	require.Equal(t, map[string]int64{"commands:a.do": 5, "requests:a.ask": 2}, meter.by(t, "messaging.client.consumed.messages", "messaging.destination.name"))
	require.Equal(t, map[string]int64{"": 3, "unknown": 3, "deadline_exceeded": 1}, meter.by(t, "messaging.client.consumed.messages", "error.type"))

	all := meter.collect(t)
	for _, name := range []string{"messaging.client.operation.duration", "messaging.process.duration"} {
		require.Equal(t, "s", all[name].Unit)
		h, ok := all[name].Data.(metricdata.Histogram[float64])
		require.True(t, ok)
		require.NotEmpty(t, h.DataPoints)
	}
	known := map[attribute.Key]bool{}
	for _, key := range []string{
		"messaging.system", "messaging.operation.name", "messaging.operation.type", "messaging.destination.name", "server.address", "server.port",
		"error.type", "leveret.verdict", "leveret.connection",
	} {
		known[attribute.Key(key)] = true
	}
	for name, m := range all {
		for _, set := range sets(m) {
			for _, a := range set.ToSlice() {
				require.True(t, known[a.Key], "%s has %s", name, a.Key)
			}
		}
	}
	require.Equal(t, map[string]int64{"consume": 1, "publish": 1}, meter.gauge(t, "leveret.connection.up", "leveret.connection"))
	require.Zero(t, meter.sum(t, "leveret.connection.lost"))
	require.Zero(t, meter.sum(t, "leveret.topology.mismatches"))
}

// sets returns the attributes of every data point.
func sets(m metricdata.Metrics) []attribute.Set {
	var all []attribute.Set
	switch d := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			all = append(all, p.Attributes)
		}
	case metricdata.Gauge[int64]:
		for _, p := range d.DataPoints {
			all = append(all, p.Attributes)
		}
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			all = append(all, p.Attributes)
		}
	}
	return all
}

func (m *meter) gauge(t *testing.T, name, key string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	if g, ok := m.collect(t)[name].Data.(metricdata.Gauge[int64]); ok {
		for _, p := range g.DataPoints {
			v, _ := p.Attributes.Value(attribute.Key(key))
			found[v.AsString()] = p.Value
		}
	}
	return found
}
