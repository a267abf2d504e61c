package schema

import (
	"encoding"
	"encoding/json"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/leveretmq/leveret/pkg/leveret"
)

const defsPrefix = "#/$defs/"

// reflectType makes the schema of a type. The root type is at the top; it is also a definition only if something refers
// to it.
func reflectType(t reflect.Type) *jsonschema.Schema {
	names := &namer{byName: map[string]reflect.Type{}}
	r := jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: true, Namer: names.name, Mapper: mapType}
	root := r.ReflectFromType(t)
	correct(t, root, root.Definitions, map[reflect.Type]bool{})
	if name, ok := strings.CutPrefix(root.Ref, defsPrefix); ok && root.Definitions[name] != nil {
		expanded := *root.Definitions[name]
		expanded.Version, expanded.Definitions = root.Version, root.Definitions
		if !refersTo(root.Definitions, root.Ref) {
			delete(expanded.Definitions, name)
		}
		root = &expanded
	}
	return root
}

// mapType corrects the reflector for types that encode themselves.
func mapType(t reflect.Type) *jsonschema.Schema {
	switch {
	case t == reflect.TypeFor[leveret.Secret]():
		return &jsonschema.Schema{Type: "string", Format: "password", WriteOnly: true}
	case t == reflect.TypeFor[time.Time]():
		return nil
	case t == reflect.TypeFor[url.URL]():
		return &jsonschema.Schema{Type: "object"} // of its fields
	case t.Kind() == reflect.Uintptr:
		return &jsonschema.Schema{Type: "integer"}
	case t.Kind() == reflect.Interface:
		return nil
	case t == reflect.TypeFor[json.Number]():
		return &jsonschema.Schema{Type: "number"}
	case implements[json.Marshaler](t):
		return &jsonschema.Schema{} // anything
	case implements[encoding.TextMarshaler](t):
		s := &jsonschema.Schema{Type: "string"}
		if strings.HasSuffix(t.Name(), "UUID") {
			s.Format = "uuid"
		}
		return s
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && !implements[json.Marshaler](t.Elem()) && !implements[encoding.TextMarshaler](t.Elem()):
		return &jsonschema.Schema{Type: "string", ContentEncoding: "base64"}
	default:
		return sized(t.Kind())
	}
}

// sized is the schema of integers with bounds that a person may exceed; nil for other kinds.
func sized(k reflect.Kind) *jsonschema.Schema {
	bounds := map[reflect.Kind][2]json.Number{
		reflect.Int8: {"-128", "127"}, reflect.Int16: {"-32768", "32767"}, reflect.Int32: {"-2147483648", "2147483647"},
		reflect.Uint8: {"0", "255"}, reflect.Uint16: {"0", "65535"}, reflect.Uint32: {"0", "4294967295"}, reflect.Uint: {"0", ""}, reflect.Uint64: {"0", ""},
	}
	b, ok := bounds[k]
	if !ok {
		return nil
	}
	return &jsonschema.Schema{Type: "integer", Minimum: b[0], Maximum: b[1]}
}

func implements[I any](t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[I]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[I]())
}

// namer names definitions by the type's name, with its package if two types have the same name.
type namer struct{ byName map[string]reflect.Type }

// pathInName is the package of a type's argument: Page[example.com/shop.Order].
var pathInName = regexp.MustCompile(`([\[,])[^\[\],]*[./]`)

var notInName = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

func (n *namer) name(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	short := strings.Trim(notInName.ReplaceAllString(pathInName.ReplaceAllString(t.Name(), "$1"), "-"), "-")
	for _, name := range []string{short, notInName.ReplaceAllString(t.PkgPath(), ".") + "." + short} {
		if have, taken := n.byName[name]; !taken || have == t {
			n.byName[name] = t
			return name
		}
	}
	return short
}

// correct makes a schema match encoding/json: pointers, slices and maps may be null, and the keys of a map may be negative
// numbers, or texts of their own.
func correct(t reflect.Type, s *jsonschema.Schema, defs jsonschema.Definitions, seen map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if name, ok := strings.CutPrefix(s.Ref, defsPrefix); ok {
		s = defs[name]
	}
	if s == nil {
		return
	}
	switch t.Kind() {
	case reflect.String:
		if s.Format == "uuid" && s.Pattern == "" && !implements[encoding.TextMarshaler](t) {
			s.Pattern = canonicalUUID
		}
	case reflect.Slice, reflect.Array:
		if s.Items != nil {
			correct(t.Elem(), s.Items, defs, seen)
			s.Items = nullable(t.Elem(), s.Items)
		}
	case reflect.Map:
		correctMap(t, s, defs, seen)
	case reflect.Struct:
		if s.Properties != nil && !seen[t] {
			seen[t] = true
			correctFields(t, s, defs, seen)
		}
	default:
	}
}

const (
	// canonicalUUID is the pattern of a UUID in a Go string, which is compared as a text: there is one text for each.
	canonicalUUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
	// wholeNumber and naturalNumber are the patterns of the keys of a map by numbers.
	wholeNumber   = "^-?[0-9]+$"
	naturalNumber = "^[0-9]+$"
	// anyNumber is the pattern of a number in quotes.
	anyNumber = `^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`
)

func correctMap(t reflect.Type, s *jsonschema.Schema, defs jsonschema.Definitions, seen map[reflect.Type]bool) {
	if s.Type != "object" { // it encodes itself
		return
	}
	if items, ok := s.PatternProperties[naturalNumber]; ok {
		s.PatternProperties, s.AdditionalProperties = nil, items
	}
	switch k := t.Key(); {
	case k.Kind() == reflect.String:
	case k.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		s.PropertyNames = mapType(k)
	case k.Kind() <= reflect.Int64:
		s.PropertyNames = &jsonschema.Schema{Pattern: wholeNumber}
	default:
		s.PropertyNames = &jsonschema.Schema{Pattern: naturalNumber}
	}
	if s.AdditionalProperties != nil {
		correct(t.Elem(), s.AdditionalProperties, defs, seen)
		s.AdditionalProperties = nullable(t.Elem(), s.AdditionalProperties)
	}
}

func correctFields(t reflect.Type, s *jsonschema.Schema, defs jsonschema.Definitions, seen map[reflect.Type]bool) {
	fields := encodedFields(t)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if _, found := s.Properties.Get(name); !found && !fields[name].leftOut { // a name with which the reflector disagrees
			s.Properties.Set(name, &jsonschema.Schema{})
		}
	}
	for _, name := range slices.Collect(s.Properties.KeysFromOldest()) {
		f := fields[name]
		if f == nil || f.mayBeAbsent {
			s.Required = slices.DeleteFunc(s.Required, func(required string) bool { return required == name })
		}
		switch property, _ := s.Properties.Get(name); {
		case f == nil:
			s.Properties.Delete(name)
		case f.others: // the reflector may have taken one of those
			s.Properties.Set(name, &jsonschema.Schema{})
		default:
			correct(f.typ, property, defs, seen)
			if f.quoted {
				quote(f.typ, property)
			}
			s.Properties.Set(name, nullable(f.typ, property))
		}
	}
}

// quote makes the schema of a value that encoding/json writes in quotes: json:",string".
func quote(t reflect.Type, s *jsonschema.Schema) {
	if t.Name() == "" && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	k := t.Kind()
	if t != reflect.TypeFor[json.Number]() && (implements[json.Marshaler](t) || implements[encoding.TextMarshaler](t)) ||
		k != reflect.String && (k < reflect.Bool || k > reflect.Float64) {
		return // it has no effect
	}
	*s = jsonschema.Schema{Type: "string", Title: s.Title, Description: s.Description, WriteOnly: s.WriteOnly}
	switch {
	case k == reflect.Bool:
		s.Enum = []any{"true", "false"}
	case k <= reflect.Uintptr:
		s.Pattern = wholeNumber
	case k != reflect.String || t == reflect.TypeFor[json.Number]():
		s.Pattern, s.Examples = anyNumber, []any{"1"}
	default:
		s.Examples = []any{`"text"`}
	}
}

// nullable allows null if Go encodes a nil of the type as null, unless there must be items in it.
func nullable(t reflect.Type, s *jsonschema.Schema) *jsonschema.Schema {
	filled := func(least *uint64) bool { return least != nil && *least > 0 }
	switch k := t.Kind(); {
	case k == reflect.Pointer:
	case k != reflect.Slice && k != reflect.Map, implements[json.Marshaler](t), implements[encoding.TextMarshaler](t),
		filled(s.MinItems), filled(s.MinLength), filled(s.MinProperties):
		return s
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "null"}}, WriteOnly: s.WriteOnly}
}

func refersTo(defs jsonschema.Definitions, ref string) bool {
	document, err := json.Marshal(defs)
	return err != nil || strings.Contains(string(document), `"$ref":"`+ref+`"`)
}
