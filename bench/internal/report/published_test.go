package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/bench/internal/report"
)

// A drawnText is a text of a chart, with what says where it begins and ends.
type drawnText struct {
	X      float64 `xml:"x,attr"`
	Size   float64 `xml:"font-size,attr"`
	Anchor string  `xml:"text-anchor,attr"`
	Text   string  `xml:",chardata"`
}

// TestChartsCanBeChecked: in a new chart and in the published ones, every ratio is that of the two figures beside which it
// stands, and no text is cut off.
func TestChartsCanBeChecked(t *testing.T) {
	t.Parallel()
	var drawn bytes.Buffer
	require.NoError(t, report.Chart(&drawn, run()))
	require.Equal(t, 3, requireChecked(t, drawn.Bytes()))
	for name, ratios := range map[string]int{"benchmarks": 51, "benchmarks-rpc": 0, "when-to-use-what": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			published, err := os.ReadFile("../../../docs/" + name + ".svg")
			require.NoError(t, err)
			found := requireChecked(t, published)
			require.Equal(t, ratios, found)
		})
	}
}

// requireChecked checks a chart and returns how many ratios it has.
func requireChecked(t *testing.T, chart []byte) (ratios int) {
	t.Helper()
	var document struct {
		Box   string      `xml:"viewBox,attr"`
		Texts []drawnText `xml:"text"`
	}
	require.NoError(t, xml.Unmarshal(chart, &document))
	var left, top, wide, high float64
	_, err := fmt.Sscan(document.Box, &left, &top, &wide, &high)
	require.NoError(t, err)
	for _, text := range document.Texts {
		size := text.Size
		if size == 0 {
			size = 12 // the document's
		}
		width := 0.6 * size * float64(utf8.RuneCountInString(text.Text))
		begin, end := text.X, text.X+width
		switch text.Anchor {
		case "end":
			begin, end = text.X-width, text.X
		case "middle":
			begin, end = text.X-width/2, text.X+width/2
		}
		require.GreaterOrEqual(t, begin, left, text.Text)
		require.LessOrEqual(t, end, left+wide, text.Text)
	}
	number := regexp.MustCompile(`^(\d+)(?: · (\S+) × raw)?$`)
	panel := map[string][2]string{} // by label: the figure and its ratio
	check := func() {
		raw, err := strconv.ParseFloat(panel["raw"][0], 64)
		for label, shown := range panel {
			if shown[1] == "" {
				continue
			}
			require.NoError(t, err, "a ratio to raw needs raw")
			figure, err := strconv.ParseFloat(shown[0], 64)
			require.NoError(t, err)
			ratio, err := strconv.ParseFloat(shown[1], 64)
			require.NoError(t, err)
			require.LessOrEqual(t, math.Abs(ratio-figure/raw), 0.005+1e-9, "%s: %v", label, shown)
			ratios++
		}
		clear(panel)
	}
	for i, text := range document.Texts {
		match := number.FindStringSubmatch(text.Text)
		switch {
		case text.Anchor == "" && text.Size > 11 && text.Size <= 13: // the title of a panel, perhaps made smaller
			check()
		case match != nil && text.Size == 11:
			panel[document.Texts[i-1].Text] = [2]string{match[1], match[2]}
		}
	}
	check()
	return ratios
}

// textOf returns the texts of a chart, a line each.
func textOf(t *testing.T, chart io.Reader) string {
	t.Helper()
	decoder := xml.NewDecoder(chart)
	var text strings.Builder
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		require.NoError(t, err)
		if data, ok := token.(xml.CharData); ok {
			text.Write(data)
			text.WriteString("\n")
		}
	}
}
