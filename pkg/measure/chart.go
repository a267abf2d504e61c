package measure

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A Chart is a picture of horizontal bars, two panels beside each other. Long texts are broken or made smaller, so that
// they stay inside of it.
type Chart struct {
	Title, Subtitle string
	// About is the title of the document, for those who cannot see it. Default: Title.
	About  string
	Panels []Panel
}

// A Panel shows one quantity of several things.
type Panel struct {
	Title, Unit string
	// Top is where the axis ends, such as 100 for a share in per cent. Default: beyond the longest bar.
	Top  float64
	Bars []Bar
}

// A Bar is one figure, not negative and finite. Between Min and Max there is a line, unless both are 0.
type Bar struct {
	Label string
	Bold  bool
	// Fill is the colour. Default grey; see also Hatched.
	Fill            string
	Value, Min, Max float64
	// Note stands behind the bar.
	Note string
}

// Hatched is a [Bar]'s Fill for what has to be looked at with doubt.
const Hatched = "url(#hatched)"

const (
	chartWidth = 960
	panelWidth = chartWidth / 2
	labelWidth = 110 // at least
	margin     = 16
	letter     = 0.6 // the width of a letter, about, in font sizes
	barSpace   = 335 // for labels and the longest bar, at most
	leastSpace = 60  // for the longest bar
	noteSize   = 11
	noteGap    = 5
	barHeight  = 16
	barStep    = 21
	panelHead  = 40
	panelFoot  = 40
	lineStep   = 16
)

// Write draws the chart as SVG.
func (c Chart) Write(w io.Writer) error {
	height := 10
	drawn := &strings.Builder{}
	for _, head := range []struct {
		text, style string
		size        int
	}{{c.Title, `font-size="17" font-weight="600"`, 17}, {c.Subtitle, `fill="#475569"`, 12}} {
		for _, line := range broken(head.text, int((chartWidth-2*margin)/(letter*float64(head.size)))) {
			height += lineStep
			fmt.Fprintf(drawn, `<text x="%d" y="%d" %s>%s</text>`+"\n", margin, height, head.style, escape(line))
		}
		height += 4
	}
	height += 14
	for i := 0; i < len(c.Panels); i += 2 {
		tallest := 0
		for j, p := range c.Panels[i:min(i+2, len(c.Panels))] {
			tallest = max(tallest, p.draw(drawn, j*panelWidth, height))
		}
		height += tallest
	}
	height += 12
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="12" fill="#1e293b">
<title>%s</title>
<rect width="100%%" height="100%%" fill="#ffffff"/>
<defs><pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6" fill="#e2e8f0"/><rect width="3" height="6" fill="#94a3b8"/></pattern></defs>
%s</svg>
`, chartWidth, height, chartWidth, height, escape(cmp.Or(c.About, c.Title)), drawn.String())
	return err
}

// broken breaks a text into lines of at most so many letters, at spaces. A longer word has a line of its own.
func broken(text string, letters int) []string {
	var lines []string
	length := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		if last := len(lines) - 1; last >= 0 && length+1+n <= letters {
			lines[last] += " " + word
			length += 1 + n
			continue
		}
		lines = append(lines, word)
		length = n
	}
	return lines
}

// width is about how wide a text is.
func width(text string, size float64) float64 {
	return letter * size * float64(utf8.RuneCountInString(text))
}

// draw draws a panel and returns its height. One without bars is empty.
func (p Panel) draw(b *strings.Builder, x, y int) int {
	if len(p.Bars) == 0 {
		return 0
	}
	most, labels, notes := 0.0, labelWidth, 0.0
	for _, bar := range p.Bars {
		most = max(most, bar.Value, bar.Max)
		labels = max(labels, int(width(bar.Label, 12)))
		notes = max(notes, width(bar.Note, noteSize))
	}
	space := max(leastSpace, min(float64(barSpace-labels), panelWidth-2*margin-noteGap-float64(labels)-notes))
	step := niceStep(most / 4)
	top := step * float64(int(most/step)+1)
	if p.Top >= most && p.Top > 0 {
		top, step = p.Top, p.Top/4
	}
	scale := func(v float64) float64 { return v / top * space }
	left := x + margin + labels
	bottom := y + panelHead + len(p.Bars)*barStep
	size := min(13, 13*(panelWidth-2*margin)/max(width(p.Title, 13), 1))
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="%.3g" font-weight="600">%s</text>`+"\n", x+margin, y+22, size, escape(p.Title))
	for v := 0.0; v <= top+step/2; v += step {
		at := float64(left) + scale(v)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#e2e8f0"/><text x="%.1f" y="%d" text-anchor="middle" fill="#64748b" font-size="10">%s</text>`+"\n",
			at, y+panelHead-6, at, bottom, at, bottom+13, thousands(v))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#64748b" font-size="10">%s</text>`+"\n", float64(left)+space/2, bottom+27, escape(p.Unit))
	for i, bar := range p.Bars {
		weight := "400"
		if bar.Bold {
			weight = "700"
		}
		row := y + panelHead + i*barStep
		middle := row + barHeight/2
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" font-weight="%s">%s</text>`, left-6, middle+4, weight, escape(bar.Label))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, left, row, max(scale(bar.Value), 0.5), barHeight, escape(cmp.Or(bar.Fill, "#94a3b8")))
		if bar.Max > 0 {
			fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#0f172a"/>`, float64(left)+scale(bar.Min), middle, float64(left)+scale(bar.Max), middle)
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%d" font-weight="%s" font-size="%d">%s</text>`+"\n",
			float64(left)+scale(max(bar.Value, bar.Max))+noteGap, middle+4, weight, noteSize, escape(bar.Note))
	}
	return panelHead + len(p.Bars)*barStep + panelFoot
}

// niceStep is the next 1, 2 or 5 times a power of ten, from a thousandth.
func niceStep(v float64) float64 {
	step := 0.001
	for {
		for _, m := range []float64{1, 2, 5} {
			if step*m >= v {
				return step * m
			}
		}
		step *= 10
	}
}

func thousands(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.4gk", v/1000)
	}
	return fmt.Sprintf("%.4g", v)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes all
	return b.String()
}
