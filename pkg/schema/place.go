package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A place is where in a payload a Go type stands, with what is secret there. It follows encoding/json, not the JSON
// Schema, from which a jsonschema tag can leave a field out.
type place struct {
	secret bool              // all of the value is
	holds  bool              // the value is secret, or a part of it may be
	shape  byte              // '{' for an object, '[' for an array, 0 for any other value and for what encodes itself
	fields map[string]*place // of a struct, by their folded names
	each   *place            // the values of a map, the items of an array
}

// anything is a place of which nothing is known.
var anything = &place{}

// placing makes the places of a type.
type placing struct {
	byType map[reflect.Type]*place
	names  map[string]bool // the folded names of all secret fields
	wrong  error
}

func (b *placing) of(t reflect.Type) *place {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p := b.byType[t]; p != nil {
		return p
	}
	p := &place{holds: leveret.HoldsSecret(t)}
	b.byType[t] = p
	switch {
	case t == reflect.TypeFor[leveret.Secret]():
		p.secret = true
	case encodesItself(t):
		p.secret = p.holds // which of its parts are is not known
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Array:
		p.shape, p.each = '[', b.of(t.Elem())
		if t.Elem().Kind() == reflect.Uint8 {
			p.shape = 0 // base64
		}
	case t.Kind() == reflect.Map:
		p.shape, p.each = '{', b.of(t.Elem())
		if leveret.HoldsSecret(t.Key()) {
			b.wrong = fmt.Errorf("the keys of %v are secrets, but names cannot be hidden", t)
		}
	case t.Kind() == reflect.Struct:
		p.shape, p.fields = '{', map[string]*place{}
		b.addFields(p, t, map[reflect.Type]bool{})
	}
	return p
}

func encodesItself(t reflect.Type) bool {
	return implements[json.Marshaler](t) || implements[encoding.TextMarshaler](t) ||
		implements[json.Unmarshaler](t) || implements[encoding.TextUnmarshaler](t)
}

// addFields adds the fields of a struct, and those of the structs that it embeds. Of two fields with one name, a secret
// one counts.
func (b *placing) addFields(p *place, t reflect.Type, within map[reflect.Type]bool) {
	if within[t] {
		return
	}
	within[t] = true
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		name, _ := taggedName(tag)
		embedded := f.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		switch isStruct := f.Anonymous && embedded.Kind() == reflect.Struct; {
		case tag == "-", !f.IsExported() && !isStruct:
		case isStruct && name == "":
			b.addFields(p, embedded, within)
		default:
			if name == "" {
				name = f.Name
			}
			b.addField(p, fold(name), b.of(f.Type))
		}
	}
}

func (b *placing) addField(p *place, name string, field *place) {
	if have := p.fields[name]; have == nil || !have.secret && field.holds {
		p.fields[name] = field
	}
	if field.secret {
		b.names[name] = true
	}
}

// fold returns a name as encoding/json compares it with those of fields: without regard to case.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

// child returns the place of the value that an object at p has under a name, and whether that value must be hidden.
//
// What the type does not have may be a secret all the same: the name is misspelt, or its sender is newer. So it is
// hidden beside a secret, and elsewhere if it has the name of one.
func (s *Schema) child(p *place, name string) (child *place, hidden bool) {
	name = fold(name)
	if field := p.fields[name]; field != nil {
		return field, field.secret
	}
	hidden = p.fields != nil && p.holds || s.secretNames[name]
	if p.fields == nil && p.shape == '{' {
		return p.each, hidden || p.each.secret
	}
	return anything, hidden
}

// item returns the place of an array's items.
func (p *place) item() *place {
	if p.shape == '[' {
		return p.each
	}
	return anything
}

// hides reports whether a value at a place must be hidden as a whole: it is secret, or it is not what its type expects,
// so that it may be a secret in the wrong place. First is the value's first byte as JSON.
func (p *place) hides(first byte) bool {
	return first != 'n' && (p.secret || p.holds && p.shape != first)
}
