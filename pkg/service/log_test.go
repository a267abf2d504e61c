package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/leveret"
)

type nothing struct{}

// inHandler calls f with the context of a handler.
func inHandler(t *testing.T, f func(context.Context)) {
	t.Helper()
	do := leveret.NewCommand[nothing]("log.it")
	h := leveret.NewHandlers(leveret.NewService("log", leveret.Handles(do)), leveret.HandlersConfig{})
	do.Handle(h, func(ctx context.Context, _ nothing) error { f(ctx); return nil })
	m := &leveret.Message{
		Contract: do, ID: "m-1", CorrelationID: "c-1", ConversationID: "v-1", Body: []byte(`{}`),
	}
	ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	})
	o := h.Process(ctx, m, nil)
	require.NoError(t, o.Err)
}

func TestRecordsHoldTheIDsOfTheirContext(t *testing.T) {
	t.Parallel()
	ids := map[string]any{
		"message_id": "m-1", "correlation_id": "c-1", "conversation_id": "v-1",
		"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
	}
	for name, c := range map[string]struct {
		write func(context.Context, *slog.Logger)
		want  map[string]any // in addition to the ids
	}{
		"plain":      {func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "m", "a", "b") }, map[string]any{"a": "b"}},
		"with":       {func(ctx context.Context, l *slog.Logger) { l.With("a", "b").InfoContext(ctx, "m") }, map[string]any{"a": "b"}},
		"with twice": {func(ctx context.Context, l *slog.Logger) { l.With("a", "b").With("a", "b").InfoContext(ctx, "m") }, map[string]any{"a": "b"}},
		"group": {
			func(ctx context.Context, l *slog.Logger) {
				l.With("a", "b").WithGroup("g").With("c", "d").InfoContext(ctx, "m", "e", 1)
			},
			map[string]any{"a": "b", "g": map[string]any{"c": "d", "e": 1.0}},
		},
		"two groups": {
			func(ctx context.Context, l *slog.Logger) {
				l.WithGroup("").WithGroup("g").WithGroup("h").InfoContext(ctx, "m", "message_id", 1)
			},
			map[string]any{"g": map[string]any{"h": map[string]any{"message_id": 1.0}}},
		},
		"an id by hand":      {func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "m", "message_id", "m-1") }, nil},
		"an id by hand with": {func(ctx context.Context, l *slog.Logger) { l.With("message_id", "m-1").InfoContext(ctx, "m") }, nil},
		"an error": {
			func(ctx context.Context, l *slog.Logger) {
				l.InfoContext(ctx, "m", "error", errors.New("e"), "code", leveret.NotFound)
			},
			map[string]any{"error": "e", "code": "not_found"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			inHandler(t, func(ctx context.Context) { c.write(ctx, newLogger(&out, "auto", slog.LevelInfo)) })
			require.NoError(t, noKeyTwice(out.Bytes()))
			var got map[string]any
			require.NoError(t, json.Unmarshal(out.Bytes(), &got))
			delete(got, "time")
			want := map[string]any{"level": "INFO", "msg": "m"}
			for _, from := range []map[string]any{ids, c.want} {
				maps.Copy(want, from)
			}
			require.Equal(t, want, got)
		})
	}
}

func TestOutsideOfAnythingNothingIsAdded(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := newLogger(&out, "text", slog.LevelWarn)
	l.Info("no")
	l.Warn("m", "a", "b c")
	require.Regexp(t, `^time=\S+ level=WARN msg=m a="b c"\n$`, out.String())
}

// noKeyTwice reports duplicate keys in an object, which json.Unmarshal accepts.
func noKeyTwice(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	var open []map[string]bool
	key := true
	for {
		token, err := d.Token()
		if err != nil {
			return nil //nolint:nilerr // the end
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '{' {
				open, key = append(open, map[string]bool{}), true
			} else {
				open, key = open[:len(open)-1], true
			}
		case string:
			if key {
				if open[len(open)-1][v] {
					return errors.New("twice: " + v)
				}
				open[len(open)-1][v] = true
			}
			key = !key
		default:
			key = true
		}
	}
}

func TestSpansThatOnlyHaveIDs(t *testing.T) {
	t.Parallel()
	tracer := newTraceIDs().Tracer("test")
	ctx, root := tracer.Start(t.Context(), "root")
	defer root.End()
	require.True(t, root.SpanContext().IsValid())
	require.True(t, root.SpanContext().IsSampled()) // so that services downstream sample it as usual
	require.False(t, root.IsRecording())
	require.Equal(t, root.SpanContext(), trace.SpanContextFromContext(ctx))

	ctx, child := tracer.Start(ctx, "child")
	defer child.End()
	require.Equal(t, root.SpanContext().TraceID(), child.SpanContext().TraceID())
	require.NotEqual(t, root.SpanContext().SpanID(), child.SpanContext().SpanID())

	_, other := tracer.Start(ctx, "another root", trace.WithNewRoot())
	defer other.End()
	require.NotEqual(t, root.SpanContext().TraceID(), other.SpanContext().TraceID())

	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true})
	_, unsampled := tracer.Start(trace.ContextWithRemoteSpanContext(t.Context(), remote), "of a remote one")
	defer unsampled.End()
	require.Equal(t, remote.TraceID(), unsampled.SpanContext().TraceID())
	require.False(t, unsampled.SpanContext().IsSampled())
	require.False(t, unsampled.SpanContext().IsRemote())
	require.NotEqual(t, remote.SpanID(), unsampled.SpanContext().SpanID())
}

func BenchmarkSpansThatOnlyHaveIDs(b *testing.B) {
	tracer := newTraceIDs().Tracer("test")
	b.ReportAllocs()
	for b.Loop() {
		ctx, sent := tracer.Start(b.Context(), "publish")
		_, handled := tracer.Start(ctx, "process")
		handled.End()
		sent.End()
	}
}

// TestPayloadsWithSecretsAreNotLogged, neither as JSON nor as text, wherever in a record they are.
func TestPayloadsWithSecretsAreNotLogged(t *testing.T) {
	t.Parallel()
	type login struct {
		User     string
		Password leveret.Secret
		hidden   leveret.Secret
	}
	v := login{"ada", "hunter2", "hunter2"}
	for _, format := range []string{"json", "text"} {
		var b bytes.Buffer
		l := newLogger(&b, format, slog.LevelInfo)
		l.With("with", v).WithGroup("g").Info("m", "plain", v, "pointer", &v, "list", []login{v}, "secret", v.hidden,
			"secrets", []leveret.Secret{"hunter2"}, slog.Group("h", "in", v), "none", nil, "other", struct{ N int }{7})
		require.NotContains(t, b.String(), "hunter2")
		require.Contains(t, b.String(), "[secret] *service.login")
		require.Contains(t, b.String(), "7")
	}
}
