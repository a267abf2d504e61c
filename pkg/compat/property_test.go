package compat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compat"
)

type object = map[string]any

// randomSchema makes a small schema of the kinds that package schema makes.
func randomSchema(r *rand.Rand, depth int) object {
	switch kind := r.IntN(12); {
	case depth > 0 && kind < 3:
		fields, required := object{}, []string{}
		for _, name := range []string{"a", "b", "c"} {
			if r.IntN(3) > 0 {
				fields[name] = randomSchema(r, depth-1)
				if r.IntN(2) == 0 {
					required = append(required, name)
				}
			}
		}
		return object{"type": "object", "properties": fields, "required": required}
	case depth > 0 && kind == 3:
		return maybe(r, object{"type": "array", "items": randomSchema(r, depth-1)}, "minItems", 3, "maxItems", 4)
	case depth > 0 && kind == 4:
		return object{"type": "object", "additionalProperties": randomSchema(r, depth-1)}
	case depth > 0 && kind == 5:
		return object{"anyOf": []any{randomSchema(r, 0), object{"type": "null"}}}
	case kind < 7:
		return maybe(r, object{"type": "integer"}, "minimum", 6, "maximum", 9, "exclusiveMinimum", 5, "multipleOf", 3)
	case kind == 7:
		return maybe(r, object{"type": "number"}, "minimum", 6, "exclusiveMaximum", 9)
	case kind == 8:
		return object{"type": "boolean"}
	case kind == 9:
		var choice []any
		for _, v := range []any{"A", "B", "cc"} {
			if r.IntN(2) == 0 {
				choice = append(choice, v)
			}
		}
		return object{"type": "string", "enum": append(choice, "D")}
	default:
		s := maybe(r, object{"type": "string"}, "minLength", 3, "maxLength", 5)
		if r.IntN(2) == 0 {
			s["pattern"] = patterns[r.IntN(len(patterns))]
		}
		return s
	}
}

var patterns = []string{"^[a-z]+$", "^[a-z_]+$", "^[A-Za-z]*$", "a", "^(a|b|cc)+$", "^a?b*$", "^[^a]$", "b$"}

// maybe adds some of the keywords, with a number below the given one.
func maybe(r *rand.Rand, s object, keywords ...any) object {
	for i := 0; i < len(keywords); i += 2 {
		if r.IntN(3) == 0 {
			name, _ := keywords[i].(string)
			most, _ := keywords[i+1].(int)
			s[name] = 1 + r.IntN(most)
		}
	}
	return s
}

// mutate changes a schema a little.
func mutate(r *rand.Rand, s object) object {
	changed := object{}
	for name, value := range s {
		switch v := value.(type) {
		case object:
			if name == "properties" {
				fields := object{}
				for field, schema := range v {
					switch of, _ := schema.(object); r.IntN(6) {
					case 0:
					case 1:
						fields[field] = mutate(r, of)
					default:
						fields[field] = of
					}
				}
				changed[name] = fields
				continue
			}
			changed[name] = mutate(r, v)
		case int:
			changed[name] = max(v+r.IntN(3)-1, 1)
		default:
			changed[name] = value
		}
	}
	if names, ok := changed["required"].([]string); ok {
		fields, _ := changed["properties"].(object)
		kept := []string{}
		for _, name := range names {
			if _, ok := fields[name]; ok && r.IntN(5) > 0 {
				kept = append(kept, name)
			}
		}
		changed["required"] = kept
	}
	return changed
}

// randomValue makes a value that the schema often accepts. It has no fields that the schema does not have.
func randomValue(r *rand.Rand, s object) any {
	if list, ok := s["anyOf"].([]any); ok {
		of, _ := list[r.IntN(len(list))].(object)
		return randomValue(r, of)
	}
	if list, ok := s["enum"].([]any); ok {
		return list[r.IntN(len(list))]
	}
	switch s["type"] {
	case "object":
		value := object{}
		if each, ok := s["additionalProperties"].(object); ok {
			for _, name := range []string{"a", "b", "z"}[:r.IntN(4)] {
				value[name] = randomValue(r, each)
			}
		}
		fields, _ := s["properties"].(object)
		for name, schema := range fields {
			if of, ok := schema.(object); ok && r.IntN(4) > 0 {
				value[name] = randomValue(r, of)
			}
		}
		return value
	case "array":
		list := []any{}
		of, _ := s["items"].(object)
		for range r.IntN(6) {
			list = append(list, randomValue(r, of))
		}
		return list
	case "integer":
		return r.IntN(14) - 3
	case "number":
		return float64(r.IntN(28)-6) / 2
	case "boolean":
		return r.IntN(2) == 0
	case "string":
		var b strings.Builder
		for range r.IntN(6) {
			b.WriteByte("aabbcz_AB"[r.IntN(9)])
		}
		return b.String()
	default:
		return nil
	}
}

func compile(tb testing.TB, schema []byte) *validator.Schema {
	tb.Helper()
	document, err := validator.UnmarshalJSON(bytes.NewReader(schema))
	require.NoError(tb, err)
	c := validator.NewCompiler()
	c.AssertFormat()
	require.NoError(tb, c.AddResource("schema.json", document))
	s, err := c.Compile("schema.json")
	require.NoError(tb, err)
	return s
}

func lockWith(schema []byte) *compat.Lock {
	return &compat.Lock{Format: compat.Format, Contracts: []compat.Contract{{Name: "x.do", Kind: "command", Owner: "x", Payload: schema}}}
}

// What is called safe is safe: no value that the last release may write is refused. And what is said to break does: each
// counterexample is accepted by one schema and refused by the other.
func TestSafeIsSafe(t *testing.T) {
	t.Parallel()
	safe, broken, tried := 0, 0, 0
	for seed := range uint64(250) {
		r := rand.New(rand.NewPCG(seed, 35))
		before := randomSchema(r, 3)
		after := mutate(r, before)
		if seed%4 == 0 {
			after = randomSchema(r, 3)
		}
		oldText, err := json.Marshal(before)
		require.NoError(t, err)
		newText, err := json.Marshal(after)
		require.NoError(t, err)
		oldSchema, newSchema := compile(t, oldText), compile(t, newText)
		same, err := compat.Check(lockWith(oldText), lockWith(oldText))
		require.NoError(t, err)
		require.Empty(t, same)
		found, err := compat.Check(lockWith(oldText), lockWith(newText))
		require.NoError(t, err)
		claimed := map[compat.Side]bool{}
		for _, f := range found {
			if f.Severity == compat.Safe {
				continue
			}
			claimed[f.Side] = true
			if f.Severity == compat.Careful {
				continue
			}
			require.NotNil(t, f.Counterexample, "seed %d, %s\n%s\n%s", seed, line(f), oldText, newText)
			broken++
			value, err := validator.UnmarshalJSON(bytes.NewReader(f.Counterexample))
			require.NoError(t, err)
			forward := f.Side == compat.Senders
			about := fmt.Sprintf("seed %d, %s: %s\n%s\n%s", seed, line(f), f.Counterexample, oldText, newText)
			require.Equal(t, forward, oldSchema.Validate(value) == nil, about)
			require.Equal(t, !forward, newSchema.Validate(value) == nil, about)
		}
		for _, way := range []struct {
			side           compat.Side
			written        object
			writer, reader *validator.Schema
		}{
			{compat.Senders, before, oldSchema, newSchema}, {compat.Receivers, after, newSchema, oldSchema},
		} {
			if claimed[way.side] {
				continue
			}
			safe++
			for range 100 {
				text, err := json.Marshal(randomValue(r, way.written))
				require.NoError(t, err)
				value, err := validator.UnmarshalJSON(bytes.NewReader(text))
				require.NoError(t, err)
				if way.writer.Validate(value) != nil {
					continue
				}
				tried++
				require.NoError(t, way.reader.Validate(value), "seed %d: %s is safe for %s, it says\n%s\n%s", seed, text, way.side, oldText, newText)
			}
		}
	}
	t.Logf("%d directions called safe, %d values tried on them, %d counterexamples", safe, tried, broken)
	require.Greater(t, safe, 50)
	require.Greater(t, broken, 100)
	require.Greater(t, tried, 2000)
}

// The comparison of patterns agrees with what the patterns match.
func TestPatternsCompared(t *testing.T) {
	t.Parallel()
	for _, a := range append(patterns, "") {
		for _, b := range patterns {
			old, now := fmt.Appendf(nil, `{"type":"string","pattern":%q}`, a), fmt.Appendf(nil, `{"type":"string","pattern":%q}`, b)
			found, err := compat.Check(lockWith(old), lockWith(now))
			require.NoError(t, err)
			claimed := false
			for _, f := range found {
				require.Equal(t, compat.Breaks, f.Severity, "%q and %q: it can be decided", a, b)
				claimed = claimed || f.Side == compat.Senders
			}
			differs := false
			x, y := regexp.MustCompile(a), regexp.MustCompile(b)
			r := rand.New(rand.NewPCG(1, 2))
			for range 3000 {
				text, _ := randomValue(r, object{"type": "string"}).(string)
				differs = differs || x.MatchString(text) && !y.MatchString(text)
			}
			require.Equal(t, differs, claimed, "%q and %q", a, b)
		}
	}
}
