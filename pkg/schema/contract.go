package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Payload makes the schema of a contract's payload. Where the contract has a codec, so that payloads travel in another form,
// it is the schema of the JSON in which people read and write them.
func Payload(spec leveret.Spec) (*Schema, error) { return of(spec.Payload, spec) }

// Reply makes the schema of the reply to a request, likewise.
func Reply(spec leveret.Spec) (*Schema, error) { return of(spec.Reply, spec) }

// FromBody returns what travels as the JSON that people read. It fails if the contract's codec cannot decode it. Where
// there is no codec, it is returned as it is, whatever is in it.
func (s *Schema) FromBody(body []byte) ([]byte, error) {
	c := s.spec.Codec
	if c == nil {
		return body, nil
	}
	value := reflect.New(s.goType).Interface()
	if err := s.spec.Decode(body, value); err != nil {
		return nil, err
	}
	if c.ToJSON == nil {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // people read it
		err := e.Encode(value)
		return []byte(strings.TrimSuffix(b.String(), "\n")), err
	}
	text, err := c.ToJSON(value)
	if err != nil {
		return nil, fmt.Errorf("there is no JSON of it: %w", err)
	}
	return text, nil
}

// ToBody returns JSON that people wrote, or that came over HTTP, as it travels. It fails if it does not fit the contract:
// [Schema.Check] says why. Fields that the contract does not have are ignored, if its codec ignores them.
func (s *Schema) ToBody(text []byte) ([]byte, error) {
	if s.spec.Codec == nil {
		return text, nil
	}
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	if !s.encoded() && (!json.Valid(text) || wire.FirstInvalid(text) >= 0 || string(bytes.TrimSpace(text)) == "null") {
		return nil, errors.New("it is not one JSON value in UTF-8, or it is null")
	}
	value, err := s.read(text)
	if err != nil {
		return nil, err
	}
	return s.spec.Encode(value.Interface())
}

// encoded reports whether a codec reads the JSON, and not encoding/json.
func (s *Schema) encoded() bool { return s.spec.Codec != nil && s.spec.Codec.FromJSON != nil }

// known reports whether the schema has the names of all fields. The JSON of a codec without a schema may have others.
func (s *Schema) known() bool { return !s.encoded() || s.spec.Codec.Schema != nil }

// given reads the schema that a codec has of a type.
func given(c *leveret.Codec, t reflect.Type) (*jsonschema.Schema, error) {
	text, err := c.Schema(t)
	if err != nil {
		return nil, err
	}
	tree := new(jsonschema.Schema)
	if err := json.Unmarshal(text, tree); err != nil {
		return nil, fmt.Errorf("the codec's schema: %w", err)
	}
	return tree, nil
}

// places are those of a schema that a codec has made: what is writeOnly is secret.
type places struct {
	defs  jsonschema.Definitions
	made  map[*jsonschema.Schema]*place
	names map[string]bool
}

func (b *places) of(at *jsonschema.Schema) *place {
	for {
		if at.WriteOnly {
			return &place{secret: true, holds: true}
		}
		if name, ok := strings.CutPrefix(at.Ref, defsPrefix); ok && b.defs[name] != nil {
			at = b.defs[name]
		} else if len(at.AnyOf) > 0 {
			at = at.AnyOf[0]
		} else {
			break
		}
	}
	if p := b.made[at]; p != nil {
		return p
	}
	p := &place{holds: b.holds(at, map[*jsonschema.Schema]bool{})}
	b.made[at] = p
	switch {
	case at.Properties != nil:
		p.shape, p.fields = '{', map[string]*place{}
		for pair := at.Properties.Oldest(); pair != nil; pair = pair.Next() {
			field := b.of(pair.Value)
			p.fields[fold(pair.Key)] = field
			if field.secret {
				b.names[fold(pair.Key)] = true
			}
		}
	case at.Type == "object":
		p.shape, p.each = '{', anything
		if at.AdditionalProperties != nil {
			p.each = b.of(at.AdditionalProperties)
		}
	case at.Type == "array":
		p.shape, p.each = '[', anything
		if at.Items != nil {
			p.each = b.of(at.Items)
		}
	}
	return p
}

// holds reports whether a value may be secret, or a part of it.
func (b *places) holds(at *jsonschema.Schema, seen map[*jsonschema.Schema]bool) bool {
	if at == nil || seen[at] {
		return false
	}
	seen[at] = true
	if at.WriteOnly || b.holds(at.Items, seen) || b.holds(at.AdditionalProperties, seen) {
		return true
	}
	for _, alternative := range at.AnyOf {
		if b.holds(alternative, seen) {
			return true
		}
	}
	for pair := at.Properties.Oldest(); pair != nil; pair = pair.Next() {
		if b.holds(pair.Value, seen) {
			return true
		}
	}
	name, _ := strings.CutPrefix(at.Ref, defsPrefix)
	return b.holds(b.defs[name], seen)
}
