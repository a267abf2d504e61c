package service

import (
	"context"
	"io"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/term"

	"github.com/leveretmq/leveret/internal/plain"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// newLogger returns a logger that adds the ids found in the context of each record. The format is that of log.format.
func newLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: replace}
	var h slog.Handler = slog.NewJSONHandler(plainLines{w}, options)
	if format == "text" || format == "auto" && isTerminal(w) {
		h = slog.NewTextHandler(plainLines{w}, options)
	}
	return slog.New(contextual{next: h, top: h})
}

// maxValue is how many bytes of a value are logged; stacks may have more.
const maxValue = 2 << 10

// replace hides secrets, and shortens texts: many of them come from outside.
func replace(groups []string, a slog.Attr) slog.Attr {
	a = withoutSecrets(groups, a)
	text, most := "", maxValue
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		if r := reflect.ValueOf(v); r.Kind() != reflect.Pointer || !r.IsNil() {
			text = v.Error()
		}
	}
	if a.Key == "stack" {
		most *= 8
	}
	if len(text) > most {
		a.Value = slog.StringValue(strings.ToValidUTF8(text[:most], "") + "…")
	}
	return a
}

// plainLines escapes in log records what a terminal obeys, such as the characters that change the direction of text.
type plainLines struct{ w io.Writer }

// Write implements io.Writer, for whole lines.
func (l plainLines) Write(line []byte) (int, error) {
	if _, err := io.WriteString(l.w, plain.Text(string(line))); err != nil {
		return 0, err
	}
	return len(line), nil
}

// withoutSecrets hides a value that can hold secrets, of which only the type is logged. A payload's JSON would hold them,
// since it is what travels, and so would its text, if they are in unexported fields.
func withoutSecrets(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	t := reflect.TypeOf(a.Value.Any())
	if t == nil || !leveret.HoldsSecret(t) {
		return a
	}
	return slog.String(a.Key, "[secret] "+t.String())
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// contextual adds to each record the ids of the message and the span in the record's context. They are always added at
// the top level, even inside a group. It also drops duplicate attributes at the top level, because a program's logger
// and the library's both add the service.
type contextual struct {
	next slog.Handler // with everything added by With and WithGroup
	top  slog.Handler // with everything added before the first group
	// attrs are the attributes of top, groups everything added from the first group on.
	attrs  []slog.Attr
	groups []func(slog.Handler) slog.Handler
}

// Enabled implements slog.Handler.
func (c contextual) Enabled(ctx context.Context, level slog.Level) bool {
	return c.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (c contextual) Handle(ctx context.Context, r slog.Record) error {
	ids := slices.DeleteFunc(idsOf(ctx), func(id slog.Attr) bool { return c.has(id.Key) || len(c.groups) == 0 && holds(r, id.Key) })
	if len(ids) == 0 {
		return c.next.Handle(ctx, r)
	}
	if len(c.groups) == 0 {
		r = r.Clone()
		r.AddAttrs(ids...)
		return c.next.Handle(ctx, r)
	}
	h := c.top.WithAttrs(ids)
	for _, add := range c.groups {
		h = add(h)
	}
	return h.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (c contextual) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(c.groups) > 0 {
		return c.grouped(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
	}
	attrs = slices.DeleteFunc(slices.Clone(attrs), func(a slog.Attr) bool {
		return slices.ContainsFunc(c.attrs, func(have slog.Attr) bool { return sameText(have, a) })
	})
	c.attrs = slices.Concat(c.attrs, attrs)
	c.top = c.top.WithAttrs(attrs)
	c.next = c.top
	return c
}

// WithGroup implements slog.Handler.
func (c contextual) WithGroup(name string) slog.Handler {
	if name == "" {
		return c
	}
	return c.grouped(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (c contextual) grouped(add func(slog.Handler) slog.Handler) contextual {
	c.next = add(c.next)
	c.groups = append(slices.Clone(c.groups), add)
	return c
}

func (c contextual) has(key string) bool {
	return slices.ContainsFunc(c.attrs, func(a slog.Attr) bool { return a.Key == key })
}

func holds(r slog.Record, key string) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == key
		return !found
	})
	return found
}

func sameText(a, b slog.Attr) bool {
	return a.Key == b.Key && a.Value.Kind() == slog.KindString && b.Value.Kind() == slog.KindString && a.Value.String() == b.Value.String()
}

// idsOf returns the ids in ctx.
func idsOf(ctx context.Context) []slog.Attr {
	if ctx == nil {
		return nil
	}
	var ids []slog.Attr
	add := func(key, value string) {
		if value != "" {
			ids = append(ids, slog.String(key, value))
		}
	}
	if m := leveret.MessageFrom(ctx); m != nil {
		add("message_id", m.ID)
		add("correlation_id", m.CorrelationID)
		add("conversation_id", m.ConversationID)
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		add("trace_id", span.TraceID().String())
		add("span_id", span.SpanID().String())
	}
	return ids
}
