// Package schema describes the payloads of a Go type as JSON Schema, makes examples, and checks payloads field by
// field.
//
// The schema follows encoding/json: names come from json tags, a field is required unless it has omitempty or omitzero or
// is in a struct that is embedded by a pointer, pointers, slices and maps may be null, and unknown fields are accepted. A
// slice with minItems=1 may not be null. A string with format=uuid must be in the canonical form, in lower case: ids are
// compared as texts. Check also applies the type's jsonschema tags (minimum=1,
// enum=EUR, format=uuid, …) and its Validate method. As JSON Schema prescribes, minLength and maxLength count
// characters (Unicode code points), not bytes; a Validate method that repeats a limit should use
// utf8.RuneCountInString.
//
// A leveret.Secret is a string that is writeOnly. Check never quotes one, Redact hides them in payloads that are shown,
// and examples have placeholders for them.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Schema describes and checks the payloads of one Go type. It is immutable and safe for concurrent use.
type Schema struct {
	goType   reflect.Type
	spec     leveret.Spec // of the contract; without a codec where encoding/json reads and writes
	tree     *jsonschema.Schema
	document []byte
	compiled *validator.Schema

	place       *place
	secretNames map[string]bool // folded; of the secret fields, wherever they are
}

// Of makes the schema of a type. It fails if JSON cannot hold the type, if a jsonschema tag is malformed, or if a map has
// secrets as keys.
func Of(t reflect.Type) (*Schema, error) { return of(t, leveret.Spec{}) }

func of(t reflect.Type, spec leveret.Spec) (*Schema, error) {
	s := &Schema{goType: t, spec: spec}
	if err := s.describe(); err != nil {
		return nil, fmt.Errorf("the schema of %v: %w", t, err)
	}
	document, err := json.MarshalIndent(s.tree, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("the schema of %v: %w", t, err)
	}
	s.document = document
	parsed, err := validator.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, fmt.Errorf("the schema of %v: %w", t, err)
	}
	compiler := validator.NewCompiler()
	compiler.AssertFormat()
	compiler.RegisterFormat(&validator.Format{Name: "date-time", Validate: isTime})
	const url = "payload.json"
	if err := compiler.AddResource(url, parsed); err != nil {
		return nil, fmt.Errorf("the schema of %v: %w", t, err)
	}
	if s.compiled, err = compiler.Compile(url); err != nil {
		return nil, fmt.Errorf("the schema of %v: %w", t, err)
	}
	return s, nil
}

// describe makes the tree and the places of the secrets in it: those of the Go type, or those that a codec knows of.
func (s *Schema) describe() (err error) {
	if c := s.spec.Codec; c != nil && c.Schema != nil {
		if s.tree, err = given(c, s.goType); err != nil {
			return err
		}
		b := &places{defs: s.tree.Definitions, made: map[*jsonschema.Schema]*place{}, names: map[string]bool{}}
		s.place, s.secretNames = b.of(s.tree), b.names
		return nil
	}
	b := &placing{byType: map[reflect.Type]*place{}, names: map[string]bool{}}
	s.tree = reflectType(s.goType)
	s.place, s.secretNames = b.of(s.goType), b.names
	return b.wrong
}

// JSON returns the JSON Schema (draft 2020-12), indented.
func (s *Schema) JSON() json.RawMessage { return bytes.Clone(s.document) }

// isTime returns why a text is no time by RFC 3339 of which Go, too, says so: no leap second, and capital letters only.
func isTime(v any) error {
	if text, ok := v.(string); ok && strings.Contains(text, ",") {
		return errors.New("there is a comma") // which Go accepts, but no others need to
	} else if ok {
		return new(time.Time).UnmarshalText([]byte(text))
	}
	return nil
}
