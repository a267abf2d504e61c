package service_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
)

// collected is what an OTLP endpoint was told.
type collected struct {
	mu    sync.Mutex
	paths []string
	spans []*traces.Span
	what  map[string]string // the resource's attributes
}

func (c *collected) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &request) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths = append(c.paths, r.URL.Path)
	c.what = map[string]string{}
	for _, resource := range request.GetResourceSpans() {
		for _, a := range resource.GetResource().GetAttributes() {
			c.what[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
}

// One program without a collector sends; another with one handles: the trace is one, and its spans arrive.
func TestTracesGoThroughAndOut(t *testing.T) {
	t.Parallel()
	out := &collected{}
	endpoint := httptest.NewServer(out)
	t.Cleanup(endpoint.Close)
	broker := leverettest.Broker(t)
	r := start(t, service.Program{Service: units, Version: "1.2.3", Setup: func(_ context.Context, rt *service.Runtime) error {
		do.Handle(rt.Handlers, func(ctx context.Context, u unit) error {
			rt.Logger.InfoContext(ctx, "doing")
			return happened.Publish(ctx, rt.Client, u)
		})
		ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
		return nil
	}}, map[string]string{"broker.url": broker, "telemetry.otlp_endpoint": endpoint.URL})
	r.log.await(t, "ready")
	sends := start(t, service.Program{
		Service: front,
		Client: leveret.ClientConfig{Middleware: []leveret.Middleware{func(next leveret.Handler) leveret.Handler {
			return func(ctx context.Context, m *leveret.Message) error { return next(ctx, m) }
		}}},
		Setup: func(_ context.Context, rt *service.Runtime) error {
			rt.Edge("sender", func(ctx context.Context) error {
				ctx, span := rt.TracerProvider.Tracer("test").Start(ctx, "press the button")
				defer span.End()
				if err := do.Send(ctx, rt.Client, unit{}); err != nil {
					return err
				}
				rt.Logger.InfoContext(ctx, "sent")
				<-ctx.Done()
				return nil
			})
			return nil
		},
	}, map[string]string{"broker.url": broker})
	sent, doing := sends.log.await(t, "sent"), r.log.await(t, "doing")
	require.Len(t, sent["trace_id"], 32)
	require.Equal(t, sent["trace_id"], doing["trace_id"])
	require.NotEqual(t, sent["span_id"], doing["span_id"])
	require.Equal(t, 0, sends.end(t))
	require.Equal(t, 0, r.end(t)) // and what was not sent yet is

	out.mu.Lock()
	defer out.mu.Unlock()
	require.Equal(t, "/v1/traces", out.paths[0])
	require.Equal(t, "unit", out.what["service.name"])
	require.Equal(t, "1.2.3", out.what["service.version"])
	var names []string
	for _, s := range out.spans {
		names = append(names, s.GetName())
		require.Equal(t, sent["trace_id"], hexOf(s.GetTraceId()))
	}
	require.ElementsMatch(t, []string{"process commands:unit.do", "publish events:unit.happened"}, names)
}

func hexOf(id []byte) string {
	const digits = "0123456789abcdef"
	var text []byte
	for _, b := range id {
		text = append(text, digits[b>>4], digits[b&15])
	}
	return string(text)
}

// A collector that is not there costs spans, not the program.
func TestTracesThatCannotGoOut(t *testing.T) {
	t.Parallel()
	var rt *service.Runtime
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		handlers(rt)
		return nil
	}}, map[string]string{"broker.url": leverettest.Broker(t), "telemetry.otlp_endpoint": "http://u:hunter2@127.0.0.1:1"})
	r.log.await(t, "ready")
	require.NoError(t, do.Send(t.Context(), rt.Client, unit{}))
	began := time.Now()
	require.Equal(t, 0, r.end(t))
	require.Less(t, time.Since(began), 15*time.Second)
	r.log.await(t, "spans were not exported; they are lost")
	require.NotContains(t, r.log.String(), "hunter2")
}

// OpenTelemetry's own variables hold where the key is not set.
func TestTheCollectorOfTheEnvironment(t *testing.T) {
	out := &collected{}
	endpoint := httptest.NewServer(out)
	t.Cleanup(endpoint.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.URL+"/otlp")
	t.Setenv("OTEL_SERVICE_NAME", "renamed")
	var rt *service.Runtime
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		handlers(rt)
		return nil
	}}, map[string]string{"broker.url": leverettest.Broker(t)})
	r.log.await(t, "ready")
	require.NoError(t, do.Send(t.Context(), rt.Client, unit{}))
	require.Equal(t, 0, r.end(t))
	out.mu.Lock()
	defer out.mu.Unlock()
	require.Equal(t, "/otlp/v1/traces", out.paths[0])
	require.Equal(t, "renamed", out.what["service.name"])
}
