package leveret

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/internal/wire"
)

const (
	contentTypeJSON    = "application/json"
	contentTypeProblem = "application/problem+json"
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

// isNil reports whether a value is nil, or a pointer, a map or a slice that is.
func isNil(v any) bool {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		return r.IsNil()
	default:
		return !r.IsValid()
	}
}

// encode encodes what a pointer leads to, so that methods of pointers count, as they do in decode.
func encode(pointer any) ([]byte, error) {
	body, err := json.Marshal(pointer)
	if err != nil {
		return nil, Errorf(InvalidArgument, "cannot be encoded: %w", err)
	}
	if bytes.Equal(body, []byte("null")) {
		return nil, Errorf(InvalidArgument, "a nil %v cannot be sent", reflect.TypeOf(pointer).Elem())
	}
	return body, nil
}

// decodePayload decodes and validates what a message carries. Unknown fields are accepted: a sender may be newer.
func decodePayload[T any](b *contractBase, body []byte) (T, error) {
	payload, err := payloadOf[T](b, body, nil)
	return *payload, err
}

// decode accepts exactly one JSON value that is not null, in UTF-8, with or without a byte order mark. Of a field that
// comes twice the last counts. Where open says that the type may hold an interface, a number in it becomes a
// [json.Number], which keeps its digits. The errors are InvalidArgument and name the field.
func decode(body []byte, into any, open bool) error {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 {
		return Errorf(InvalidArgument, "the body is empty; it must be a JSON value")
	}
	if bytes.Equal(trimmed, []byte("null")) {
		return Errorf(InvalidArgument, "the body is null; it must be a JSON value")
	}
	if wide := wire.Wide(body); wide != "" {
		return Errorf(InvalidArgument, "the body looks like %s; it must be UTF-8", wide)
	}
	if at := wire.FirstInvalid(body); at >= 0 {
		// encoding/json would put U+FFFD in its place, and so make two different names one.
		return Errorf(InvalidArgument, "the body is not UTF-8 (at byte %d)", at)
	}
	target := into
	if open {
		target = new(json.RawMessage) // a Decoder does not look at what follows a value
	}
	err := json.Unmarshal(body, target)
	if err == nil && open {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		err = d.Decode(into)
	}
	if err != nil {
		return describeJSON(err)
	}
	return nil
}

// describeJSON says in plain words what is wrong with a body, and where.
func describeJSON(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return Errorf(InvalidArgument, "the body is not JSON: it ends in the middle")
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return Errorf(InvalidArgument, "the body is not JSON: %s (at byte %d)", e.Error(), e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		found := wire.Cut(e.Value, 80) // which holds a number as it is written
		if e.Type.Kind() == reflect.String {
			found, _, _ = strings.Cut(found, " ") // it may be meant for a Secret
		}
		detail := fmt.Sprintf("must be a JSON %s, not %s", jsonType(e.Type), article(found))
		if e.Field == "" {
			return Errorf(InvalidArgument, "the body %s", detail)
		}
		field := wire.Cut(e.Field, maxShortString) // the path may be as deep as the body
		return &Error{Code: InvalidArgument, Message: field + ": " + detail, Fields: []FieldViolation{{field, detail}}}
	}
	text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "json: "), ", trying to unmarshal") // a value, which may be secret
	return Errorf(InvalidArgument, "the body cannot be decoded: %s", wire.Cut(text, wire.MaxMessage))
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// jsonTypes are JSON's names of Go's kinds, but for integers.
var jsonTypes = map[reflect.Kind]string{
	reflect.Bool: "boolean", reflect.String: "string", reflect.Slice: "array", reflect.Array: "array",
	reflect.Struct: "object", reflect.Map: "object", reflect.Float32: "number", reflect.Float64: "number",
}

func jsonType(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		return jsonType(t.Elem())
	}
	return cmp.Or(jsonTypes[t.Kind()], "integer ("+t.String()+")")
}

// encodable returns an error for a type that encoding/json would refuse at the first message.
func encodable(t reflect.Type) error {
	return encodableIn(t, t.String(), map[reflect.Type]bool{})
}

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	// coders are the interfaces of types that see to their encoding themselves.
	coders = []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](), textMarshaler}
)

func encodableIn(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] || t.Kind() != reflect.Interface && slices.ContainsFunc(coders, reflect.PointerTo(t).Implements) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %v, which JSON cannot carry", path, t.Kind())
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("%s is the interface %v, which JSON cannot be decoded into", path, t)
		}
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return encodableIn(t.Elem(), path, seen)
	case reflect.Map:
		k := t.Key()
		if n := k.Kind(); n != reflect.String && (n < reflect.Int || n > reflect.Uintptr) && !k.Implements(textMarshaler) {
			return fmt.Errorf("%s has keys of type %v, which JSON cannot carry", path, k)
		}
		return encodableIn(t.Elem(), path, seen)
	case reflect.Struct:
		for f := range t.Fields() {
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			if !f.IsExported() && (!f.Anonymous || embedded.Kind() != reflect.Struct) || f.Tag.Get("json") == "-" {
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
