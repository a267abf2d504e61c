package term

import (
	"crypto/rand"
	"io"
	"strings"

	"github.com/leveretmq/leveret/internal/plain"
)

// Guarded returns s with an Out and an Err through which only this program can move the cursor or colour text: what
// [Style.Paint], a [Progress] and [Streams.Control] write. On a terminal everything else is escaped by [Printable],
// wherever it comes from, so no call site has to. On other streams bytes stay as they are.
//
// Each Write must hold whole characters.
func (s *Streams) Guarded() *Streams {
	guarded := *s
	guarded.key = rand.Text() // nobody can guess it, so no text can hold it
	guarded.Out = &guard{s.Out, s.OutTerminal, guarded.key}
	guarded.Err = &guard{s.Err, s.ErrTerminal, guarded.key}
	return &guarded
}

// Control returns an escape sequence, such as "[2J", as the guard of s lets it through.
func (s *Streams) Control(sequence string) string { return control(s.key, sequence) }

func control(key, sequence string) string { return "\x1b" + key + sequence }

// guard is a stream that turns the program's own controls into escape sequences, and escapes those of others.
type guard struct {
	w        io.Writer
	terminal bool
	key      string
}

// Write implements io.Writer.
func (g *guard) Write(p []byte) (int, error) {
	shown := func(text string) string { return text }
	if g.terminal {
		shown = plain.Text
	}
	var b strings.Builder
	for i, part := range strings.Split(string(p), "\x1b"+g.key) {
		if i > 0 {
			end := 1 + strings.IndexFunc(part, func(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' })
			b.WriteString("\x1b" + part[:end])
			part = part[end:]
		}
		b.WriteString(shown(part))
	}
	if _, err := io.WriteString(g.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}
