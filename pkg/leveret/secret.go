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
func HoldsSecret(t reflect.Type) bool { return holdsSecret(t, map[reflect.Type]bool{}) }

func holdsSecret(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.String:
		return t == reflect.TypeFor[Secret]()
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return holdsSecret(t.Elem(), seen)
	case reflect.Map:
		return holdsSecret(t.Key(), seen) || holdsSecret(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if holdsSecret(f.Type, seen) {
				return true
			}
		}
	default:
	}
	return false
}
