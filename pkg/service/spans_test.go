package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// exported keeps the spans that it gets.
type exported struct{ spans []sdktrace.ReadOnlySpan }

func (e *exported) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.spans = append(e.spans, spans...)
	return nil
}

func (*exported) Shutdown(context.Context) error { return nil }

// One text that is not UTF-8 would make a collector refuse all spans of a batch.
func TestSpansAreExportedInUTF8(t *testing.T) {
	t.Parallel()
	out := &exported{}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(loggedExporter{out, slog.New(slog.DiscardHandler)}), sdktrace.WithRawSpanLimits(spanLimits()))
	const bad = "a\xffb"
	texts := []attribute.KeyValue{
		attribute.String(bad, bad), attribute.StringSlice("list", []string{"ok", bad}), attribute.Int("n", 7),
		attribute.Slice("slice", attribute.StringValue(bad)), attribute.Map("map", attribute.String(bad, bad)),
	}
	_, span := provider.Tracer("test").Start(t.Context(), bad, trace.WithAttributes(texts...), trace.WithLinks(trace.Link{
		SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}), Attributes: texts,
	}))
	span.AddEvent(bad, trace.WithAttributes(texts...))
	span.SetAttributes(attribute.String("long", strings.Repeat("x", 5<<20)))
	span.SetStatus(codes.Error, strings.Repeat(bad, 1<<20))
	span.End()
	require.Len(t, out.spans, 1)
	s := out.spans[0]
	check := func(attributes []attribute.KeyValue) {
		for _, a := range attributes {
			require.True(t, utf8.ValidString(string(a.Key)))
			require.True(t, utf8.ValidString(a.Value.String()), a.Key)
			require.LessOrEqual(t, len(a.Value.String()), maxValue)
		}
	}
	check(s.Attributes())
	require.Len(t, s.Attributes(), len(texts)+1)
	check(s.Links()[0].Attributes)
	check(s.Events()[0].Attributes)
	require.Equal(t, "a\ufffdb", s.Name())
	require.Equal(t, "a\ufffdb", s.Events()[0].Name)
	require.True(t, utf8.ValidString(s.Status().Description))
	require.Less(t, len(s.Status().Description), 2*maxValue)
}

type badError struct{ text string }

func (e *badError) Error() string { return e.text }

// Records hold no text of any length, and nothing that a terminal obeys.
func TestRecordsAreShortAndPlain(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 1<<20)
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		l := newLogger(&out, format, slog.LevelInfo)
		l.With("with", long).Info(long, "error", errors.New(long), "text", long, "stack", long, "nil", (*badError)(nil), "n", 1)
		require.Less(t, out.Len(), 32<<10)
		out.Reset()
		l.Info("m", "id", "\x1b[31m\u202e\u009b\x7f\xff")
		if format == "json" {
			var record map[string]any
			require.NoError(t, json.Unmarshal(out.Bytes(), &record))
			require.Equal(t, "\x1b[31m\u202e\u009b\x7f\ufffd", record["id"])
		}
		require.False(t, strings.ContainsAny(out.String(), "\x1b\u202e\u009b\x7f"), "%q", out.String())
		require.True(t, utf8.Valid(out.Bytes()))
	}
}
