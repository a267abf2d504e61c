package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Components returns the schema in parts, for a document that keeps schemas by name, such as OpenAPI: the root under an
// empty name, and the definitions that it refers to under theirs. The references lead to prefix and the name.
func (s *Schema) Components(prefix string) (map[string]json.RawMessage, error) {
	root := *s.tree
	root.Version, root.Definitions = "", nil
	parts := make(map[string]json.RawMessage, 1+len(s.tree.Definitions))
	add := func(name string, part any) error {
		document, err := json.Marshal(part)
		if err != nil {
			return fmt.Errorf("the schema of %v: %w", s.goType, err)
		}
		parts[name] = bytes.ReplaceAll(document, []byte(`"$ref":"`+defsPrefix), []byte(`"$ref":"`+prefix))
		return nil
	}
	if err := add("", &root); err != nil {
		return nil, err
	}
	for name, definition := range s.tree.Definitions {
		if err := add(name, definition); err != nil {
			return nil, err
		}
	}
	return parts, nil
}
