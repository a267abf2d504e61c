package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

// A document is a JSON Schema, with a validator for the whole and for each of its parts.
type document struct {
	root     any
	compiler *validator.Compiler
	compiled map[string]*validator.Schema // by place
	patterns map[[2]string]inclusion      // those that were compared with another
	twin     string                       // the place of a definition that the root is a copy of
}

// maxParts is how many parts a schema may have when every reference is followed.
const maxParts = 200_000

// noLoader keeps the validator from reading files that a schema refers to.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is outside of the schema", url)
}

const documentURL = "mem:///schema.json"

// newDocument reads a schema.
func newDocument(text json.RawMessage) (*document, error) {
	root, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	d := &document{root: root, compiler: validator.NewCompiler(), compiled: map[string]*validator.Schema{}, patterns: map[[2]string]inclusion{}}
	if err := d.small(); err != nil {
		return nil, err
	}
	d.compiler.UseLoader(noLoader{})
	d.compiler.AssertFormat()
	d.compiler.AssertContent()
	if err := d.compiler.AddResource(documentURL, root); err != nil {
		return nil, err
	}
	d.findTwin()
	_, err = d.validator("")
	return d, err
}

// findTwin finds the definition that the root is a copy of: pkg/schema repeats a type that holds itself.
func (d *document) findTwin() {
	root, _ := d.root.(map[string]any)
	definitions, _ := root["$defs"].(map[string]any)
	if len(definitions) == 0 {
		return
	}
	own := maps.Clone(root)
	delete(own, "$defs")
	delete(own, "$schema")
	text := key(own)
	for _, name := range slices.Sorted(maps.Keys(definitions)) {
		if key(definitions[name]) == text {
			d.twin = "/$defs/" + escape.Replace(name)
			return
		}
	}
}

func (d *document) validator(at string) (*validator.Schema, error) {
	if s := d.compiled[at]; s != nil {
		return s, nil
	}
	s, err := d.compiler.Compile(documentURL + "#" + (&url.URL{Fragment: at}).EscapedFragment())
	if err != nil {
		return nil, err
	}
	d.compiled[at] = s
	return s, nil
}

// refuses returns why a place of the schema refuses a value; nil if it accepts it.
func (d *document) refuses(at string, value any) error {
	s, err := d.validator(at)
	if err != nil {
		return err
	}
	return s.Validate(value)
}

func (d *document) accepts(at string, value any) bool { return d.refuses(at, value) == nil }

// get returns what is at a place: a schema or nil.
func (d *document) get(at string) any {
	value := d.root
	for part := range strings.SplitSeq(strings.TrimPrefix(at, "/"), "/") {
		if at == "" {
			break
		}
		part = unescape.Replace(part)
		switch v := value.(type) {
		case map[string]any:
			value = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

var (
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
)

// small returns an error if following every reference leads to very many parts: a value would be validated as often.
func (d *document) small() error {
	memo, open := map[string]int{}, map[string]bool{}
	var count func(v any) int
	follow := func(ref string) int {
		at, ok := strings.CutPrefix(ref, "#")
		if n, done := memo[at]; done || !ok || open[at] {
			return max(n, 1)
		}
		open[at] = true
		n := count(d.get(at))
		delete(open, at)
		memo[at] = n
		return n
	}
	count = func(v any) int {
		n := 1
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				n = min(n+count(item), maxParts+1)
			}
		case map[string]any:
			for name, part := range v {
				switch ref, isText := part.(string); {
				case name == "$ref" && isText:
					n = min(n+follow(ref), maxParts+1)
				case name != "$defs":
					n = min(n+count(part), maxParts+1)
				}
			}
		}
		return n
	}
	if count(d.root) > maxParts {
		return fmt.Errorf("the schema has more than %d parts", maxParts)
	}
	return nil
}

// A node is a schema at a place of a document, with its reference followed.
type node struct {
	doc  *document
	at   string         // where values are validated
	keys map[string]any // its keywords
	from map[string]string
	null bool // null is accepted beside what keys say
}

// exists reports whether there is such a schema.
func (n node) exists() bool { return n.doc != nil }

// maxHops is how many references may follow each other.
const maxHops = 50

// node returns the schema at a place. Alternatives of which one is null become the other one, which may be null.
func (d *document) node(at string) node {
	n := node{doc: d, at: at, keys: map[string]any{}, from: map[string]string{}}
	d.fill(&n, at, maxHops)
	if list, ok := n.keys["type"].([]any); ok {
		rest := slices.DeleteFunc(slices.Clone(list), func(v any) bool { return v == "null" })
		n.null = n.null || len(rest) < len(list)
		n.keys["type"] = any(rest)
		if len(rest) == 1 {
			n.keys["type"] = rest[0]
		}
	}
	return n
}

func (d *document) fill(n *node, at string, hops int) {
	keys, ok := d.get(at).(map[string]any)
	if d.get(at) == false {
		keys, ok = map[string]any{"not": map[string]any{}}, true
	}
	if !ok || hops == 0 {
		return
	}
	for name, value := range keys {
		if _, have := n.keys[name]; !have && name != "$ref" && name != "$defs" && name != "$schema" {
			n.keys[name], n.from[name] = value, at
		}
	}
	if ref, ok := keys["$ref"].(string); ok && strings.HasPrefix(ref, "#") {
		d.fill(n, ref[1:], hops-1)
	}
	for _, name := range []string{"anyOf", "oneOf"} {
		list, _ := n.keys[name].([]any)
		if len(list) != 2 {
			continue
		}
		for i, alternative := range list {
			if isNull(alternative) {
				place := fmt.Sprintf("%s/%s/%d", n.from[name], name, 1-i)
				n.null, n.at = true, place
				delete(n.keys, name)
				delete(n.from, name)
				d.fill(n, place, hops-1)
				return
			}
		}
	}
}

func isNull(schema any) bool {
	keys, ok := schema.(map[string]any)
	return ok && keys["type"] == "null"
}

// child returns the schema under a keyword, and under names below it.
func (n node) child(keyword string, names ...string) node {
	at := n.from[keyword] + "/" + keyword
	for _, name := range names {
		at += "/" + escape.Replace(name)
	}
	return n.doc.node(at)
}

// id is the same for two nodes if they are the same schema but for null: a recursion ends where an id is met again.
func (n node) id() string {
	places := slices.Sorted(maps.Values(n.from))
	for i, place := range places {
		if place == "" {
			places[i] = n.doc.twin
		}
	}
	places = slices.Compact(places)
	return fmt.Sprint(places)
}

// types returns the types that a value may have, but for null; nil if it may have any.
func (n node) types() []string {
	switch t := n.keys["type"].(type) {
	case string:
		return []string{t}
	case []any:
		all := []string{}
		for _, one := range t {
			if name, ok := one.(string); ok {
				all = append(all, name)
			}
		}
		return all
	default:
		return nil
	}
}

func (n node) has(name string) bool { return n.keys[name] != nil }

// is reports whether a value may be of a type.
func (n node) is(name string) bool { return slices.Contains(n.types(), name) }

// properties returns the names of the fields, sorted.
func (n node) properties() []string {
	fields, _ := n.keys["properties"].(map[string]any)
	return slices.Sorted(maps.Keys(fields))
}

// property returns the schema of a field; none if there is no such field.
func (n node) property(name string) node {
	fields, _ := n.keys["properties"].(map[string]any)
	if _, ok := fields[name]; !ok {
		return node{}
	}
	return n.child("properties", name)
}

// required returns the names of the fields that must be there.
func (n node) required() []string {
	list, _ := n.keys["required"].([]any)
	var names []string
	for _, one := range list {
		if name, ok := one.(string); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// others returns the schema of the fields without one of their own; none if that is not said.
func (n node) others() node {
	if _, said := n.keys["additionalProperties"]; !said {
		return node{}
	}
	return n.child("additionalProperties")
}

// isMap reports whether an object's names are data: it has no fields of its own.
func (n node) isMap() bool {
	_, fields := n.keys["properties"]
	return n.is("object") && !fields
}

// count returns a keyword that is a number of things.
func (n node) count(name string) (int, bool) {
	number, ok := n.keys[name].(json.Number)
	if !ok {
		return 0, false
	}
	f, err := number.Float64()
	if err != nil || f < 0 || f > 1e9 {
		return 0, false
	}
	return int(f), true
}

// list returns a keyword that is a list of values.
func (n node) list(name string) []any {
	all, _ := n.keys[name].([]any)
	return all
}

// failing returns the keywords of the schema that refuse the value, innermost first.
func failing(err error) map[string]bool {
	found := map[string]bool{}
	failed, ok := errors.AsType[*validator.ValidationError](err)
	if !ok {
		return found
	}
	var walk func(e *validator.ValidationError)
	walk = func(e *validator.ValidationError) {
		if len(e.Causes) == 0 {
			if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
				found[path[0]] = true
			}
		}
		for _, cause := range e.Causes {
			walk(cause)
		}
	}
	walk(failed)
	return found
}
