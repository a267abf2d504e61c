package term

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/leveretmq/leveret/internal/plain"
)

// OneLine makes a text fit for one cell of a terminal: [Printable], and without line breaks. An empty text becomes "-".
func OneLine(text string) string {
	if text == "" {
		return "-"
	}
	return strings.Join(strings.Fields(Printable(text)), " ")
}

// Printable escapes what a terminal would obey or hide instead of showing it, as \u001b. Line breaks and tabs stay.
func Printable(text string) string { return plain.Text(text) }

// Cut shortens a text to n runes, the last of them "…".
func Cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	runes := []rune(text[:min(len(text), n*utf8.UTFMax)])
	return string(runes[:n-1]) + "…"
}

// cutMiddle is Cut for names that differ at their ends, such as order.place.dlq.
func cutMiddle(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	end := (n - 1) / 2
	return string(runes[:n-1-end]) + "…" + string(runes[len(runes)-end:])
}

// Count writes a number as people read it: 7, 1.2k, 35k.
func Count(n float64) string {
	switch {
	case n >= 10_000:
		return fmt.Sprintf("%.0fk", n/1000)
	case n >= 1000:
		return fmt.Sprintf("%.1fk", n/1000)
	case n >= 10 || n == float64(int(n)):
		return fmt.Sprintf("%.0f", n)
	default:
		return fmt.Sprintf("%.1f", n)
	}
}

// Seconds writes how long something takes as people read it: <1s, 12s, 5m, 3h, 2d.
func Seconds(s float64) string {
	switch {
	case s < 1:
		return "<1s"
	case s < 120:
		return fmt.Sprintf("%.0fs", math.Floor(s))
	case s < 120*60:
		return fmt.Sprintf("%.0fm", math.Floor(s/60))
	case s < 48*3600:
		return fmt.Sprintf("%.0fh", math.Floor(s/3600))
	default:
		return fmt.Sprintf("%.0fd", math.Floor(s/(24*3600)))
	}
}
