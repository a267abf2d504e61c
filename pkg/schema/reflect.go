package schema

import (
	"encoding"
	"encoding/json"
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

// correct makes a schema match encoding/json: pointers may be null, and the keys of a map may be negative numbers.
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
	case reflect.Slice, reflect.Array:
		if s.Items != nil {
			correct(t.Elem(), s.Items, defs, seen)
			s.Items = nullable(t.Elem(), s.Items)
		}
	case reflect.Map:
		if items, ok := s.PatternProperties["^[0-9]+$"]; ok {
			s.PatternProperties, s.AdditionalProperties = nil, items
			s.PropertyNames = &jsonschema.Schema{Pattern: wholeNumber}
		}
		if s.AdditionalProperties != nil {
			correct(t.Elem(), s.AdditionalProperties, defs, seen)
			s.AdditionalProperties = nullable(t.Elem(), s.AdditionalProperties)
		}
	case reflect.Struct:
		if s.Properties != nil && !seen[t] {
			seen[t] = true
			correctFields(t, s, defs, seen)
		}
	default:
	}
}

// wholeNumber is the pattern of the keys of a map by numbers.
const wholeNumber = "^-?[0-9]+$"

func correctFields(t reflect.Type, s *jsonschema.Schema, defs jsonschema.Definitions, seen map[reflect.Type]bool) {
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if property, ok := s.Properties.Get(name); ok {
			correct(f.Type, property, defs, seen)
			if slices.Contains(strings.Split(options, ","), "string") && isWhole(f.Type.Kind()) {
				property.Pattern = wholeNumber // encoding/json writes it in quotes
			}
			s.Properties.Set(name, nullable(f.Type, property))
		}
	}
}

func isWhole(k reflect.Kind) bool { return k >= reflect.Int && k <= reflect.Uint64 }

// nullable allows null if the Go type is a pointer.
func nullable(t reflect.Type, s *jsonschema.Schema) *jsonschema.Schema {
	if t.Kind() != reflect.Pointer {
		return s
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "null"}}, WriteOnly: s.WriteOnly}
}

func refersTo(defs jsonschema.Definitions, ref string) bool {
	document, err := json.Marshal(defs)
	return err != nil || strings.Contains(string(document), `"$ref":"`+ref+`"`)
}
