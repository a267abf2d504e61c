package httprpc

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// maxName is how much of a wrong parameter's name an error repeats, in bytes.
const maxName = 100

// A parameter is one that a request has given.
type parameter struct {
	field  *field
	raw    json.RawMessage
	inPath bool
}

// parameters are those of one request, by name.
type parameters struct {
	given      map[string]parameter
	violations []leveret.FieldViolation
}

// readParameters reads the parameters of a request from its path and its query.
func readParameters(p pattern, f fields, pathValue func(string) string, rawQuery string) (parameters, error) {
	given := parameters{given: make(map[string]parameter)}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return given, leveret.Errorf(leveret.InvalidArgument, "the query is malformed: a per cent sign must be followed by two "+
			"hexadecimal digits, and parameters are separated by &")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		given.add(f, name, query[name], false)
	}
	for _, name := range p.params() {
		given.add(f, name, []string{pathValue(name)}, true)
	}
	return given, given.err()
}

func (p *parameters) add(f fields, name string, values []string, inPath bool) {
	known := f.byName[name]
	if known == nil {
		p.wrong(name, "is no parameter of this request")
		return
	}
	raw, err := known.encode(values)
	if err != nil {
		p.wrong(name, err.Error())
		return
	}
	p.given[name] = parameter{known, raw, inPath}
}

func (p *parameters) wrong(name, detail string) {
	name = strings.ToValidUTF8(name[:min(len(name), maxName)], "\uFFFD")
	p.violations = append(p.violations, leveret.FieldViolation{Field: name, Detail: detail})
}

// err returns all that is wrong with the parameters, as one error.
func (p *parameters) err() error {
	if len(p.violations) == 0 {
		return nil
	}
	texts := make([]string, len(p.violations))
	for i, v := range p.violations {
		texts[i] = v.Field + ": " + v.Detail
	}
	return &leveret.Error{Code: leveret.InvalidArgument, Message: strings.Join(texts, "; "), Fields: p.violations}
}

// fill returns the payload: the members of the body, and the parameters in place of those with the same name. It is an
// error if a parameter in the path and the body differ.
func (p *parameters) fill(body []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if len(bytes.TrimSpace(body)) > 0 {
		if !utf8.Valid(body) {
			return nil, leveret.Errorf(leveret.InvalidArgument, "the body is not UTF-8")
		}
		if err := json.Unmarshal(body, &members); err != nil || members == nil {
			return nil, leveret.Errorf(leveret.InvalidArgument, "the body must be a JSON object")
		}
	}
	var b bytes.Buffer
	b.WriteByte('{')
	write := func(name string, raw json.RawMessage) {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		encoded, _ := json.Marshal(name) //nolint:errchkjson // a string can be encoded
		b.Write(encoded)
		b.WriteByte(':')
		b.Write(raw)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		raw := members[name]
		if replaced := p.named(name); len(replaced) == 0 {
			write(name, raw)
		} else if given := replaced[0]; given.inPath && string(raw) != "null" && !given.field.same(given.raw, raw) {
			p.wrong(given.field.name, "differs between the path and the body")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.given)) {
		write(name, p.given[name].raw)
	}
	b.WriteByte('}')
	return b.Bytes(), p.err()
}

// named returns the parameters that a member of the body stands for: encoding/json does not tell upper from lower case,
// and takes the last of two. The one in the path comes first.
func (p *parameters) named(member string) []parameter {
	var found []parameter
	for name, given := range p.given {
		if !strings.EqualFold(name, member) {
			continue
		}
		if given.inPath {
			found = slices.Insert(found, 0, given)
		} else {
			found = append(found, given)
		}
	}
	return found
}
