// Package schema describes the payloads of a Go type as JSON Schema, and checks payloads against it: what a person typed
// is judged field by field before it is sent.
//
// The schema follows encoding/json: names from json tags, required unless omitempty or omitzero, null for pointers only,
// fields that are not known accepted. What a type says in jsonschema tags (minimum=1, enum=EUR, format=uuid, …) is
// checked too, and so is its Validate method.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

// A Schema describes and checks the payloads of one Go type. It is immutable and safe for concurrent use.
type Schema struct {
	goType   reflect.Type
	tree     *jsonschema.Schema
	document []byte
	compiled *validator.Schema
}

// Of makes the schema of a type. It fails for types that JSON cannot carry, and for malformed jsonschema tags.
func Of(t reflect.Type) (*Schema, error) {
	s := &Schema{goType: t, tree: reflectType(t)}
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
	const url = "payload.json"
	if err := compiler.AddResource(url, parsed); err != nil {
		return nil, fmt.Errorf("the schema of %v: %w", t, err)
	}
	if s.compiled, err = compiler.Compile(url); err != nil {
		return nil, fmt.Errorf("the schema of %v: %w", t, err)
	}
	return s, nil
}

// JSON returns the JSON Schema (draft 2020-12), indented.
func (s *Schema) JSON() json.RawMessage { return bytes.Clone(s.document) }
