package httprpc

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// fields are those of a payload or a reply, by their names in JSON.
type fields struct {
	object bool // a struct that encoding/json encodes field by field
	all    []*field
	byName map[string]*field
}

// A field is one that a parameter may fill.
type field struct {
	name   string
	cannot string       // why no parameter can fill it: "is an object"
	typ    reflect.Type // without pointers; of a list, that of its items
	list   bool
	text   bool // a JSON string, whatever it says
	quoted bool // a number or a boolean in quotes: json:",string"
}

// fieldsOf lists the fields of a type as encoding/json does. What is no plain struct has none.
func fieldsOf(t reflect.Type) fields {
	f := fields{byName: make(map[string]*field)}
	if t = base(t); t.Kind() != reflect.Struct || implements[json.Unmarshaler](t) || implements[encoding.TextUnmarshaler](t) {
		return f
	}
	f.object = true
	depths := make(map[string]int)
	for _, s := range reflect.VisibleFields(t) {
		tag := s.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if tag == "-" || !s.IsExported() || s.Anonymous && name == "" && base(s.Type).Kind() == reflect.Struct {
			continue
		}
		if name == "" {
			name = s.Name
		}
		if depth, hidden := depths[name]; hidden && depth <= len(s.Index) {
			continue
		}
		depths[name] = len(s.Index)
		f.all = slices.DeleteFunc(f.all, func(other *field) bool { return other.name == name })
		f.byName[name] = newField(name, s.Type, slices.Contains(strings.Split(options, ","), "string"))
		f.all = append(f.all, f.byName[name])
	}
	return f
}

func newField(name string, t reflect.Type, quoted bool) *field {
	f := &field{name: name, typ: base(t)}
	base64 := f.typ.Kind() == reflect.Slice && f.typ.Elem().Kind() == reflect.Uint8
	if f.typ.Kind() == reflect.Slice && !base64 && !implements[encoding.TextUnmarshaler](f.typ) {
		f.list, f.typ = true, base(f.typ.Elem())
	}
	switch kind := f.typ.Kind(); {
	case f.typ == reflect.TypeFor[leveret.Secret]():
		f.cannot = "is secret, and a URL is written into logs"
	case implements[encoding.TextUnmarshaler](f.typ), base64:
		f.text = true
	case implements[json.Unmarshaler](f.typ):
		f.cannot = "has an encoding of its own"
	case kind == reflect.String && quoted:
		f.cannot = "is in quotes twice"
	case kind == reflect.String:
		f.text = f.typ != reflect.TypeFor[json.Number]()
	case kind == reflect.Bool, reflect.Int <= kind && kind <= reflect.Float64:
		f.quoted = quoted
	case f.list:
		f.cannot = "is a list of what is no text, number or boolean"
	default:
		f.cannot = "is no text, number or boolean"
	}
	return f
}

// base returns the type that pointers lead to.
func base(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func implements[I any](t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[I]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[I]())
}

// encode returns the JSON of a parameter's values; of a field that is no list there must be one. The error says what
// the field must be, and does not repeat the value.
func (f *field) encode(values []string) (json.RawMessage, error) {
	if f.cannot != "" {
		return nil, errors.New(f.cannot + "; it cannot be a parameter")
	}
	if !f.list {
		if len(values) != 1 {
			return nil, errors.New("is given more than once")
		}
		return f.encodeOne(values[0])
	}
	items := make([]json.RawMessage, len(values))
	for i, value := range values {
		item, err := f.encodeOne(value)
		if err != nil {
			return nil, err
		}
		items[i] = item
	}
	return json.Marshal(items)
}

func (f *field) encodeOne(value string) (json.RawMessage, error) {
	literal := []byte(value)
	switch {
	case !utf8.ValidString(value):
		return nil, errors.New("must be UTF-8")
	case f.text:
		literal, _ = json.Marshal(value) //nolint:errchkjson // a string can be encoded
		if f.typ.Kind() == reflect.String && !implements[encoding.TextUnmarshaler](f.typ) {
			return literal, nil
		}
	case value == "null" || value != strings.TrimSpace(value):
		return nil, errors.New("must be " + f.kind())
	}
	if json.Unmarshal(literal, reflect.New(f.typ).Interface()) != nil {
		return nil, errors.New("must be " + f.kind())
	}
	if f.quoted {
		return json.Marshal(value)
	}
	return literal, nil
}

// kind says what a parameter must be.
func (f *field) kind() string {
	switch kind := f.typ.Kind(); {
	case f.text:
		return "a valid " + cmp.Or(f.typ.Name(), "base64")
	case kind == reflect.Bool:
		return "true or false"
	case reflect.Int <= kind && kind <= reflect.Uintptr:
		return "an integer (" + kind.String() + ")"
	default:
		return "a number"
	}
}

// same reports whether two JSON values are the same to the field.
func (f *field) same(a, b json.RawMessage) bool {
	if f.quoted {
		return bytes.Equal(bytes.TrimSpace(a), bytes.TrimSpace(b))
	}
	var encoded [2][]byte
	for i, raw := range []json.RawMessage{a, b} {
		value := reflect.New(f.typ)
		if json.Unmarshal(raw, value.Interface()) != nil {
			return false
		}
		encoded[i], _ = json.Marshal(value.Interface()) //nolint:errchkjson // it was decoded from JSON
	}
	return bytes.Equal(encoded[0], encoded[1])
}

// violation is the error of one field that is wrong.
func violation(name, detail string) error {
	return &leveret.Error{
		Code: leveret.InvalidArgument, Message: name + ": " + detail,
		Fields: []leveret.FieldViolation{{Field: name, Detail: detail}},
	}
}
