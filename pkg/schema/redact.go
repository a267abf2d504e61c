package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/invopop/jsonschema"
)

// secretText stands for a secret where payloads are shown.
const secretText = "[secret]"

// HasSecrets reports whether payloads may hold secrets: whether the type has a leveret.Secret, at any depth.
func (s *Schema) HasSecrets() bool { return s.place.holds }

// Redact returns a payload as it may be shown: "[secret]" stands for each secret, everything else is left as it is,
// byte for byte. The payload need not fit the schema. As encoding/json does, Redact ignores the case of names; of a
// name that comes twice it hides both values.
//
// Null is shown, since it is no secret. What may be a secret in the wrong place is hidden, too: beside a secret, every
// field that the type does not have; elsewhere, such a field or key that has a secret's name; a value of the wrong JSON
// type where the type has an object or array with secrets; and a type with secrets that encodes itself, as a whole. Of
// a payload that is not JSON, only the size is shown.
//
// A payload without secrets, or of a type without, is returned itself.
func (s *Schema) Redact(payload []byte) []byte {
	return s.replace(payload, func(*jsonschema.Schema, string) []byte { return []byte(`"` + secretText + `"`) })
}

// Placeholders returns a payload with values that fit the schema in place of its secrets, as [Schema.Example] makes
// them: to be filled in and sent. Otherwise it does what [Schema.Redact] does.
func (s *Schema) Placeholders(payload []byte) []byte {
	return s.replace(payload, func(at *jsonschema.Schema, name string) []byte {
		if at != nil && s.resolve(at).WriteOnly {
			if text, err := json.Marshal(s.example(at, name, map[*jsonschema.Schema]bool{})); err == nil {
				return text
			}
		}
		return []byte(`"` + secretText + `"`)
	})
}

func (s *Schema) replace(payload []byte, with func(at *jsonschema.Schema, name string) []byte) []byte {
	switch {
	case !s.HasSecrets() || len(bytes.TrimSpace(payload)) == 0:
		return payload
	case !json.Valid(bytes.TrimPrefix(payload, []byte(byteOrderMark))):
		return fmt.Appendf(nil, "%s: %s that are not JSON", secretText, plural(len(payload), "byte"))
	}
	r := &redaction{schema: s, in: payload, with: with}
	if bytes.HasPrefix(payload, []byte(byteOrderMark)) {
		r.at = len(byteOrderMark)
	}
	r.space()
	r.value(s.place, s.tree, "")
	if r.out == nil {
		return payload
	}
	return append(r.out, payload[r.copied:]...)
}

// redaction is a walk through valid JSON that replaces values.
type redaction struct {
	schema *Schema
	with   func(at *jsonschema.Schema, name string) []byte

	in     []byte
	at     int
	out    []byte
	copied int // how much of in is in out
}

// value walks through the value that begins here. The JSON Schema at this place is nil where there is none.
func (r *redaction) value(p *place, at *jsonschema.Schema, name string) {
	if p.hides(r.in[r.at]) {
		r.hide(at, name)
		return
	}
	if at != nil {
		at = r.schema.resolve(at)
	}
	switch r.in[r.at] {
	case '{':
		r.object(p, at)
	case '[':
		var items *jsonschema.Schema
		if at != nil {
			items = at.Items
		}
		r.elements(']', func() { r.value(p.item(), items, name) })
	default:
		r.scalar()
	}
}

func (r *redaction) object(p *place, at *jsonschema.Schema) {
	if p.shape != '{' {
		p = anything
	}
	r.elements('}', func() {
		begin := r.at
		r.scalar()
		var name string
		_ = json.Unmarshal(r.in[begin:r.at], &name) // it is valid
		r.space()
		r.at++ // the colon
		r.space()
		child, hidden := r.schema.child(p, name)
		under := property(at, name)
		if hidden && r.in[r.at] != 'n' {
			r.hide(under, name)
			return
		}
		r.value(child, under, name)
	})
}

// property returns the JSON Schema of a field or of a map's value; nil if there is none.
func property(at *jsonschema.Schema, name string) *jsonschema.Schema {
	if at == nil {
		return nil
	}
	if at.Properties == nil {
		return at.AdditionalProperties
	}
	found, _ := at.Properties.Get(name)
	return found
}

// elements calls each at the beginning of every element of an array or object, and goes to its end.
func (r *redaction) elements(end byte, each func()) {
	r.at++
	for r.space(); r.in[r.at] != end; r.space() {
		if r.in[r.at] == ',' {
			r.at++
			continue
		}
		each()
	}
	r.at++
}

// hide replaces the value that begins here.
func (r *redaction) hide(at *jsonschema.Schema, name string) {
	r.out = append(r.out, r.in[r.copied:r.at]...)
	r.out = append(r.out, r.with(at, name)...)
	r.skip()
	r.copied = r.at
}

// skip goes to the end of the value that begins here.
func (r *redaction) skip() {
	for depth := 0; ; {
		switch r.in[r.at] {
		case '{', '[':
			depth++
			r.at++
		case '}', ']':
			depth--
			r.at++
		case ',', ':', ' ', '\t', '\n', '\r':
			r.at++
		default:
			r.scalar()
		}
		if depth == 0 {
			return
		}
	}
}

// scalar goes to the end of the string, number, boolean or null that begins here.
func (r *redaction) scalar() {
	if r.in[r.at] == '"' {
		for r.at++; r.in[r.at] != '"'; r.at++ {
			if r.in[r.at] == '\\' {
				r.at++
			}
		}
		r.at++
		return
	}
	for r.at < len(r.in) && strings.IndexByte(",:]} \t\n\r", r.in[r.at]) < 0 {
		r.at++
	}
}

func (r *redaction) space() {
	for r.at < len(r.in) && strings.IndexByte(" \t\n\r", r.in[r.at]) >= 0 {
		r.at++
	}
}
