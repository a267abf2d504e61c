package cli

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Table is rows under a header, columns apart by two spaces, without borders: a person reads it, and so does awk.
type Table struct {
	header []string
	right  []bool // columns of numbers
	rows   [][]Cell
}

// A Cell is a text and how it is painted. An empty text is written as "-", so that every row has all its columns.
type Cell struct {
	Text  string
	Paint Paint
}

// Plain makes a cell without paint.
func Plain(text string) Cell { return Cell{Text: text} }

// NewTable makes a table with these columns. A column whose name ends in # holds numbers, which stand to the right.
func NewTable(columns ...string) *Table {
	t := &Table{}
	for _, c := range columns {
		name, number := strings.CutSuffix(c, "#")
		t.header = append(t.header, name)
		t.right = append(t.right, number)
	}
	return t
}

// Add adds a row: one cell for each column. Cells that are missing are empty, cells that are too many are not shown.
func (t *Table) Add(cells ...Cell) {
	row := make([]Cell, len(t.header))
	copy(row, cells)
	for i := range row {
		row[i].Text = oneLine(row[i].Text)
	}
	t.rows = append(t.rows, row)
}

// PrintTable writes a table to standard output. Commands use it under [FormatText] only.
func (a *App) PrintTable(t *Table) error { return t.write(a.IO.Out, a.out, a.IO.width()) }

// widths returns how wide the columns are.
func (t *Table) widths() []int {
	widths := make([]int, len(t.header))
	for i, h := range t.header {
		widths[i] = utf8.RuneCountInString(h)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].Text))
		}
	}
	return widths
}

// legible is how much of the names in the first column is worth more than another column.
const legible = 24

// fit makes the table no wider than width. Columns are dropped, in this order, as long as too little of the names in the
// first column would be left; then the names are cut.
func (t *Table) fit(width int, drop ...string) {
	for {
		widths := t.widths()
		room := width
		for _, w := range widths[1:] {
			room -= w + 2
		}
		if room < min(widths[0], legible) && len(drop) > 0 {
			t.drop(drop[0])
			drop = drop[1:]
			continue
		}
		for _, row := range t.rows {
			row[0].Text = cutMiddle(row[0].Text, max(room, utf8.RuneCountInString(t.header[0])))
		}
		return
	}
}

func (t *Table) drop(column string) {
	i := slices.Index(t.header, column)
	t.header = slices.Delete(t.header, i, i+1)
	t.right = slices.Delete(t.right, i, i+1)
	for n := range t.rows {
		t.rows[n] = slices.Delete(t.rows[n], i, i+1)
	}
}

// write writes the table. Where width is not 0, the last column is cut to it.
func (t *Table) write(w io.Writer, s style, width int) error {
	widths := t.widths()
	var b strings.Builder
	header := make([]Cell, len(t.header))
	for i, h := range t.header {
		header[i] = Cell{h, Bold}
	}
	t.line(&b, s, header, widths, width)
	for _, row := range t.rows {
		t.line(&b, s, row, widths, width)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) line(b *strings.Builder, s style, row []Cell, widths []int, width int) {
	used := 0
	for i, c := range row {
		last := i == len(row)-1
		text := c.Text
		if last && width > 0 {
			text = cut(text, max(width-used, 8))
		}
		padding := strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(text), 0))
		used += widths[i] + 2
		text = s.paint(c.Paint, text)
		switch {
		case t.right[i]:
			text = padding + text
		case !last:
			text += padding
		}
		b.WriteString(text)
		if !last {
			b.WriteString("  ")
		}
	}
	b.WriteByte('\n')
}

// oneLine makes a text fit for one cell of a terminal: no line ends, and no control characters, which a message from
// anywhere may hold.
func oneLine(text string) string {
	if text == "" {
		return "-"
	}
	return strings.Join(strings.Fields(printable(text)), " ")
}

// printable replaces the control characters of a text, line ends and tabs apart: a terminal would obey them.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r < ' ', r >= 0x7f && r < 0xa0, r == '\u2028', r == '\u2029', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
			return utf8.RuneError
		default:
			return r
		}
	}, strings.ToValidUTF8(text, string(utf8.RuneError)))
}

// cut shortens a text to n runes.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	runes := []rune(text)
	return string(runes[:n-1]) + "…"
}

// cutMiddle is cut for names that differ at their ends: order.place.dlq.
func cutMiddle(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	end := (n - 1) / 2
	return string(runes[:n-1-end]) + "…" + string(runes[len(runes)-end:])
}
