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
)

const defsPrefix = "#/$defs/"

// reflectType makes the schema of a type. The root stands at the top, and again among the definitions only where
// something refers back to it.
func reflectType(t reflect.Type) *jsonschema.Schema {
	names := &namer{byName: map[string]reflect.Type{}}
	r := jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: true, Namer: names.name, Mapper: mapType}
	root := r.ReflectFromType(t)
	allowNull(t, root, root.Definitions, map[reflect.Type]bool{})
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

// mapType corrects what the reflector would say of types that encode themselves.
func mapType(t reflect.Type) *jsonschema.Schema {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return nil
	case t.Kind() == reflect.Uintptr:
		return &jsonschema.Schema{Type: "integer"}
	case t.Kind() == reflect.Interface:
		return nil
	case implements[json.Marshaler](t):
		return &jsonschema.Schema{} // anything
	case implements[encoding.TextMarshaler](t):
		s := &jsonschema.Schema{Type: "string"}
		if strings.HasSuffix(t.Name(), "UUID") {
			s.Format = "uuid"
		}
		return s
	default:
		return nil
	}
}

func implements[I any](t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[I]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[I]())
}

// namer names definitions: by the type's name, and by its package too where two types share one.
type namer struct{ byName map[string]reflect.Type }

var notInName = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

func (n *namer) name(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	short := strings.Trim(notInName.ReplaceAllString(t.Name(), "-"), "-")
	for _, name := range []string{short, notInName.ReplaceAllString(t.PkgPath(), ".") + "." + short} {
		if have, taken := n.byName[name]; !taken || have == t {
			n.byName[name] = t
			return name
		}
	}
	return short
}

// allowNull lets pointer fields that are always written be null: encoding/json writes a nil pointer so.
func allowNull(t reflect.Type, s *jsonschema.Schema, defs jsonschema.Definitions, seen map[reflect.Type]bool) {
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
			allowNull(t.Elem(), s.Items, defs, seen)
		}
	case reflect.Map:
		if s.AdditionalProperties != nil {
			allowNull(t.Elem(), s.AdditionalProperties, defs, seen)
		}
	case reflect.Struct:
		if s.Properties != nil && !seen[t] {
			seen[t] = true
			allowNullFields(t, s, defs, seen)
		}
	default:
	}
}

func allowNullFields(t reflect.Type, s *jsonschema.Schema, defs jsonschema.Definitions, seen map[reflect.Type]bool) {
	for _, f := range reflect.VisibleFields(t) {
		tag := strings.Split(f.Tag.Get("json"), ",")
		name := tag[0]
		if name == "" {
			name = f.Name
		}
		property, ok := s.Properties.Get(name)
		if !ok || !f.IsExported() || tag[0] == "-" {
			continue
		}
		allowNull(f.Type, property, defs, seen)
		if f.Type.Kind() == reflect.Pointer && !slices.Contains(tag[1:], "omitempty") && !slices.Contains(tag[1:], "omitzero") {
			s.Properties.Set(name, &jsonschema.Schema{AnyOf: []*jsonschema.Schema{property, {Type: "null"}}})
		}
	}
}

func refersTo(defs jsonschema.Definitions, ref string) bool {
	document, err := json.Marshal(defs)
	return err != nil || strings.Contains(string(document), `"$ref":"`+ref+`"`)
}
