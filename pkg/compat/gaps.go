package compat

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

// A gap is a value that one schema, the writer's, accepts, and the other, the reader's, refuses.
type gap struct {
	path    string // lines[].sku
	keyword string // of the reader that refuses it
	writer  any    // what each says under this keyword; nil for nothing
	reader  any
	field   bool // the keyword is required, and the writer has the field
	value   any  // at the path
	whole   any  // the payload with the value in it
	shown   bool // the whole is accepted by the writer and refused by the reader
	open    bool // no value was found, but it is not certain that there is none
}

// maxGaps is how many gaps are reported for two schemas.
const maxGaps = 200

// gaps returns the gaps between what a writer writes and what a reader accepts. A writer writes no fields that its
// schema does not have.
func gaps(writer, reader *document) []gap {
	d := &differ{writer: writer, reader: reader, open: map[[2]string]bool{}, clean: map[[2]string]bool{}}
	d.compare(writer.node(""), reader.node(""), "", func(v any) any { return v })
	var own []gap
	for _, g := range d.found {
		if because := implied[g.keyword]; because == "" || !d.has(g.path, because) {
			own = append(own, g)
		}
	}
	return own
}

// implied are the keywords that are no news where another one has a gap: a format brings its pattern, and what has
// another type cannot be null either.
var implied = map[string]string{"null": "type", "pattern": "format"}

// has reports whether a gap was found at a path.
func (d *differ) has(path, keyword string) bool {
	return slices.ContainsFunc(d.found, func(g gap) bool { return g.path == path && g.keyword == keyword })
}

// differ compares two documents.
type differ struct {
	writer, reader *document
	open           map[[2]string]bool // pairs that are being compared: a type that holds itself
	clean          map[[2]string]bool // pairs without a gap
	found          []gap
}

func (d *differ) add(g gap, wrap func(any) any) {
	if len(d.found) >= maxGaps || d.has(g.path, g.keyword) {
		return
	}
	if !g.open {
		g.whole = plain(wrap(g.value))
		g.shown = d.writer.accepts("", g.whole) && !d.reader.accepts("", g.whole)
	}
	d.found = append(d.found, g)
}

// compare compares two schemas at a path. Wrap puts a value of theirs into a whole payload.
func (d *differ) compare(a, b node, path string, wrap func(any) any) {
	if a.null && !b.null && !b.doc.accepts(b.at, nil) {
		d.add(gap{path: path, keyword: "null", writer: true, reader: false}, wrap)
	}
	pair := [2]string{a.id(), b.id()}
	if d.open[pair] || d.clean[pair] || len(b.keys) == 0 || len(d.found) >= maxGaps {
		return
	}
	d.open[pair] = true
	before := len(d.found)
	defer func() {
		delete(d.open, pair)
		d.clean[pair] = len(d.found) == before
	}()
	simple := true
	switch {
	case a.is("object") && b.is("object"):
		d.objects(a, b, path, wrap)
		simple = false
	case a.is("array") && b.is("array"):
		d.arrays(a, b, path, wrap)
		simple = false
	}
	if !simple && len(a.types()) == 1 {
		return
	}
	d.values(a, b, path, wrap)
}

// values finds differences by trying values.
func (d *differ) values(a, b node, path string, wrap func(any) any) {
	all := candidates(a, b)
	if a.is("object") || a.is("array") || a.types() == nil {
		all = append(all, sample(a, b), sample(a, node{}))
	}
	best := map[string]gap{}
	fewest := map[string]int{}
	for _, v := range all {
		if v == nil || !a.doc.accepts(a.at, v) {
			continue
		}
		err := b.doc.refuses(b.at, v)
		if err == nil {
			continue
		}
		keywords := failing(err)
		for _, k := range decisive(b, keywords) {
			if n, have := fewest[k]; have && n <= len(keywords) {
				continue
			}
			fewest[k] = len(keywords)
			best[k] = gap{path: path, keyword: k, writer: a.keys[k], reader: b.keys[k], value: v}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(best)) {
		d.add(best[k], wrap)
	}
	d.undecided(a, b, path, best)
}

// decisive returns the keywords to report of those that refuse a value: where the type or the choice is wrong, nothing
// else matters.
func decisive(b node, keywords map[string]bool) []string {
	for _, k := range []string{"type", "const", "enum"} {
		if keywords[k] && b.has(k) {
			return []string{k}
		}
	}
	var own []string
	for _, k := range slices.Sorted(maps.Keys(keywords)) {
		if b.has(k) {
			own = append(own, k)
		}
	}
	if len(own) > 0 {
		return own
	}
	for _, k := range []string{"oneOf", "anyOf", "allOf", "not", "if", "dependentRequired", "required"} {
		if b.has(k) {
			return []string{k}
		}
	}
	return []string{"type"}
}

// uncertain are the keywords of which trying values does not decide.
var uncertain = []string{"pattern", "not", "oneOf", "anyOf", "allOf", "if", "then", "else", "contains", "dependentRequired", "dependentSchemas", "patternProperties"}

// undecided reports a keyword that differs where no value has shown what that means.
func (d *differ) undecided(a, b node, path string, shown map[string]gap) {
	if len(shown) > 0 || a.has("enum") || a.has("const") {
		return
	}
	for _, k := range uncertain {
		if included, _ := patternsOf(a, b); k == "pattern" && included {
			continue
		}
		if _, have := b.keys[k]; have && key(a.keys[k]) != key(b.keys[k]) {
			d.add(gap{path: path, keyword: k, writer: a.keys[k], reader: b.keys[k], open: true}, nil)
		}
	}
}

func (d *differ) objects(a, b node, path string, wrap func(any) any) {
	whole := sync.OnceValue(func() map[string]any { // which takes long for many fields
		object, _ := sample(a, b).(map[string]any)
		return object
	})
	for _, name := range b.required() {
		if contains(a.required(), name) || len(d.found) >= maxGaps {
			continue
		}
		object := maps.Clone(whole())
		delete(object, name)
		d.add(gap{path: join(path, name), keyword: "required", writer: false, reader: true, field: a.property(name).exists(), value: object}, wrap)
	}
	within := func(name string) func(any) any {
		return func(v any) any {
			object := map[string]any{}
			maps.Copy(object, whole())
			object[name] = v
			return wrap(object)
		}
	}
	for _, name := range a.properties() {
		if field := fieldOf(b, name); field.exists() {
			d.compare(a.property(name), field, join(path, name), within(name))
		}
	}
	if a.isMap() {
		d.maps(a, b, path, within, wrap)
	}
	d.counts(a, b, path, wrap, "minProperties", "maxProperties", func(n int) any {
		object := map[string]any{}
		for i := range n {
			object["key"+key(i)] = sample(a.others(), b.others())
		}
		return object
	})
}

// maps compares what a map may hold with what an object accepts.
func (d *differ) maps(a, b node, path string, within func(string) func(any) any, wrap func(any) any) {
	each := a.others()
	if !each.exists() {
		each = anything()
	}
	if names := b.child("propertyNames"); b.has("propertyNames") {
		var of node
		if a.has("propertyNames") {
			of = a.child("propertyNames")
		}
		for _, v := range append(texts(of, names), "key") {
			text, ok := v.(string)
			if !ok || of.exists() && !of.doc.accepts(of.at, text) || names.doc.accepts(names.at, text) {
				continue
			}
			d.add(gap{
				path: join(path, "*"), keyword: "propertyNames", writer: a.keys["propertyNames"], reader: b.keys["propertyNames"],
				value: map[string]any{text: sample(each, b.others())},
			}, wrap)
			break
		}
	}
	name := nameFor(a, b)
	if other := b.others(); other.exists() {
		d.compare(each, other, join(path, "*"), within(name))
	}
	for _, name := range b.properties() {
		d.compare(each, b.property(name), join(path, name), within(name))
	}
}

// nameFor returns a name of a field that both maps accept, if there is one.
func nameFor(a, b node) string {
	found := "key"
	for _, v := range append([]any{"key"}, texts(nameNode(a), nameNode(b))...) {
		text, _ := v.(string)
		if na := nameNode(a); na.exists() && !na.doc.accepts(na.at, text) {
			continue
		}
		found = text
		if nb := nameNode(b); !nb.exists() || nb.doc.accepts(nb.at, text) {
			break
		}
	}
	return found
}

func nameNode(n node) node {
	if !n.has("propertyNames") {
		return node{}
	}
	return n.child("propertyNames")
}

func (d *differ) arrays(a, b node, path string, wrap func(any) any) {
	s := &sampler{map[string]bool{}, maxValues}
	d.counts(a, b, path, wrap, "minItems", "maxItems", func(n int) any { return s.items(a, b, n) })
	if b.keys["uniqueItems"] == true && a.keys["uniqueItems"] != true {
		if one := s.items(a, b, 1); len(one) == 1 {
			least, _ := a.count("minItems")
			twice := slices.Repeat(one, max(least, 2))
			if a.doc.accepts(a.at, twice) {
				d.add(gap{path: path, keyword: "uniqueItems", writer: nil, reader: true, value: twice}, wrap)
			}
		}
	}
	if !b.has("items") {
		return
	}
	items := anything()
	if a.has("items") {
		items = a.child("items")
	}
	if most, limited := a.count("maxItems"); limited && most == 0 {
		return
	}
	d.compare(items, b.child("items"), path+"[]", func(v any) any {
		least, _ := a.count("minItems")
		list := s.items(a, b, max(least, 1))
		list[0] = v
		return wrap(list)
	})
}

// counts compares the bounds of how many things there are.
func (d *differ) counts(a, b node, path string, wrap func(any) any, least, most string, of func(int) any) {
	aLeast, _ := a.count(least)
	aMost, aLimited := a.count(most)
	if bLeast, ok := b.count(least); ok && aLeast < bLeast {
		d.add(gap{path: path, keyword: least, writer: a.keys[least], reader: b.keys[least], value: of(aLeast)}, wrap)
	}
	if bMost, ok := b.count(most); ok && (!aLimited || aMost > bMost) {
		n := max(bMost+1, aLeast)
		if n > maxLong {
			n = 0 // too many to be shown
		}
		d.add(gap{path: path, keyword: most, writer: a.keys[most], reader: b.keys[most], value: of(n)}, wrap)
	}
}

// anything returns the schema that accepts any value.
func anything() node {
	d, err := newDocument(json.RawMessage("true"))
	if err != nil {
		return node{} // which cannot be
	}
	return d.node("")
}

// plain returns a value as the validator wants it: as if it had been read.
func plain(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return v
	}
	value, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return v
	}
	return value
}

// key writes a value as JSON, to compare it with others.
func key(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}

func contains(names []string, name string) bool { return slices.Contains(names, name) }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
