package httprpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/invopop/jsonschema"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// schemaSet holds the schemas of a document by name.
type schemaSet map[string]json.RawMessage

// A namedSchema is one of a document.
type namedSchema struct {
	name string
	raw  json.RawMessage
}

var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

// add adds the schema of a contract's payload or reply, and those it refers to, under the names of their types. Where
// different types have one name, those of the later contract are put under its own.
func (s schemaSet) add(spec leveret.Spec, role string) (namedSchema, error) {
	t, of, contract := spec.Payload, schema.Payload, spec.Name
	if role == "reply" {
		t, of = spec.Reply, schema.Reply
	}
	described, err := of(spec)
	if err != nil {
		return namedSchema{}, err
	}
	name := base(t).Name()
	if !plainName.MatchString(name) || base(t).PkgPath() == "" {
		name = contract + "." + role
	}
	for _, space := range []string{"", contract + ".", contract + "." + role + "."} {
		parts, err := described.Components(components + "schemas/" + space)
		if err != nil {
			return namedSchema{}, err
		}
		root := parts[""]
		delete(parts, "")
		parts[name] = root
		for name, part := range parts {
			if parts[name], err = portable(part, role == "reply"); err != nil {
				return namedSchema{}, err
			}
		}
		root = parts[name]
		if s.take(space, parts) {
			return namedSchema{space + name, root}, nil
		}
	}
	return namedSchema{}, fmt.Errorf("%s: the document has another schema under the name %q", contract, contract+"."+role+"."+name)
}

// portable returns a schema as generators of clients understand it best. In a reply no field is writeOnly: a secret in it
// is for the caller's eyes.
func portable(raw json.RawMessage, reply bool) (json.RawMessage, error) {
	var s jsonschema.Schema
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	keepDigits(&s, raw)
	convert(&s, reply)
	return json.Marshal(&s)
}

// keepDigits sets the values in a schema as they are written in raw: they were decoded into a float64.
func keepDigits(s *jsonschema.Schema, raw json.RawMessage) {
	var written struct {
		Default              json.RawMessage            `json:"default"`
		AdditionalProperties json.RawMessage            `json:"additionalProperties"` //nolint:tagliatelle // of JSON Schema
		Items                json.RawMessage            `json:"items"`
		Enum                 []json.RawMessage          `json:"enum"`
		Examples             []json.RawMessage          `json:"examples"`
		AnyOf                []json.RawMessage          `json:"anyOf"` //nolint:tagliatelle // of JSON Schema
		Properties           map[string]json.RawMessage `json:"properties"`
	}
	if s == nil || json.Unmarshal(raw, &written) != nil {
		return
	}
	if s.Default != nil {
		s.Default = written.Default
	}
	for i := range s.Enum {
		s.Enum[i] = written.Enum[i]
	}
	for i := range s.Examples {
		s.Examples[i] = written.Examples[i]
	}
	keepDigits(s.Items, written.Items)
	keepDigits(s.AdditionalProperties, written.AdditionalProperties)
	for i, part := range s.AnyOf {
		keepDigits(part, written.AnyOf[i])
	}
	if s.Properties == nil {
		return
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		keepDigits(p.Value, written.Properties[p.Key])
	}
}

func convert(s *jsonschema.Schema, reply bool) {
	if s == nil {
		return
	}
	s.WriteOnly = s.WriteOnly && !reply
	if s.Type == "integer" && s.Format == "" && (!fitsInt32(s.Minimum) || !fitsInt32(s.Maximum)) {
		s.Format = "int64" // or many would take 32 bits
	}
	for _, part := range append(s.AnyOf, s.Items, s.AdditionalProperties) {
		convert(part, reply)
	}
	if s.Properties == nil {
		return
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		convert(p.Value, reply)
		// A field that may be left out need not be null as well, and replies never have it so.
		if of := p.Value.AnyOf; len(of) == 2 && of[1].Type == "null" && !slices.Contains(s.Required, p.Key) {
			p.Value = of[0]
		}
	}
}

func fitsInt32(n json.Number) bool {
	_, err := strconv.ParseInt(n.String(), 10, 32)
	return err == nil
}

// take adds schemas, unless one of their names is taken for another.
func (s schemaSet) take(space string, parts map[string]json.RawMessage) bool {
	for name, part := range parts {
		if have, taken := s[space+name]; taken && !bytes.Equal(have, part) {
			return false
		}
	}
	for name, part := range parts {
		s[space+name] = part
	}
	return true
}

func (s schemaSet) object() object {
	all := make(object, len(s))
	for name, raw := range s {
		all[name] = raw
	}
	return all
}

func (n namedSchema) ref() object { return ref("schemas", n.name) }

// fields returns the schemas of the fields, and the names of those that are required.
func (n namedSchema) fields() (properties map[string]json.RawMessage, required []string, err error) {
	var root struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
	}
	err = json.Unmarshal(n.raw, &root)
	return root.Properties, root.Required, err
}

// without returns the schema without some of its fields; where there are none, a reference.
func (n namedSchema) without(names []string) (object, error) {
	if len(names) == 0 {
		return n.ref(), nil
	}
	properties, required, err := n.fields()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		delete(properties, name)
	}
	rest := object{"type": "object", "properties": properties}
	if required = slices.DeleteFunc(required, func(name string) bool { return slices.Contains(names, name) }); len(required) > 0 {
		rest["required"] = required
	}
	return rest, nil
}
