package leveret

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"
)

// A Secret is a field of a payload that nobody may see, such as a password. Convert it to a string to use it.
//
// JSON carries it as it is, to the other side. fmt and log/slog print "[secret]" in its place, and so does all that shows
// payloads: see package schema. They cannot do so for a Secret in an unexported field, nor slog's JSON handler for one
// inside a struct. The logger of package service leaves such values out: see [HoldsSecret].
type Secret string

// Format prints "[secret]", whatever the verb.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[secret]") }

// LogValue returns "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// HoldsSecret reports whether a value of the type can hold a [Secret]: whether it is one, or one of its parts is, at
// any depth. What interfaces hold does not count.
func HoldsSecret(t reflect.Type) bool {
	return holds(t, func(t reflect.Type) bool { return t == reflect.TypeFor[Secret]() }, map[reflect.Type]bool{})
}

// holdsAny reports whether a value of the type can hold an interface, likewise; nil is the type of nothing.
func holdsAny(t reflect.Type) bool {
	return t != nil && holds(t, func(t reflect.Type) bool { return t.Kind() == reflect.Interface }, map[reflect.Type]bool{})
}

func holds(t reflect.Type, what func(reflect.Type) bool, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return holds(t.Elem(), what, seen)
	case reflect.Map:
		return holds(t.Key(), what, seen) || holds(t.Elem(), what, seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if holds(f.Type, what, seen) {
				return true
			}
		}
	default:
	}
	return what(t)
}
