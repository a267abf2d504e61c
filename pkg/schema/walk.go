package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
)

// unknown finds the fields of a value that the schema does not have.
func (s *Schema) unknown(value any) []Problem {
	var found []Problem
	s.walk(s.tree, value, "", &walker{field: func(of *jsonschema.Schema, path, name string) {
		var names []string
		for pair := of.Properties.Oldest(); pair != nil; pair = pair.Next() {
			names = append(names, pair.Key)
		}
		found = append(found, Problem{path, "is not a field of the payload" + DidYouMean(name, names)})
	}})
	return found
}

// notWhole finds integers written as 1.0 or 1e3, which are integers to JSON Schema but not to Go.
func (s *Schema) notWhole(value any) []Problem {
	var found []Problem
	s.walk(s.tree, value, "", &walker{number: func(at *jsonschema.Schema, n json.Number, path string) {
		how := ""
		switch text := n.String(); {
		case at.Type != "integer":
		case strings.Contains(text, "."):
			how = "a decimal point"
		case strings.ContainsAny(text, "eE"):
			how = "an exponent"
		}
		if how != "" {
			found = append(found, Problem{path, fmt.Sprintf("must be an integer, without %s, is %s", how, n)})
		}
	}})
	return found
}

// walker has functions to call during a walk through a value; either may be nil.
type walker struct {
	field  func(of *jsonschema.Schema, path, name string) // for a field that the schema does not have
	number func(at *jsonschema.Schema, n json.Number, path string)
}

func (s *Schema) walk(at *jsonschema.Schema, value any, path string, w *walker) {
	at = s.resolve(at)
	switch value := value.(type) {
	case json.Number:
		if w.number != nil {
			w.number(at, value, path)
		}
	case []any:
		if at.Items != nil {
			for i, item := range value {
				s.walk(at.Items, item, fmt.Sprintf("%s[%d]", path, i), w)
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			s.walkField(at, value[name], path, name, w)
		}
	}
}

func (s *Schema) walkField(at *jsonschema.Schema, value any, path, name string, w *walker) {
	path = join(path, name)
	if at.Properties == nil {
		if at.AdditionalProperties != nil {
			s.walk(at.AdditionalProperties, value, path, w)
		}
		return
	}
	if property, ok := at.Properties.Get(name); ok {
		s.walk(property, value, path, w)
	} else if w.field != nil {
		w.field(at, path, name)
	}
}

// resolve follows references, and skips the null alternative of a pointer.
func (s *Schema) resolve(at *jsonschema.Schema) *jsonschema.Schema {
	for {
		if len(at.AnyOf) > 0 && at.Ref == "" {
			at = at.AnyOf[0]
			continue
		}
		name, ok := strings.CutPrefix(at.Ref, defsPrefix)
		if !ok || s.tree.Definitions[name] == nil {
			return at
		}
		at = s.tree.Definitions[name]
	}
}

// Nearest returns the name that a person probably meant; empty if none is similar.
func Nearest(typed string, names []string) string {
	best, bestDistance := "", len(typed)/3+2
	for _, name := range names {
		d := distance(strings.ToLower(typed), strings.ToLower(name))
		if squash(typed) == squash(name) {
			d = 0
		}
		if d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// DidYouMean returns "; did you mean total?" for the end of an error message, or nothing if no name is similar.
func DidYouMean(typed string, names []string) string {
	if near := Nearest(typed, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

var separators = strings.NewReplacer("_", "", "-", "", ".", "")

func squash(s string) string { return separators.Replace(strings.ToLower(s)) }

// distance is the edit distance in bytes, in which swapping two neighbours counts as one edit.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
