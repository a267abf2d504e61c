package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
)

// notWhole finds the integers of a value that are written as 1.0 or 1e3: integers to JSON Schema, but not to Go.
func (s *Schema) notWhole(value any) []Problem {
	var found []Problem
	s.walkNumbers(s.tree, value, "", &found)
	return found
}

func (s *Schema) walkNumbers(at *jsonschema.Schema, value any, path string, found *[]Problem) {
	at = s.resolve(at)
	switch value := value.(type) {
	case json.Number:
		how := ""
		switch text := value.String(); {
		case at.Type != "integer":
		case strings.Contains(text, "."):
			how = "a decimal point"
		case strings.ContainsAny(text, "eE"):
			how = "an exponent"
		}
		if how != "" {
			*found = append(*found, Problem{path, fmt.Sprintf("must be an integer, without %s, is %s", how, value)})
		}
	case []any:
		if at.Items != nil {
			for i, item := range value {
				s.walkNumbers(at.Items, item, fmt.Sprintf("%s[%d]", path, i), found)
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			property := at.AdditionalProperties
			if at.Properties != nil {
				property, _ = at.Properties.Get(name)
			}
			if property != nil {
				s.walkNumbers(property, value[name], join(path, name), found)
			}
		}
	}
}
