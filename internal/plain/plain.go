// Package plain makes text from anywhere safe to print.
package plain

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text escapes what a terminal obeys or hides instead of showing it: control characters, characters that change the
// direction of text, and characters without a shape. They become \u202e, as JSON writes them: within a string of JSON
// the escape means the same. Line breaks and tabs stay; a carriage return before a line break is left out. Bytes that
// are not UTF-8 become U+FFFD. The result is at most six times as long.
func Text(text string) string {
	begin := strings.IndexFunc(text, notPlain)
	if begin < 0 {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + 16)
	b.WriteString(text[:begin])
	for i := begin; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		next := text[i+size:]
		i += size
		switch {
		case r == '\r' && strings.HasPrefix(next, "\n"):
		case r == utf8.RuneError || !notPlain(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// notPlain reports whether Text may have to change a character; U+FFFD is also what a byte that is not UTF-8 reads as.
func notPlain(r rune) bool {
	switch {
	case r >= ' ' && r < 0x7f, r == '\n', r == '\t':
		return false
	case r == utf8.RuneError:
		return true
	default: // joiners and the signs that enclose numbers shape what is seen
		return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) &&
			!unicode.In(r, unicode.Join_Control, unicode.Prepended_Concatenation_Mark)
	}
}
