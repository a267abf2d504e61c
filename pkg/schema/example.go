package schema

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strings"

	"github.com/invopop/jsonschema"
	orderedmap "github.com/pb33f/ordered-map/v2"
)

// Example returns a payload that fits the schema, as a start for people: it has every field, with values from examples,
// defaults, enums, formats and limits. The type's Validate method may still refuse it. Secrets, too, have the values of
// their tags, which everybody may see; without any, they are "[secret]", made as long as they have to be.
func (s *Schema) Example() json.RawMessage {
	body, err := json.MarshalIndent(s.example(s.tree, "", map[*jsonschema.Schema]bool{}), "", "  ")
	if err != nil || string(body) == "null" { // a payload of anything may not be null
		return json.RawMessage("{}")
	}
	return body
}

func (s *Schema) example(at *jsonschema.Schema, name string, above map[*jsonschema.Schema]bool) any {
	at = s.resolve(at)
	switch {
	case len(at.Examples) > 0:
		return at.Examples[0]
	case at.Default != nil:
		return at.Default
	case len(at.Enum) > 0:
		return at.Enum[0]
	case above[at]:
		return nil // a type that holds itself
	}
	above[at] = true
	defer delete(above, at)
	switch at.Type {
	case "object":
		return s.exampleObject(at, above)
	case "array":
		return s.exampleArray(at, name, above)
	case "string":
		if at.WriteOnly {
			return exampleSecret(at)
		}
		return exampleString(at, name)
	case "integer", "number":
		return exampleNumber(at)
	case "boolean":
		return true
	default:
		return nil
	}
}

func (s *Schema) exampleObject(at *jsonschema.Schema, above map[*jsonschema.Schema]bool) any {
	object := orderedmap.New[string, any]()
	if at.Properties == nil {
		if at.AdditionalProperties != nil {
			if key := exampleKey(at.PropertyNames); key != "" {
				object.Set(key, s.example(at.AdditionalProperties, "value", above))
			}
		}
		return object
	}
	chosen := map[string]bool{}
	for pair := at.Properties.Oldest(); pair != nil; pair = pair.Next() {
		choice := pair.Value.Comments
		if above[s.resolve(pair.Value)] || chosen[choice] {
			continue
		}
		chosen[choice] = strings.HasPrefix(choice, "oneof ")
		object.Set(pair.Key, s.example(pair.Value, pair.Key, above))
	}
	return object
}

// exampleKey returns a key of a map; none if only its type knows what keys look like.
func exampleKey(names *jsonschema.Schema) string {
	switch {
	case names == nil:
		return "key"
	case names.Pattern != "":
		return "1"
	case names.Format == "uuid":
		return exampleID
	default:
		return ""
	}
}

func (s *Schema) exampleArray(at *jsonschema.Schema, name string, above map[*jsonschema.Schema]bool) any {
	items := []any{}
	count := uint64(1)
	if at.MinItems != nil {
		count = max(count, *at.MinItems)
	}
	if at.Items == nil || above[s.resolve(at.Items)] {
		return items
	}
	for range count {
		items = append(items, s.example(at.Items, strings.TrimSuffix(name, "s"), above))
	}
	return items
}

const exampleID = "01938c3e-8a41-7000-8000-000000000001"

func exampleString(at *jsonschema.Schema, name string) string {
	switch at.Format {
	case "uuid":
		return exampleID
	case "date-time":
		return "2026-01-02T15:04:05Z"
	case "date":
		return "2026-01-02"
	case "email":
		return "ada@example.com"
	case "uri":
		return "https://example.com"
	}
	text := name
	switch {
	case at.ContentEncoding == "base64":
		return "bGV2ZXJldA=="
	case at.Pattern == wholeNumber, at.Pattern == naturalNumber:
		text = "1"
	case name == "id" || strings.HasSuffix(name, "_id"):
		text = exampleID
	case name == "currency":
		text = "EUR"
	case name == "":
		text = "text"
	}
	runes := []rune(text) // JSON Schema counts code points
	if at.MinLength != nil && uint64(len(runes)) < *at.MinLength {
		text += strings.Repeat("x", int(*at.MinLength)-len(runes))
	}
	if at.MaxLength != nil && uint64(len(runes)) > *at.MaxLength {
		text = string(runes[:*at.MaxLength])
	}
	return text
}

// exampleSecret returns what everybody sees to be no secret. It fits its format and its length, but seldom a pattern.
func exampleSecret(at *jsonschema.Schema) string {
	text := exampleString(at, secretText)
	if pattern, err := regexp.Compile(at.Pattern); err == nil && !pattern.MatchString(text) {
		return secretText
	}
	return text
}

// exampleNumber returns 1 if that fits, else a bound.
func exampleNumber(at *jsonschema.Schema) any {
	switch {
	case at.MultipleOf != "":
		return at.MultipleOf
	case over(at.Minimum, 1):
		return at.Minimum
	case over(at.ExclusiveMinimum, 0):
		least, ok := new(big.Rat).SetString(at.ExclusiveMinimum.String())
		if !ok {
			return json.Number("1")
		}
		next := new(big.Int).Div(least.Num(), least.Denom()) // rounded down
		return json.Number(next.Add(next, big.NewInt(1)).String())
	case under(at.Maximum, 1):
		return at.Maximum
	default:
		return json.Number("1")
	}
}

func over(bound json.Number, n float64) bool {
	b, err := bound.Float64()
	return err == nil && b > n
}

func under(bound json.Number, n float64) bool {
	b, err := bound.Float64()
	return err == nil && b < n
}
