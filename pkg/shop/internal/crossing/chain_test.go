package crossing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// hop is one handler of a chain, as it began.
type hop struct {
	visit

	began time.Time
}

// A chain is three services, each of which calls the next in its handler: front over HTTP, middle over gRPC, and back
// over RabbitMQ.
type chain struct {
	ask     *request
	address string // of front
	caller  leveret.Caller
	broker  string
	began   chan hop   // by each handler
	ended   chan error // by each handler, with the error of its context
}

// newChain starts a chain. The last handler is last.
func newChain(t *testing.T, tel telemetry, last asked) *chain {
	t.Helper()
	c := &chain{ask: newRequest("front.ask"), broker: leverettest.Broker(t), began: make(chan hop, 3), ended: make(chan error, 3)}
	second, third := newRequest("middle.ask"), newRequest("back.ask")
	front := leveret.NewService("front", leveret.Answers(c.ask), leveret.Calls(second))
	middle := leveret.NewService("middle", leveret.Answers(second), leveret.Calls(third))
	back := leveret.NewService("back", leveret.Answers(third))
	serving := func(s *leveret.Service, r *request, next asked) *leveret.Handlers {
		h := leveret.NewHandlers(s, leveret.HandlersConfig{})
		r.Answer(h, func(ctx context.Context, q question) (answer, error) {
			c.began <- hop{visit{message: leveret.MessageFrom(ctx), span: trace.SpanContextFromContext(ctx)}, time.Now()}
			a, err := next(ctx, q)
			c.ended <- ctx.Err()
			return a, err
		})
		return h
	}

	work(t, connect(t, c.broker, tel), serving(back, third, last))
	toBack := client(t, connect(t, c.broker, tel), middle)
	address := serveGRPC(t, listen(t, ""), serving(middle, second, func(ctx context.Context, q question) (answer, error) {
		return third.Call(ctx, toBack, q)
	}), tel, bound(second))
	toMiddle := grpcCaller(t, tel, grpcrpc.CallerConfig{Service: front, Addresses: []string{address}}, bound(second))
	c.address = serveHTTP(t, listen(t, ""), serving(front, c.ask, func(ctx context.Context, q question) (answer, error) {
		return second.Call(ctx, toMiddle, q)
	}), tel)
	c.caller = httpCaller(t, tel, httprpc.CallerConfig{
		Service: leveret.NewService("guest", leveret.Calls(c.ask)), URLs: []string{"http://" + c.address},
	})
	c.awaitControl(t)
	return c
}

// awaitControl waits until the worker hears of callers that give up, which may be a moment after it is ready.
func (c *chain) awaitControl(t *testing.T) {
	t.Helper()
	conn, err := amqp.Dial(c.broker)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.Confirm(false))
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	var names topology.Names
	require.Eventually(t, func() bool {
		confirm, err := ch.PublishWithDeferredConfirm(names.ControlExchange("back"), names.CancelKey("back.ask"), true, false,
			amqp.Publishing{CorrelationId: uuid.NewString()})
		require.NoError(t, err)
		require.True(t, confirm.Wait())
		select { // a return comes before its confirm
		case <-returns:
			return false
		default:
			return true
		}
	}, patience, time.Millisecond)
}

// hops waits for the three handlers to begin.
func (c *chain) hops(t *testing.T) (hops [3]hop) {
	t.Helper()
	for i := range hops {
		hops[i] = receive(t, c.began, fmt.Sprintf("handler %d has not begun", i+1))
	}
	return hops
}

// The deadline of the first caller holds at the last hop: each hop adds the time that its request is under way, since
// what is left travels, and takes off less than a millisecond for rounding.
func TestDeadlineCrosses(t *testing.T) {
	t.Parallel()
	c := newChain(t, telemetry{}, func(ctx context.Context, q question) (answer, error) {
		until, ok := ctx.Deadline()
		if !ok || !until.Equal(leveret.MessageFrom(ctx).Deadline) {
			return answer{}, leveret.Errorf(leveret.Internal, "the handler may run until %v", until)
		}
		return answer{q.Do}, nil
	})
	const rounding = time.Millisecond
	for i := range 10 { // the first makes the connections
		called := time.Now()
		first := called.Add(patience + 123456789*time.Nanosecond)
		ctx, cancel := context.WithDeadline(t.Context(), first)
		_, err := c.ask.Call(ctx, c.caller, question{"it"})
		cancel()
		require.NoError(t, err)
		before, since := first, called
		hops := c.hops(t)
		for n, h := range hops {
			underWay := h.began.Sub(since)
			later := h.message.Deadline.Sub(before)
			require.Greater(t, later, -rounding, "hop %d", n+1)
			require.LessOrEqual(t, later, underWay+rounding, "hop %d: under way for %v", n+1, underWay)
			before, since = h.message.Deadline, h.began
		}
		t.Logf("call %d: the deadline at the third hop is %v later than the first", i+1, hops[2].message.Deadline.Sub(first))
		for range hops {
			receive(t, c.ended, "a handler has not ended")
		}
	}
}

// A client that hangs up ends the handlers of the whole chain, however it does so.
func TestHangingUpCrosses(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(t *testing.T, c *chain, hangUp <-chan struct{}){
		"a caller": func(t *testing.T, c *chain, hangUp <-chan struct{}) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-hangUp; cancel() }()
			_, err := c.ask.Call(ctx, c.caller, question{"it"})
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
			require.False(t, leveret.IsRemote(err))
		},
		"a connection": func(t *testing.T, c *chain, hangUp <-chan struct{}) {
			t.Helper()
			conn, err := net.Dial("tcp", c.address)
			require.NoError(t, err)
			body, err := json.Marshal(question{"it"})
			require.NoError(t, err)
			_, err = fmt.Fprintf(conn, "POST /front.ask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			require.NoError(t, err)
			<-hangUp
			require.NoError(t, conn.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := make(chan struct{})
			c := newChain(t, telemetry{}, func(ctx context.Context, _ question) (answer, error) {
				close(began)
				<-ctx.Done()
				return answer{}, ctx.Err()
			})
			call(t, c, began)
			for range c.hops(t) {
				require.ErrorIs(t, receive(t, c.ended, "a handler was not cancelled"), context.Canceled)
			}
		})
	}
}

// An error of the last handler that the others return as they got it is the same at the first caller.
func TestErrorsCrossTheChain(t *testing.T) {
	t.Parallel()
	c := newChain(t, telemetry{}, blame)
	for _, f := range faults {
		_, err := c.ask.Call(t.Context(), c.caller, question{f.name})
		requireFault(t, f, err)
		c.hops(t)
		for range 3 {
			receive(t, c.ended, "a handler has not ended")
		}
	}
}

// One trace and one conversation span the chain, and every request says which one caused it.
func TestConversationCrosses(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	for name, tel := range map[string]telemetry{"without a provider": {}, "with a provider": {tracers: tracers}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, tel, func(_ context.Context, q question) (answer, error) { return answer{q.Do}, nil })
			ctx, root := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "here")
			defer root.End()
			_, err := c.ask.Call(ctx, c.caller, question{"it"}, leveret.MessageID("die Erste"), leveret.Conversation("会話"))
			require.NoError(t, err)
			hops := c.hops(t)
			cause := ""
			for _, h := range hops {
				require.Equal(t, "会話", h.message.ConversationID)
				require.Equal(t, cause, h.message.CausationID)
				require.Equal(t, root.SpanContext().TraceID(), h.span.TraceID())
				cause = h.message.ID
			}
			require.Equal(t, "die Erste", hops[0].message.ID)
			if tel.tracers == nil {
				require.Equal(t, root.SpanContext().SpanID(), hops[2].span.SpanID())
				return
			}
			require.Eventually(t, func() bool { return len(spans.GetSpans()) == 6 }, patience, time.Millisecond)
			byID := make(map[trace.SpanID]tracetest.SpanStub)
			for _, s := range spans.GetSpans() {
				byID[s.SpanContext.SpanID()] = s
			}
			var kinds []trace.SpanKind
			id := hops[2].span.SpanID()
			for id != root.SpanContext().SpanID() {
				s, ok := byID[id]
				require.True(t, ok, "after %v", kinds)
				kinds = append(kinds, s.SpanKind)
				id = s.Parent.SpanID()
			}
			slices.Reverse(kinds)
			require.Equal(t, []trace.SpanKind{
				trace.SpanKindClient, trace.SpanKindServer, trace.SpanKindClient, trace.SpanKindServer, trace.SpanKindClient, trace.SpanKindConsumer,
			}, kinds)
		})
	}
}
