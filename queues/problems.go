package queues

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// maxProblems limits the problems listed in one error, because its message travels in a header.
const maxProblems = 8

// problems collects the problems of a payload. Each begins with the JSON path of its field: "lines[0].quantity: …".
type problems struct {
	found   []leveret.FieldViolation
	skipped int
}

func (p *problems) add(path, format string, args ...any) {
	if len(p.found) == maxProblems {
		p.skipped++
		return
	}
	p.found = append(p.found, leveret.FieldViolation{Field: path, Detail: fmt.Sprintf(format, args...)})
}

// err returns all problems as one error with a message on a single line, or nil if there are none.
func (p *problems) err() error {
	if len(p.found) == 0 {
		return nil
	}
	said := make([]string, 0, len(p.found)+1)
	for _, f := range p.found {
		said = append(said, f.Field+": "+f.Detail)
	}
	if p.skipped > 0 {
		said = append(said, fmt.Sprintf("and %d more", p.skipped))
	}
	return &leveret.Error{Code: leveret.InvalidArgument, Message: strings.Join(said, "; "), Fields: p.found}
}

// between checks that a number is within inclusive limits.
func (p *problems) between(path string, n, low, high int64) {
	switch {
	case n < low:
		p.add(path, "must be at least %d", low)
	case n > high:
		p.add(path, "must be at most %d", high)
	}
}

// id checks that s is a UUID in canonical form, so that equal ids are equal strings.
func (p *problems) id(path, s string) {
	if s == "" {
		p.add(path, "is required")
		return
	}
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s || u == uuid.Nil {
		p.add(path, "must be a lowercase UUID such as 0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41")
	}
}

// maxText is the longest permitted text, in characters (Unicode code points), as JSON Schema counts them.
const maxText = 64

// text checks a required string of limited length without control characters, which a terminal would obey.
func (p *problems) text(path, s string) {
	switch {
	case strings.TrimSpace(s) == "":
		p.add(path, "is required")
	case utf8.RuneCountInString(s) > maxText:
		p.add(path, "must be at most %d characters long", maxText)
	case strings.ContainsFunc(s, controls):
		p.add(path, "must not contain control characters")
	}
}

// controls reports whether a character is none but has an effect: it ends a line, moves the cursor, or turns the
// direction of what follows.
func controls(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// time checks that a time is set.
func (p *problems) time(path string, t time.Time) {
	if t.IsZero() {
		p.add(path, "is required")
	}
}

var word = regexp.MustCompile(`^[a-z_]+$`)

// word checks a value of an open enumeration. Its sender may know values that this program does not know yet.
func (p *problems) word(path, s string) {
	switch {
	case s == "":
		p.add(path, "is required")
	case !word.MatchString(s) || len(s) > maxText:
		p.add(path, "must be a word of lower-case letters and underscores, at most %d characters long", maxText)
	}
}
