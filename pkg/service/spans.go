package service

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// readableSpan is a span whose texts are UTF-8, whatever came from outside.
type readableSpan struct{ sdktrace.ReadOnlySpan }

// Name implements sdktrace.ReadOnlySpan.
func (s readableSpan) Name() string { return readable(s.ReadOnlySpan.Name()) }

// Status implements sdktrace.ReadOnlySpan.
func (s readableSpan) Status() sdktrace.Status {
	status := s.ReadOnlySpan.Status()
	status.Description = readable(status.Description[:min(len(status.Description), maxValue)])
	return status
}

// Attributes implements sdktrace.ReadOnlySpan.
func (s readableSpan) Attributes() []attribute.KeyValue {
	return readableAttributes(s.ReadOnlySpan.Attributes())
}

// Events implements sdktrace.ReadOnlySpan.
func (s readableSpan) Events() []sdktrace.Event {
	events := s.ReadOnlySpan.Events()
	all := make([]sdktrace.Event, len(events))
	for i, e := range events {
		e.Name, e.Attributes = readable(e.Name), readableAttributes(e.Attributes)
		all[i] = e
	}
	return all
}

// Links implements sdktrace.ReadOnlySpan.
func (s readableSpan) Links() []sdktrace.Link {
	links := s.ReadOnlySpan.Links()
	all := make([]sdktrace.Link, len(links))
	for i, l := range links {
		l.Attributes = readableAttributes(l.Attributes)
		all[i] = l
	}
	return all
}

func readableAttributes(attributes []attribute.KeyValue) []attribute.KeyValue {
	all := make([]attribute.KeyValue, len(attributes))
	for i, a := range attributes {
		all[i] = attribute.KeyValue{Key: attribute.Key(readable(string(a.Key))), Value: readableValue(a.Value)}
	}
	return all
}

func readableValue(v attribute.Value) attribute.Value {
	switch v.Type() {
	case attribute.STRING:
		return attribute.StringValue(readable(v.AsString()))
	case attribute.STRINGSLICE:
		texts := v.AsStringSlice()
		for i := range texts {
			texts[i] = readable(texts[i])
		}
		return attribute.StringSliceValue(texts)
	case attribute.SLICE:
		values := v.AsSlice()
		for i := range values {
			values[i] = readableValue(values[i])
		}
		return attribute.SliceValue(values...)
	case attribute.MAP:
		return attribute.MapValue(readableAttributes(v.AsMap())...)
	default:
		return v
	}
}

func readable(text string) string { return strings.ToValidUTF8(text, "\ufffd") }
