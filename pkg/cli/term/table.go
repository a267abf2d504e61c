package term

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Table has a header and rows, in columns separated by two spaces and without borders, for people and for awk.
type Table struct {
	header []string
	right  []bool // columns of numbers
	long   bool   // the last column is a long text
	rows   [][]Cell
}

// A Cell is a text and its paint. An empty text is written as "-", so that every row has all columns. In every column but
// the last a text is cut to maxCell characters: other rows are filled up to it.
type Cell struct {
	Text  string
	Paint Paint
}

// Plain makes a cell without paint.
func Plain(text string) Cell { return Cell{Text: text} }

// Painted makes a cell with paint.
func Painted(text string, paint Paint) Cell { return Cell{Text: text, Paint: paint} }

// NewTable makes a table with these columns. A column whose name ends in # is aligned right, for numbers. If the last
// one's ends in ~, it is a long text, which has a line of its own where the terminal leaves too little room for it.
func NewTable(columns ...string) *Table {
	t := &Table{}
	for _, c := range columns {
		c, t.long = strings.CutSuffix(c, "~")
		name, number := strings.CutSuffix(c, "#")
		t.header = append(t.header, name)
		t.right = append(t.right, number)
	}
	return t
}

// Add adds a row, a cell for each column. Missing cells are empty; cells beyond the last column are ignored.
func (t *Table) Add(cells ...Cell) {
	row := make([]Cell, len(t.header))
	copy(row, cells)
	for i := range row {
		row[i].Text = OneLine(row[i].Text)
		if i < len(row)-1 {
			row[i].Text = Cut(row[i].Text, maxCell)
		}
	}
	t.rows = append(t.rows, row)
}

// maxCell is more than a name or an id has: AMQP allows 255 bytes.
const maxCell = 255

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

// legible is how much of the first column's names Fit keeps before it drops another column.
const legible = 24

// Fit makes the table no wider than width: it drops the given columns, in order, while too little of the first column
// would be left, and then cuts the first column.
func (t *Table) Fit(width int, drop ...string) {
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

// Write writes the table. If width is not 0, it cuts the last column to fit.
func (t *Table) Write(w io.Writer, s Style, width int) error {
	if widths := t.widths(); t.long && width > 0 && t.beside(width) < min(widths[len(widths)-1], sentence) {
		return t.writeBelow(w, s, width)
	}
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

// sentence is how much of a long text is worth showing beside the other columns.
const sentence = 40

// beside returns how much room the other columns leave for the last one.
func (t *Table) beside(width int) int {
	widths := t.widths()
	for _, w := range widths[:len(widths)-1] {
		width -= w + 2
	}
	return width
}

// writeBelow writes the table with the texts of the last column below their rows.
func (t *Table) writeBelow(w io.Writer, s Style, width int) error {
	last := len(t.header) - 1
	short := Table{header: t.header[:last], right: t.right[:last]}
	for _, row := range t.rows {
		short.rows = append(short.rows, row[:last])
	}
	var b strings.Builder
	if err := short.Write(&b, s, width); err != nil {
		return err
	}
	lines := strings.SplitAfter(b.String(), "\n")
	b.Reset()
	b.WriteString(lines[0])
	for i, row := range t.rows {
		b.WriteString(lines[i+1])
		if text := row[last]; text.Text != "-" {
			b.WriteString("  " + s.Paint(text.Paint, Cut(text.Text, max(width-2, legible))) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) line(b *strings.Builder, s Style, row []Cell, widths []int, width int) {
	used := 0
	for i, c := range row {
		last := i == len(row)-1
		text := c.Text
		if last && width > 0 {
			text = Cut(text, max(width-used, 8))
		}
		padding := strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(text), 0))
		used += widths[i] + 2
		text = s.Paint(c.Paint, text)
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
