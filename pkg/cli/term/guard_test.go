package term

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// terminal returns streams of a coloured terminal, as programs use them, and what arrives there.
func terminal() (*Streams, *bytes.Buffer) {
	var shown bytes.Buffer
	return (&Streams{Out: &shown, Err: &shown, OutTerminal: true, ErrTerminal: true}).Guarded(), &shown
}

func TestOnlyTheProgramControlsTheTerminal(t *testing.T) {
	t.Parallel()
	s, shown := terminal()
	style := StyleFor(s, ColorAuto, true)
	hostile := "\x1b[31m\x1b]0;title\x07\u202e\u009b2J\x7f"
	text := style.Paint(Red, hostile) + "\n" + s.Control("[2J") + hostile
	n, err := s.Out.Write([]byte(text))
	require.NoError(t, err)
	require.Equal(t, len(text), n)
	escaped := `\u001b[31m\u001b]0;title\u0007\u202e\u009b2J\u007f`
	require.Equal(t, "\x1b[31m"+escaped+"\x1b[0m\n\x1b[2J"+escaped, shown.String())

	shown.Reset()
	status := NewStatus(s)
	bar := NewProgress(status, style, hostile, 2)
	bar.drawn = bar.drawn.Add(-progressEvery)
	bar.Add(1)
	bar.End()
	require.True(t, strings.HasPrefix(shown.String(), escaped+" \x1b[32m━"), "%q", shown)
	require.True(t, strings.HasSuffix(shown.String(), "/s\x1b[G\x1b[K"), "%q", shown)
}

func TestElsewhereBytesStayAsTheyAre(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := (&Streams{Out: &out, Err: &out}).Guarded()
	_, err := s.Out.Write([]byte("\x1b[31m\xff\r\n" + StyleFor(s, ColorAlways, false).Paint(Bold, "b")))
	require.NoError(t, err)
	require.Equal(t, "\x1b[31m\xff\r\n\x1b[1mb\x1b[0m", out.String())
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestGuardReportsWhatTheStreamDoes(t *testing.T) {
	t.Parallel()
	_, err := (&Streams{Out: full{}}).Guarded().Out.Write([]byte("x"))
	require.EqualError(t, err, "full")
}

// FuzzTerminal writes hostile text in every way that there is.
func FuzzTerminal(f *testing.F) {
	for _, seed := range []string{"a", "\x1b[31m", "\u202e\xff\u0090", "a\r\nb\r", "\U000e0041\ufeff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, shown := terminal()
		table := NewTable("A", "B#", "C")
		table.Add(Painted(text, Red), Plain(text), Plain(text))
		require.NoError(t, table.Write(s.Out, StyleFor(s, ColorAuto, true), 40))
		_, err := s.Err.Write([]byte(StyleFor(s, ColorAuto, true).Paint(Dim, text) + text))
		require.NoError(t, err)
		plain := shown.String()
		for _, ours := range []string{"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m"} {
			plain = strings.ReplaceAll(plain, ours, "")
		}
		require.True(t, utf8.ValidString(plain))
		for _, r := range plain {
			require.False(t, r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r), "%q", plain)
		}
	})
}
