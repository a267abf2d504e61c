package cli

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/leveretmq/leveret/pkg/cli/term"
)

// writeJSON writes a value as valid UTF-8 without control or direction characters: in strings they are escaped, and what
// is no UTF-8 becomes U+FFFD.
func writeJSON(w io.Writer, v any, indent bool) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, term.Printable(string(layOut(b.Bytes(), indent))))
	return err
}

// printable is a stream of JSON that is written as [writeJSON] does.
type printable struct{ w io.Writer }

// Write implements io.Writer, for whole lines.
func (p printable) Write(line []byte) (int, error) {
	if _, err := io.WriteString(p.w, term.Printable(string(line))); err != nil {
		return 0, err
	}
	return len(line), nil
}

// writeBody writes a body that may be JSON, keeping the order of its fields and the digits of its numbers. Under -o json
// it is written as [writeJSON] does. Anything but JSON is written byte for byte.
func (a *App) writeBody(body []byte, indent bool) error {
	switch {
	case !json.Valid(body):
		_, err := a.IO.Out.Write(body)
		return err
	case a.Format() != FormatText:
		return writeJSON(a.IO.Out, json.RawMessage(body), indent)
	default:
		_, err := a.IO.Out.Write(layOut(body, indent))
		return err
	}
}

// maxNesting is how deep a value in a list may be nested: jq reads 256 levels in all, and one value must not make all
// of a list unreadable.
const maxNesting = 100

// nesting returns how deep JSON is nested: 1 for an array of numbers.
func nesting(text []byte) (deepest int) {
	walk(text, func(_ byte, depth int) { deepest = max(deepest, depth) })
	return deepest
}

// walk calls see with each character of JSON outside of its texts, and how many brackets are open behind it.
func walk(text []byte, see func(c byte, depth int)) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted && c == '\\':
			i++
			continue
		case c == '"':
			quoted = !quoted
			continue
		case quoted:
			continue
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		}
		see(c, depth)
	}
}

const (
	indentBy = 2
	// maxGrowth is how many times as long as the compact text indented JSON may be, beyond the first few kilobytes.
	maxGrowth = 8
	smallJSON = 4 << 10
)

// layOut returns JSON on one line, or indented if that does not make it many times as long, as it does in deep nesting.
func layOut(text []byte, indent bool) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return text // nested deeper than Go reads, so compact already
	}
	compact := b.Bytes()
	if indent && indentedSize(compact) <= smallJSON+maxGrowth*len(compact) {
		b = bytes.Buffer{}
		_ = json.Indent(&b, compact, "", "  ") // it is valid
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// indentedSize returns how long compact JSON is at most once it is indented.
func indentedSize(compact []byte) int {
	size := len(compact)
	walk(compact, func(c byte, depth int) {
		switch c {
		case '{', '[', '}', ']', ',':
			size += 1 + indentBy*depth
		case ':':
			size++
		}
	})
	return size
}
