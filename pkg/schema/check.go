package schema

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Problem is one fault of a payload.
type Problem struct {
	// Path is the field: "lines[0].quantity". Empty for the payload as a whole.
	Path string `json:"path"`
	// Message says what is wrong: "must be >= 1".
	Message string `json:"message"`
}

// String returns "path: message".
func (p Problem) String() string {
	if p.Path == "" {
		return p.Message
	}
	return p.Path + ": " + p.Message
}

// An Invalid is the error of a payload that does not fit. It has at least one problem, sorted by path.
type Invalid struct{ Problems []Problem }

// Error lists the problems, separated by "; ".
func (e *Invalid) Error() string {
	all := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		all[i] = p.String()
	}
	return strings.Join(all, "; ")
}

func invalid(path, format string, args ...any) error {
	e := &Invalid{}
	e.add(path, fmt.Sprintf(format, args...))
	return e
}

const (
	// maxProblems is how many problems of a payload are reported.
	maxProblems = 100
	// maxMessage is how many characters a message has at most. It may quote a value in the words of another package.
	maxMessage = 500
	// maxPath is how many bytes of the path to a value are reported that cannot be decoded.
	maxPath = 255
	// maxDepth is how deep in a payload the schema is applied: the work for one value grows with its depth.
	maxDepth = 100
)

func (e *Invalid) add(path, message string) {
	e.Problems = append(e.Problems, Problem{path, cut(message, maxMessage)})
}

// byteOrderMark is what some editors and shells put in front of a text.
const byteOrderMark = "\ufeff"

// Check checks a payload as its receiver does: it must be one JSON value in UTF-8, with or without a byte order mark, not
// null, that fits the schema, decodes into the Go type, and satisfies the type's Validate method. What is nested deeper
// than 100 levels is checked as the receiver alone does: by decoding and by Validate. The error is an [*Invalid], of the
// first 100 problems. The time and the memory that Check takes grow with the length of the payload, whatever is in it.
//
// Unknown lists the fields that the type does not have. They are accepted, since a sender may be newer than this
// program, but in a payload that a person typed they are usually mistakes. Where a codec reads the JSON they do not even
// travel: they are problems.
func (s *Schema) Check(body []byte) (unknown []Problem, err error) {
	body = bytes.TrimPrefix(body, []byte(byteOrderMark))
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, invalid("", "the payload is empty; it must be a JSON value")
	}
	if wide := wire.Wide(body); wide != "" {
		return nil, invalid("", "the payload looks like %s; save it as UTF-8", wide)
	}
	if i := wire.FirstInvalid(body); i >= 0 { // Go's decoder would put U+FFFD there
		return nil, invalid("", "the payload is not valid UTF-8: byte %d is 0x%02x", i+1, body[i])
	}
	value, err := validator.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return nil, invalid("", "the payload is not JSON: %s", where(body, err))
	}
	if value == nil {
		return nil, invalid("", "the payload is null; it must be a JSON value")
	}
	if s.known() {
		unknown = s.unknown(value)
	}
	err = s.fits(value, body)
	if err == nil && s.encoded() && len(unknown) > 0 {
		return nil, &Invalid{unknown}
	}
	return unknown, err
}

// fits checks a value, and what it was read from, but for unknown fields.
func (s *Schema) fits(value any, body []byte) error {
	checked, _ := new(shortening).of(value, maxDepth)
	if err := s.compiled.Validate(checked); err != nil {
		failed, ok := errors.AsType[*validator.ValidationError](err)
		if !ok {
			return invalid("", "%v", err)
		}
		found := &Invalid{}
		more := s.collect(found, value, failed)
		if len(found.Problems) == 0 { // all are too deep
			return s.decode(value, body)
		}
		slices.SortStableFunc(found.Problems, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
		if more > 0 {
			found.add("", fmt.Sprintf("there are %d more problems", more))
		}
		return found
	}
	return s.decode(value, body)
}

// undecodable returns why a value that fits the schema cannot be decoded. Where there may be secrets, it quotes nothing.
func (s *Schema) undecodable(value any, err error) error {
	e, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if found := s.notWhole(value); ok && len(found) > 0 {
		return &Invalid{found}
	}
	switch {
	case ok && s.HasSecrets():
		return invalid(lastOf(e.Field), "the value does not fit its type (%v)", e.Type)
	case ok:
		return invalid(lastOf(e.Field), "%s does not fit its type (%v)", beginning(strings.TrimPrefix(e.Value, "number ")), e.Type)
	case s.HasSecrets():
		return invalid("", "the payload cannot be decoded into %v", s.goType)
	default:
		return invalid("", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
}

// lastOf shortens a path to its end.
func lastOf(path string) string {
	if len(path) <= maxPath {
		return path
	}
	return "…" + strings.ToValidUTF8(path[len(path)-maxPath:], "")
}

// decode finds what only Go can: numbers in a form or size that their type does not accept, and the errors of Validate.
func (s *Schema) decode(value any, body []byte) error {
	target, err := s.read(body)
	if err != nil {
		return s.undecodable(value, err)
	}
	for _, v := range []reflect.Value{target, target.Elem()} {
		if check, ok := reflect.TypeAssert[interface{ Validate() error }](v); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
			if err := check.Validate(); err != nil {
				return invalid("", "%s", messageOf(err))
			}
			return nil
		}
	}
	return nil
}

// read decodes JSON that people wrote, and returns a pointer to the value.
func (s *Schema) read(text []byte) (reflect.Value, error) {
	target := reflect.New(s.goType)
	if s.encoded() {
		return target, s.spec.Codec.FromJSON(text, target.Interface())
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return target, d.Decode(target.Interface())
}

// messageOf returns the message of an error without its code, which is always that of an invalid argument.
func messageOf(err error) string {
	if e, ok := err.(*leveret.Error); ok && e.Message != "" { //nolint:errorlint // a wrapping error has a fuller message
		return e.Message
	}
	return err.Error()
}

// where describes a syntax error with its line and column.
func where(body []byte, err error) string {
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		if strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "unexpected end") {
			return "it ends too early"
		}
		return err.Error()
	}
	before := body[:min(max(int(syntax.Offset)-1, 0), len(body))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("%s at line %d, column %d", syntax.Error(), line, column)
}

// collect collects the leaves of a validation error, and returns how many are too many.
func (s *Schema) collect(e *Invalid, root any, v *validator.ValidationError) (more int) {
	if _, ok := v.ErrorKind.(*kind.AnyOf); ok && len(v.Causes) > 0 {
		return s.collect(e, root, v.Causes[0]) // the other is null; see nullable
	}
	if k := firstByte(valueAt(root, v.InstanceLocation)); len(v.InstanceLocation) == maxDepth && (k == '{' || k == '[') {
		return 0 // a text stands for it
	}
	if key, ok := v.ErrorKind.(*kind.PropertyNames); ok && len(e.Problems) < maxProblems {
		must, _ := describe(leafOf(v).ErrorKind)
		e.add(pathOf(root, v.InstanceLocation), fmt.Sprintf("the key %q %s", beginning(key.Property), must))
		return 0
	}
	if len(v.Causes) > 0 {
		for _, cause := range v.Causes {
			more += s.collect(e, root, cause)
		}
		return more
	}
	if len(e.Problems) >= maxProblems {
		return 1
	}
	path := pathOf(root, v.InstanceLocation)
	if missing, ok := v.ErrorKind.(*kind.Required); ok {
		for _, name := range missing.Missing {
			e.add(join(path, name), "is missing")
		}
		return 0
	}
	must, is := describe(v.ErrorKind)
	if wrong, ok := v.ErrorKind.(*kind.Type); ok && wrong.Got == "number" && slices.Contains(wrong.Want, "integer") {
		must, is = "must be a whole number", ""
	}
	_, choice := v.ErrorKind.(*kind.Enum)
	if n, ok := valueAt(root, v.InstanceLocation).(json.Number); ok && (is == "" || choice) {
		is = "is " + display(n) // as it was written
	}
	switch hidden := s.hides(root, v.InstanceLocation); {
	case must == "" && hidden:
		must = "is not as it must be"
	case must == "":
		must = is
	case is != "" && !hidden:
		must += ", " + is
	}
	e.add(path, must)
	return 0
}

// leafOf returns the first leaf of a validation error.
func leafOf(v *validator.ValidationError) *validator.ValidationError {
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	return v
}

// hides reports whether the value at a place in root must not be quoted.
func (s *Schema) hides(root any, location []string) bool {
	p := s.place
	for _, part := range location {
		hidden := p.hides(firstByte(root))
		switch at := root.(type) {
		case []any:
			p = p.item()
		case map[string]any:
			if p.shape != '{' {
				p = anything
			}
			var named bool
			p, named = s.child(p, part)
			hidden = hidden || named && at[part] != nil
		}
		if hidden {
			return true
		}
		root = valueAt(root, []string{part})
	}
	return p.hides(firstByte(root))
}

// firstByte is the first byte of a value as JSON, or at least tells objects, arrays, null and the rest apart.
func firstByte(v any) byte {
	switch v.(type) {
	case map[string]any:
		return '{'
	case []any:
		return '['
	case nil:
		return 'n'
	default:
		return '"'
	}
}

// describe returns what a value must be, and what it is instead. One of them may be empty.
func describe(k validator.ErrorKind) (must, is string) {
	switch k := k.(type) {
	case *kind.Type:
		return "must be " + article(strings.Join(k.Want, " or ")), "is " + article(k.Got)
	case *kind.Minimum:
		return "must be >= " + number(k.Want), ""
	case *kind.Maximum:
		return "must be <= " + number(k.Want), ""
	case *kind.ExclusiveMinimum:
		return "must be > " + number(k.Want), ""
	case *kind.ExclusiveMaximum:
		return "must be < " + number(k.Want), ""
	case *kind.MultipleOf:
		return "must be a multiple of " + number(k.Want), ""
	case *kind.MinItems:
		return "must have at least " + plural(k.Want, "item"), fmt.Sprintf("has %d", k.Got)
	case *kind.MaxItems:
		return "must have at most " + plural(k.Want, "item"), fmt.Sprintf("has %d", k.Got)
	case *kind.MinLength:
		return "must be at least " + plural(k.Want, "character") + " long", fmt.Sprintf("is %d", k.Got)
	case *kind.MaxLength:
		return "must be at most " + plural(k.Want, "character") + " long", fmt.Sprintf("is %d", k.Got)
	case *kind.Pattern:
		if k.Want == canonicalUUID {
			return "must be a UUID in lower case, such as " + exampleID, fmt.Sprintf("is %q", beginning(k.Got))
		}
		return "must match " + k.Want, fmt.Sprintf("is %q", beginning(k.Got))
	case *kind.Format:
		return fmt.Sprintf("must be a %s", k.Want), "is " + display(k.Got)
	case *kind.Enum:
		all := make([]string, len(k.Want))
		for i, v := range k.Want {
			all[i] = display(v)
		}
		return "must be one of " + strings.Join(all, ", "), "is " + display(k.Got)
	case *kind.Const:
		return "must be " + display(k.Want), ""
	default:
		return "", k.LocalizedString(message.NewPrinter(language.English))
	}
}

func article(noun string) string {
	switch {
	case noun == "null":
		return noun
	case strings.ContainsRune("aeiou", rune(noun[0])):
		return "an " + noun
	default:
		return "a " + noun
	}
}

// number writes a bound with all its digits.
func number(r *big.Rat) string {
	if digits, exact := r.FloatPrec(); exact {
		return r.FloatString(digits)
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// longest is how many characters of a value a message quotes.
const longest = 60

// display writes a value as JSON, shortened if it is long.
func display(v any) string {
	if text, ok := v.(string); ok {
		v = beginning(text)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return beginning(strings.TrimSuffix(b.String(), "\n"))
}

func beginning(text string) string {
	if utf8.RuneCountInString(text) <= longest+2 { // quoted
		return text
	}
	return cut(text, longest)
}

// cut shortens a text to n characters.
func cut(text string, n int) string {
	if len(text) <= n || utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text[:min(len(text), utf8.UTFMax*n)])[:n]) + "…"
}

// pathOf writes the place of a value in root as people do: lines[0].quantity.
func pathOf(root any, location []string) string {
	path := ""
	for _, part := range location { // which are not many: see maxDepth
		if list, ok := root.([]any); ok {
			path += "[" + part + "]"
			if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(list) {
				root = list[i]
			}
			continue
		}
		path = join(path, part)
		if object, ok := root.(map[string]any); ok {
			root = object[part]
		}
	}
	return path
}

// valueAt returns the value at a place in root.
func valueAt(root any, location []string) any {
	for _, part := range location {
		switch at := root.(type) {
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(at) {
				return nil
			}
			root = at[i]
		case map[string]any:
			root = at[part]
		}
	}
	return root
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func join(path, name string) string {
	name = beginning(name)
	if path == "" {
		return name
	}
	return path + "." + name
}
