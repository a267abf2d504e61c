package httprpc

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// field is a field of a payload that a parameter can carry: text, a truth, a number, or a list of those.
type field struct {
	list bool
	kind reflect.Kind // String for everything that is text in JSON
	bits int
}

// fieldsOf returns the fields of a struct that parameters can carry, by their names in JSON.
func fieldsOf(t reflect.Type) map[string]field {
	fields := make(map[string]field)
	t = pointee(t)
	if t.Kind() != reflect.Struct {
		return fields
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if one, ok := fieldOf(f.Type); ok {
			fields[name] = one
		}
	}
	return fields
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

func fieldOf(t reflect.Type) (field, bool) {
	t = pointee(t)
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return field{kind: reflect.String}, true
	}
	switch k := t.Kind(); k {
	case reflect.String, reflect.Bool:
		return field{kind: k}, true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return field{kind: k, bits: t.Bits()}, true
	case reflect.Slice:
		one, ok := fieldOf(t.Elem())
		if !ok || one.list || t.Elem().Kind() == reflect.Uint8 { // bytes are text
			return field{}, false
		}
		one.list = true
		return one, true
	default:
		return field{}, false
	}
}

func pointee(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// encode returns the value of a parameter as JSON.
func (f field) encode(name string, values []string) (json.RawMessage, error) {
	if !f.list {
		if len(values) > 1 {
			return nil, wrong(name, "is given %d times; it is one value", len(values))
		}
		return f.scalar(name, values[0])
	}
	list := make([]json.RawMessage, len(values))
	for i, v := range values {
		var err error
		if list[i], err = f.scalar(name, v); err != nil {
			return nil, err
		}
	}
	return json.Marshal(list)
}

func (f field) scalar(name, text string) (json.RawMessage, error) {
	var err error
	switch {
	case f.kind == reflect.String:
		return json.Marshal(text)
	case f.kind == reflect.Bool:
		if text != "true" && text != "false" {
			return nil, wrong(name, "must be true or false")
		}
	case f.kind >= reflect.Int && f.kind <= reflect.Int64:
		_, err = strconv.ParseInt(text, 10, f.bits)
	case f.kind >= reflect.Uint && f.kind <= reflect.Uint64:
		_, err = strconv.ParseUint(text, 10, f.bits)
	default:
		_, err = strconv.ParseFloat(text, f.bits)
	}
	if err != nil || !json.Valid([]byte(text)) { // JSON knows no +1, 007 and Inf
		what := "a number"
		if f.kind < reflect.Float32 {
			what = "an integer"
		}
		return nil, wrong(name, "must be %s (%v)", what, f.kind)
	}
	return json.RawMessage(text), nil
}

// wrong is an error about a field.
func wrong(name, format string, args ...any) error {
	detail := fmt.Sprintf(format, args...)
	return &leveret.Error{
		Code: leveret.InvalidArgument, Message: name + ": " + detail,
		Fields: []leveret.FieldViolation{{Field: name, Detail: detail}},
	}
}
