package leveret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

const (
	contentTypeJSON  = "application/json"
	contentTypeFault = "application/problem+json"
)

// validator is what a payload may implement: it is asked before sending and after decoding.
type validator interface{ Validate() error }

// validate asks the payload behind a pointer, whether it implements validator by value or by pointer.
func validate[T any](payload *T) error {
	v, ok := any(payload).(validator)
	if !ok {
		if v, ok = any(*payload).(validator); !ok {
			return nil
		}
		if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer && rv.IsNil() {
			return Errorf(InvalidArgument, "the payload is nil")
		}
	}
	if err := v.Validate(); err != nil {
		if CodeOf(err) == Unknown {
			return Errorf(InvalidArgument, "%w", err)
		}
		return err
	}
	return nil
}

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, Errorf(InvalidArgument, "cannot be encoded: %w", err)
	}
	if bytes.Equal(body, []byte("null")) {
		return nil, Errorf(InvalidArgument, "a nil %T cannot be sent", v)
	}
	return body, nil
}

// decodePayload decodes and validates what a message carries. Unknown fields are accepted: a sender may be newer.
func decodePayload[T any](body []byte, payload *T) error {
	if err := decode(body, payload); err != nil {
		return err
	}
	return validate(payload)
}

// decoded is decodePayload for the Decode methods of the contracts.
func decoded[T any](body []byte) (T, error) {
	var payload T
	err := decodePayload(body, &payload)
	return payload, err
}

// decode accepts exactly one JSON value that is not null. Its errors are InvalidArgument and name the field.
func decode(body []byte, into any) error {
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 {
		return Errorf(InvalidArgument, "the body is empty; it must be a JSON value")
	}
	if bytes.Equal(trimmed, []byte("null")) {
		return Errorf(InvalidArgument, "the body is null; it must be a JSON value")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return Errorf(InvalidArgument, "%s", describeJSON(err))
	}
	return nil
}

// describeJSON says in plain words what is wrong with a body, and where.
func describeJSON(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the body is not JSON: it ends in the middle"
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("the body is not JSON: %s (at byte %d)", e.Error(), e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return fmt.Sprintf("the body must be a JSON %s, not a %s", jsonType(e.Type), e.Value)
		}
		return fmt.Sprintf("%s: must be a JSON %s, not a %s", e.Field, jsonType(e.Type), e.Value)
	}
	return "the body cannot be decoded: " + strings.TrimPrefix(err.Error(), "json: ")
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.Float32, reflect.Float64:
		return "number"
	default:
		return "integer (" + t.String() + ")"
	}
}

// encodable tells at once of types that encoding/json would refuse at the first message.
func encodable(t reflect.Type) error {
	return encodableIn(t, t.String(), map[reflect.Type]bool{})
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()
)

func encodableIn(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] || t.Implements(marshaler) || t.Implements(textMarshaler) ||
		reflect.PointerTo(t).Implements(marshaler) || reflect.PointerTo(t).Implements(textMarshaler) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %v, which JSON cannot carry", path, t.Kind())
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return encodableIn(t.Elem(), path, seen)
	case reflect.Map:
		if k := t.Key(); k.Kind() != reflect.String && !k.Implements(textMarshaler) && !k.ConvertibleTo(reflect.TypeFor[int64]()) {
			return fmt.Errorf("%s has keys of type %v, which JSON cannot carry", path, k)
		}
		return encodableIn(t.Elem(), path, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() && !f.Anonymous || f.Tag.Get("json") == "-" {
				continue
			}
			if err := encodableIn(f.Type, path+"."+f.Name, seen); err != nil {
				return err
			}
		}
	default:
	}
	return nil
}
