package compat

import (
	"encoding/json"
	"math/big"
	"strings"
)

// variants is how many texts are made for a pattern.
const variants = 24

// maxLong is how long the texts and arrays are that are made for a limit; a longer one is not needed to show it.
const maxLong = 1000

// formats has a value of each format, and of none.
var formats = []string{
	"text", "", "1", "-1", "a b", "Ä!", "01938c3e-8a41-7000-8000-000000000001", "2026-01-02T15:04:05Z", "2026-01-02", "15:04:05Z",
	"ada@example.com", "https://example.com", "example.com", "192.0.2.1", "2001:db8::1", "/a", "P1D", "bGV2ZXJldA==", "TEXT", "1.0.0",
	// The same in the other case, which a pattern may refuse where the format does not.
	"01938C3E-8A41-7000-8000-000000000001", "2026-01-02t15:04:05z", "2026-01-02T15:04:05.5+01:00", "ADA@EXAMPLE.COM", "HTTPS://EXAMPLE.COM",
	"EXAMPLE.COM", "2001:DB8::1",
}

// candidates returns values that may show a difference between two schemas: those that they name, those at their
// bounds, and some of every type. They need not be accepted by either.
func candidates(a, b node) []any {
	var all []any
	for _, n := range []node{a, b} {
		if !n.exists() {
			continue
		}
		all = append(all, n.list("examples")...)
		for _, name := range []string{"default", "const"} {
			if v, ok := n.keys[name]; ok {
				all = append(all, v)
			}
		}
		all = append(all, n.list("enum")...)
	}
	all = append(all, texts(a, b)...)
	all = append(all, numbers(a, b)...)
	return append(all, true, false, map[string]any{}, []any{})
}

func texts(a, b node) []any {
	var all []any
	for _, n := range []node{a, b} {
		pattern, _ := n.keys["pattern"].(string)
		for v := range variants {
			if text, ok := matching(pattern, v); pattern != "" && ok {
				all = append(all, text)
			}
		}
	}
	if _, witnesses := patternsOf(a, b); len(witnesses) > 0 {
		for _, text := range witnesses {
			all = append(all, text)
		}
	}
	for _, text := range formats {
		all = append(all, text)
	}
	for _, n := range []node{a, b} {
		for _, name := range []string{"minLength", "maxLength"} {
			length, ok := n.count(name)
			for l := max(length-1, 0); ok && l <= min(length+1, maxLong); l++ {
				all = append(all, long(a, b, l)...)
			}
		}
	}
	return all
}

// patternsOf compares the patterns of two schemas: see [includes].
func patternsOf(a, b node) (included bool, witnesses []string) {
	first, _ := a.keys["pattern"].(string)
	second, has := b.keys["pattern"].(string)
	if !has {
		return true, nil
	}
	memo, done := b.doc.patterns[[2]string{first, second}]
	if !done {
		memo.included, memo.witnesses = includes(first, second)
		b.doc.patterns[[2]string{first, second}] = memo
	}
	return memo.included, memo.witnesses
}

// inclusion is what [includes] returned.
type inclusion struct {
	included  bool
	witnesses []string
}

// long returns texts of a length: of one character, and those of patterns made longer.
func long(a, b node, length int) []any {
	all := []any{strings.Repeat("x", length), strings.Repeat("1", length), strings.Repeat("X", length)}
	for _, n := range []node{a, b} {
		pattern, _ := n.keys["pattern"].(string)
		for v := range variants {
			text, ok := matching(pattern, v)
			if pattern == "" || !ok || text == "" {
				continue
			}
			r := []rune(text)
			if len(r) >= length {
				all = append(all, string(r[:length]))
			} else {
				last := string(r[len(r)-1])
				all = append(all, text+strings.Repeat(last, length-len(r)))
			}
		}
	}
	return all
}

func numbers(a, b node) []any {
	all := []any{json.Number("1"), json.Number("0"), json.Number("-1"), json.Number("0.5")}
	step := []*big.Rat{big.NewRat(1, 1)}
	for _, n := range []node{a, b} {
		if r := rational(n.keys["multipleOf"]); r != nil && r.Sign() > 0 {
			step = append(step, r)
			all = append(all, decimal(r))
		}
	}
	for _, n := range []node{a, b} {
		for _, name := range []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} {
			bound := rational(n.keys[name])
			if bound == nil {
				continue
			}
			for _, s := range append(step, big.NewRat(1, 2)) {
				all = append(all, decimal(bound), decimal(new(big.Rat).Sub(bound, s)), decimal(new(big.Rat).Add(bound, s)))
			}
			for _, s := range step[1:] { // the multiples around the bound
				times := new(big.Rat).Quo(bound, s)
				whole := new(big.Int).Quo(times.Num(), times.Denom())
				for d := int64(-1); d <= 1; d++ {
					n := new(big.Int).Add(whole, big.NewInt(d))
					all = append(all, decimal(new(big.Rat).Mul(new(big.Rat).SetInt(n), s)))
				}
			}
		}
	}
	return append(all, json.Number("1000000"), json.Number("-1000000"), json.Number("1e18"))
}

func rational(v any) *big.Rat {
	n, ok := v.(json.Number)
	if !ok {
		return nil
	}
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return nil
	}
	return r
}

// decimal writes a number with all its digits.
func decimal(r *big.Rat) json.Number {
	if r.IsInt() {
		return json.Number(r.Num().String())
	}
	text := strings.TrimRight(r.FloatString(30), "0")
	return json.Number(strings.TrimSuffix(text, "."))
}

// A sampler makes values that a schema accepts, and another one too where that is possible.
type sampler struct {
	open map[string]bool // the schemas in which it is
	left int             // how many values it may still make
}

// maxValues is how many values a sample may hold.
const maxValues = 3000

// sample returns a value that a accepts, and b, if it exists and that is possible. It may fail, so that the value has
// to be validated.
func sample(a, b node) any { return (&sampler{map[string]bool{}, maxValues}).value(a, b) }

func (s *sampler) value(a, b node) any {
	id := a.id()
	if s.left--; s.left < 0 || s.open[id] {
		return nil
	}
	s.open[id] = true
	defer delete(s.open, id)
	switch {
	case len(a.list("enum")) > 0 || a.keys["const"] != nil:
	case a.is("object"):
		return s.object(a, b)
	case a.is("array"):
		return s.array(a, b)
	}
	var found any
	ok := false
	for _, v := range candidates(a, b) {
		if !a.doc.accepts(a.at, v) {
			continue
		}
		if !b.exists() || b.doc.accepts(b.at, v) {
			return v
		}
		if !ok {
			found, ok = v, true
		}
	}
	return found
}

func (s *sampler) object(a, b node) map[string]any {
	object := map[string]any{}
	for _, name := range a.required() {
		object[name] = s.field(a, b, name)
	}
	if !b.exists() {
		return object
	}
	for _, name := range b.required() {
		if _, have := object[name]; have || !a.isMap() && !a.property(name).exists() {
			continue
		}
		value := s.field(a, b, name)
		if field := fieldOf(a, name); !field.exists() || field.doc.accepts(field.at, value) {
			object[name] = value
		}
	}
	return object
}

// field returns a value for a field of a, and of b if that has it.
func (s *sampler) field(a, b node, name string) any {
	other := node{}
	if b.exists() {
		other = fieldOf(b, name)
	}
	if field := fieldOf(a, name); field.exists() {
		return s.value(field, other)
	}
	if other.exists() {
		return s.value(other, node{})
	}
	return "text"
}

// fieldOf returns the schema of a field of an object, or else that of all others.
func fieldOf(n node, name string) node {
	if field := n.property(name); field.exists() {
		return field
	}
	return n.others()
}

func (s *sampler) array(a, b node) []any {
	least, _ := a.count("minItems")
	if b.exists() {
		if wanted, ok := b.count("minItems"); ok {
			most, limited := a.count("maxItems")
			if !limited || wanted <= most {
				least = max(least, wanted)
			}
		}
	}
	return s.items(a, b, least)
}

// items returns an array of a length.
func (s *sampler) items(a, b node, length int) []any {
	list := []any{}
	items, other := node{}, node{}
	if a.has("items") {
		items = a.child("items")
	}
	if b.exists() && b.has("items") {
		other = b.child("items")
	}
	distinct := []any(nil)
	if a.has("uniqueItems") && items.exists() {
		distinct = distinctOf(items, length)
	}
	for i := range min(length, maxLong) {
		switch {
		case s.left < 0:
			return list
		case i < len(distinct):
			list = append(list, distinct[i])
		case items.exists():
			list = append(list, s.value(items, other))
		default:
			list = append(list, "text")
		}
	}
	return list
}

// distinctOf returns different values that a schema accepts, as many as there are among the candidates.
func distinctOf(n node, length int) []any {
	var all []any
	seen := map[string]bool{}
	for _, v := range candidates(n, node{}) {
		text := key(v)
		if len(all) < length && !seen[text] && n.doc.accepts(n.at, v) {
			seen[text] = true
			all = append(all, v)
		}
	}
	return all
}
