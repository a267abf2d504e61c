package schema

import (
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// A field is one that encoding/json encodes.
type field struct {
	typ         reflect.Type
	quoted      bool // json:",string"
	mayBeAbsent bool // it is in a struct that is embedded by a pointer, which may be nil
	others      bool // there are fields with its name that it hides
	leftOut     bool // of the schema, on purpose: jsonschema:"-"

	tagged, ambiguous bool
	depth             int
}

// encodedFields returns the fields of a struct as encoding/json encodes them, by their names: also those of embedded
// structs, of which one may hide another.
func encodedFields(t reflect.Type) map[string]*field {
	all := map[string]*field{}
	addEncoded(all, t, 0, false, map[reflect.Type]bool{})
	for name, f := range all {
		if f.ambiguous {
			delete(all, name)
		}
	}
	return all
}

func addEncoded(all map[string]*field, t reflect.Type, depth int, mayBeAbsent bool, within map[reflect.Type]bool) {
	if within[t] {
		return
	}
	within[t] = true
	defer delete(within, t)
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		name, options := taggedName(tag)
		embedded := f.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		isStruct := f.Anonymous && embedded.Kind() == reflect.Struct
		if tag == "-" || !f.IsExported() && !isStruct {
			continue
		}
		if isStruct && name == "" {
			addEncoded(all, embedded, depth+1, mayBeAbsent || f.Type != embedded, within)
			continue
		}
		if !f.IsExported() {
			continue
		}
		found := &field{
			typ: f.Type, quoted: slices.Contains(strings.Split(options, ","), "string"), mayBeAbsent: mayBeAbsent,
			leftOut: f.Tag.Get("jsonschema") == "-",
			tagged:  name != "", depth: depth,
		}
		if name == "" {
			name = f.Name
		}
		all[name] = found.beside(all[name])
	}
}

// taggedName returns the name in a json tag, and its options. As in encoding/json, one with a quote or a backslash does
// not count.
func taggedName(tag string) (name, options string) {
	name, options, _ = strings.Cut(tag, ",")
	odd := func(r rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}
	if strings.ContainsFunc(name, odd) {
		return "", options
	}
	return name, options
}

// beside returns which of two fields with one name counts; other may be nil.
func (f *field) beside(other *field) *field {
	switch {
	case other == nil:
		return f
	case f.depth > other.depth, f.depth == other.depth && other.tagged && !f.tagged:
		f = other
	case f.depth == other.depth && f.tagged == other.tagged:
		f.ambiguous = true
	}
	f.others = true
	return f
}
