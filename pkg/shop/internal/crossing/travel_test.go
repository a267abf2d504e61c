package crossing_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/baggage"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A visit is what a handler saw.
type visit struct {
	message *leveret.Message
	span    trace.SpanContext
	baggage string
}

// visited returns handlers that report what they see.
func visited() (*leveret.Handlers, <-chan visit) {
	visits := make(chan visit, 1)
	return answering(func(ctx context.Context, q question) (answer, error) {
		visits <- visit{leveret.MessageFrom(ctx), trace.SpanContextFromContext(ctx), baggage.FromContext(ctx).String()}
		return answer{q.Do}, nil
	}), visits
}

// Ids, headers, payloads and replies hold any text, over every transport. A whole number in a header arrives as an int64
// over RabbitMQ, and as a float64 over HTTP and gRPC.
func TestTextCrosses(t *testing.T) {
	t.Parallel()
	h, visits := visited()
	s := newStage(t, h, telemetry{}, bound(ask))
	s.each(t, guest, func(t *testing.T, transport string, c leveret.Caller) {
		for _, text := range []string{
			"plain", "Bestellung № 7, „grün“", "世界 🐇", `"quoted"`, `%"c3"`, "50 %41 %zz", `back\slash`, " at the edges ", "a,b;c=d", "tab\tand\nline", "\x7f",
			"https://example.com/?a=b&c=<d>#e",
		} {
			a, err := ask.Call(t.Context(), c, question{text}, leveret.MessageID(text), leveret.Conversation("about "+text),
				leveret.Header("note", text), leveret.Header("größe "+text, "XL"), leveret.Header("true", true), leveret.Header("half", 0.5),
				leveret.Header("many", int64(1541815603606036481)), leveret.Header("none", nil))
			require.NoError(t, err, text)
			require.Equal(t, answer{text}, a)
			m := receive(t, visits, "nothing has arrived").message
			require.Equal(t, text, m.ID)
			require.Equal(t, "about "+text, m.ConversationID)
			require.Equal(t, "guest", m.AppID)
			require.Empty(t, m.CausationID)
			require.Equal(t, transport != "AMQP", m.SentAt.IsZero())
			require.Equal(t, text, m.Headers["note"])
			require.Equal(t, "XL", m.Headers["größe "+text])
			require.Equal(t, true, m.Headers["true"])
			require.Equal(t, 0.5, m.Headers["half"]) //nolint:testifylint // the very same
			require.Contains(t, m.Headers, "none")
			require.Nil(t, m.Headers["none"])
			require.Equal(t, int64(1541815603606036481), m.Headers["many"])
		}
		_, err := ask.Call(t.Context(), c, question{}, leveret.MessageID("alone"))
		require.NoError(t, err)
		require.Equal(t, "alone", receive(t, visits, "nothing has arrived").message.ConversationID)
	})
}

// A message goes on in the trace and with the baggage of its caller. One that carries a trace, such as one that is
// replayed, keeps that and takes nothing of its caller's. Instrumentation does not change it.
func TestTracesCross(t *testing.T) {
	t.Parallel()
	const own = "0af7651916cd43dd8448eb211c80319c"
	tracers := sdktrace.NewTracerProvider()
	for name, instrumented := range map[string]telemetry{
		"none": {}, "spans": {tracers: tracers}, "metrics": {meters: sdkmetric.NewMeterProvider()}, "both": {tracers, sdkmetric.NewMeterProvider()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, visits := visited()
			s := newStage(t, h, instrumented, bound(ask))
			carried, err := baggage.Parse("tenant=blue")
			require.NoError(t, err)
			ctx, span := tracers.Tracer("test").Start(baggage.ContextWithBaggage(t.Context(), carried), "here")
			defer span.End()
			s.each(t, guest, func(t *testing.T, _ string, c leveret.Caller) {
				_, err := ask.Call(ctx, c, question{})
				require.NoError(t, err)
				v := receive(t, visits, "nothing has arrived")
				require.Equal(t, span.SpanContext().TraceID(), v.span.TraceID())
				require.Equal(t, "tenant=blue", v.baggage)
				_, err = ask.Call(ctx, c, question{}, leveret.Header("traceparent", "00-"+own+"-b7ad6b7169203331-01"))
				require.NoError(t, err)
				v = receive(t, visits, "nothing has arrived")
				require.Equal(t, own, v.span.TraceID().String())
				require.Empty(t, v.baggage)
			})
		})
	}
}
