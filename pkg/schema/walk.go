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
	more := 0
	s.walk(s.tree, value, nil, &walker{field: func(of *jsonschema.Schema, at *step) {
		if len(found) == maxProblems {
			more++
			return
		}
		var names []string
		for pair := of.Properties.Oldest(); pair != nil; pair = pair.Next() {
			names = append(names, pair.Key)
		}
		found = append(found, Problem{at.String(), "is not a field of the payload" + DidYouMean(at.name, names)})
	}})
	if more > 0 {
		found = append(found, Problem{"", fmt.Sprintf("%d more are not fields of the payload", more)})
	}
	return found
}

// notWhole finds integers written as 1.0 or 1e3, which are integers to JSON Schema but not to Go.
func (s *Schema) notWhole(value any) []Problem {
	var found []Problem
	s.walk(s.tree, value, nil, &walker{number: func(at *jsonschema.Schema, n json.Number, here *step) {
		how := ""
		switch text := n.String(); {
		case at.Type != "integer":
		case strings.Contains(text, "."):
			how = "a decimal point"
		case strings.ContainsAny(text, "eE"):
			how = "an exponent"
		}
		if how != "" && len(found) < maxProblems {
			found = append(found, Problem{here.String(), fmt.Sprintf("must be an integer, without %s, is %s", how, beginning(n.String()))})
		}
	}})
	return found
}

// walker has functions to call during a walk through a value; either may be nil.
type walker struct {
	field  func(of *jsonschema.Schema, at *step) // for a field that the schema does not have
	number func(at *jsonschema.Schema, n json.Number, here *step)
}

// A step leads to a value from the one around it, and so on from the root, to which no step leads.
type step struct {
	depth int
	from  *step
	name  string
	index int // where the name is empty
	list  bool
}

// String returns the path.
func (s *step) String() string {
	switch {
	case s == nil:
		return ""
	case s.list:
		return fmt.Sprintf("%s[%d]", s.from, s.index)
	default:
		return join(s.from.String(), s.name)
	}
}

func (s *Schema) walk(at *jsonschema.Schema, value any, here *step, w *walker) {
	at = s.resolve(at)
	depth := 1
	if here != nil {
		depth = here.depth + 1
	}
	if depth > maxDepth && firstByte(value) != '"' {
		return
	}
	switch value := value.(type) {
	case json.Number:
		if w.number != nil {
			w.number(at, value, here)
		}
	case []any:
		if at.Items != nil {
			for i, item := range value {
				s.walk(at.Items, item, &step{from: here, depth: depth, index: i, list: true}, w)
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			s.walkField(at, value[name], &step{from: here, depth: depth, name: name}, w)
		}
	}
}

func (s *Schema) walkField(at *jsonschema.Schema, value any, here *step, w *walker) {
	if at.Properties == nil {
		if at.AdditionalProperties != nil {
			s.walk(at.AdditionalProperties, value, here, w)
		}
		return
	}
	if property := propertyOf(at, here.name); property != nil {
		s.walk(property, value, here, w)
	} else if w.field != nil {
		w.field(at, here)
	}
}

// propertyOf returns the property of an object that has a name, or has it as its title: a codec reads that, too. Nil if
// there is none.
func propertyOf(at *jsonschema.Schema, name string) *jsonschema.Schema {
	if found, ok := at.Properties.Get(name); ok {
		return found
	}
	for pair := at.Properties.Oldest(); pair != nil; pair = pair.Next() {
		if pair.Value.Title == name {
			return pair.Value
		}
	}
	return nil
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

// Nearest returns the name that a person probably meant; empty if none is similar, or what was typed is no name.
func Nearest(typed string, names []string) string {
	if len(typed) > 255 {
		return ""
	}
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
