package plain_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/plain"
	"github.com/leveretmq/leveret/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

func TestText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                     "",
		"plain ä 漢 🐇\n\tnext":                  "plain ä 漢 🐇\n\tnext",
		"\x1b[31mred\x07":                      `\u001b[31mred\u0007`,
		"lines\r\nof\rWindows":                 "lines\n" + `of\u000dWindows`,
		"\x7f \u0085 \u009b31m":                `\u007f \u0085 \u009b31m`,
		"\u200e\u200f\u061c\u202e\u2066":       `\u200e\u200f\u061c\u202e\u2066`,
		"\u2028\u2029\ufeff\u200b\u00ad":       `\u2028\u2029\ufeff\u200b\u00ad`,
		"tag \U000e0041":                       `tag \udb40\udc41`,
		"\xff a \xe2\x80":                      "\ufffd a \ufffd\ufffd",
		"a family: \U0001f469\u200d\U0001f467": "a family: \U0001f469\u200d\U0001f467",
		"\ufffd":                               "\ufffd",
	} {
		require.Equal(t, want, plain.Text(text), "%q", text)
	}
}

// forbidden are the characters that no output may have.
func forbidden(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r < ' ', r >= 0x7f && r <= 0x9f, r == 0x61c, r == 0xfeff, r >= 0x200e && r <= 0x200f || r == 0x200b,
		r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r >= 0xe0000 && r <= 0xe007f:
		return true
	}
	return false
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"a", "\x1b]0;title\x07", "\u202e\xff", `{"a":"` + "\u202e\x7f\u0090\U000e0041" + `"}`, "\r\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		shown := plain.Text(text)
		require.True(t, utf8.ValidString(shown))
		require.Negative(t, strings.IndexFunc(shown, forbidden), "%q", shown)
		require.LessOrEqual(t, len(shown), 6*len(text))
		var before, after any
		if json.Unmarshal([]byte(text), &before) == nil && !strings.ContainsRune(text, '\r') {
			require.NoError(t, json.Unmarshal([]byte(shown), &after), "%q", shown)
			require.Equal(t, before, after)
		}
	})
}
