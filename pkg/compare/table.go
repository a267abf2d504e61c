package compare

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/pkg/measure"
)

// A Table is one of a result's tables, as text. A column whose name ends in # holds numbers.
type Table struct {
	Title string
	// Note explains the columns.
	Note    string
	Columns []string
	Rows    [][]string
}

// Tables returns what was found as tables: one for each load, the bytes, and one for each fault.
func (p *Part) Tables() []Table {
	return append(append(p.speedTables(), p.bytesTables()...), p.faultTables()...)
}

const speedNote = "Medians of the rounds, in brackets the 95 % interval of the median. p50, p95 and p99 are what the " +
	"caller waits, “effect” is until the work is done, both in ms; CPU is in µs for each operation. “Undecided”: no " +
	"difference from the first row was found."

var speedColumns = []string{
	"way", "per second#", "p50#", "p95#", "p99#", "effect p50#", "effect p99#",
	"CPU caller#", "receivers#", "broker#", "p50 ratio#", "rate ratio#",
}

func (p *Part) speedTables() []Table {
	var all []Table
	for _, row := range p.Speed {
		if len(all) == 0 || all[len(all)-1].Title != row.Load.String() {
			all = append(all, Table{Title: row.Load.String(), Note: speedNote, Columns: speedColumns})
		}
		t := &all[len(all)-1]
		t.Rows = append(t.Rows, []string{
			row.Label, within(row.Throughput, 0), within(row.P50, 2), median(row.P95, 2), median(row.P99, 2),
			median(row.EffectP50, 2), median(row.EffectP99, 2),
			median(row.CallerCPU, 0), median(row.ReceiversCPU, 0), median(row.BrokerCPU, 0),
			p.ratio(row, P50), p.ratio(row, Throughput),
		})
	}
	return all
}

// ratio formats the ratio of a row to the first one.
func (p *Part) ratio(row Speed, m Metric) string {
	for _, r := range p.Ratios {
		if r.Load == row.Load && r.Way == row.Way && r.Metric == m {
			if r.Undecided {
				return median(r.Ratio, 2) + " undecided"
			}
			return within(r.Ratio, 2)
		}
	}
	return ""
}

func (p *Part) bytesTables() []Table {
	if len(p.Bytes) == 0 {
		return nil
	}
	t := Table{
		Title: "Bytes for each operation",
		Note: "Sent away from the caller and received towards it, over each hop: the payload of TCP, with all that " +
			"accompanies an operation.",
		Columns: []string{"way", "hop", "sent#", "received#", "connections#"},
	}
	for _, row := range p.Bytes {
		for _, h := range row.Hops {
			t.Rows = append(t.Rows, []string{
				row.Label, h.Name, number(h.Sent, 0), number(h.Received, 0), strconv.FormatInt(h.Connections, 10),
			})
		}
	}
	return []Table{t}
}

const faultNote = "Lost: reported ok and never done. Twice: done more than once. Unexpected: done although reported as " +
	"certainly not done. Recovered: done although the outcome was unknown. Longest wait: until the answer, or the effect " +
	"where nobody waits for one. Normal again: from the end of the fault to the first second in which 95 % took no longer " +
	"than usual; unknown if nothing was usual before, undisturbed if the fault reached no operation. Times are in seconds."

var faultColumns = []string{
	"way", "asked#", "ok#", "error#", "unknown#", "effects#", "lost#", "twice#", "unexpected#", "recovered#",
	"longest wait#", "normal again#",
}

func (p *Part) faultTables() []Table {
	var all []Table
	for _, row := range p.Faults {
		title := fmt.Sprintf("%s (healed after %s s)", row.FaultLabel, median(row.lasted(), 1))
		if len(all) == 0 || all[len(all)-1].Title != title {
			all = append(all, Table{Title: title, Note: faultNote, Columns: faultColumns})
		}
		t := &all[len(all)-1]
		cells := []string{row.Label}
		l := row.Ledger
		for _, n := range []int{l.Asked, l.OK, l.Failed, l.Unknown, l.Effects, l.Lost, l.Twice, l.Unexpected, l.Recovered} {
			cells = append(cells, strconv.Itoa(n))
		}
		normal := median(row.UntilNormal, 1)
		if math.IsInf(row.UntilNormal.Median, 1) {
			normal = "not in time"
		}
		if math.IsNaN(row.UntilNormal.Median) {
			normal = "unknown"
		}
		if row.disturbed() == 0 {
			normal = "undisturbed"
		}
		t.Rows = append(t.Rows, append(cells, median(row.LongestWait, 2), normal))
	}
	return all
}

// lasted is how long the fault lasted, in seconds.
func (r *FaultRow) lasted() measure.Spread {
	var all []float64
	for _, t := range r.Trials {
		all = append(all, t.Lasted)
	}
	return measure.SpreadOf(all)
}

// disturbed counts the operations that the fault reached.
func (r *FaultRow) disturbed() (n int) {
	for _, t := range r.Trials {
		n += t.Disturbed
	}
	return n
}

// number formats a figure; what is not known is empty.
func number(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func median(s measure.Spread, digits int) string { return number(s.Median, digits) }

// within formats a median with its interval, if it has one.
func within(s measure.Spread, digits int) string {
	if !s.HasInterval() {
		return median(s, digits)
	}
	return fmt.Sprintf("%s (%s–%s)", median(s, digits), number(s.Low, digits), cmp.Or(number(s.High, digits), "∞"))
}

// Markdown writes all tables as Markdown, below headings of the second and third level.
func (r *Result) Markdown(w io.Writer) error {
	var b strings.Builder
	for _, p := range r.Parts {
		fmt.Fprintf(&b, "## Handler: %s\n\n", p.Handler)
		ways := Table{Columns: []string{"way", "protocol", "connections#"}}
		for _, way := range p.Ways {
			connections := ""
			if way.Connections > 0 {
				connections = strconv.Itoa(way.Connections)
			}
			ways.Rows = append(ways.Rows, []string{way.Label, way.Protocol, connections})
		}
		ways.markdown(&b)
		note := ""
		for _, t := range p.Tables() {
			fmt.Fprintf(&b, "### %s\n\n", t.Title)
			if t.Note != note { // once for tables of a kind
				note = t.Note
				fmt.Fprintf(&b, "%s\n\n", note)
			}
			t.markdown(&b)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t Table) markdown(b *strings.Builder) {
	var head, rule []string
	for _, c := range t.Columns {
		name, isNumber := strings.CutSuffix(c, "#")
		line := "---"
		if isNumber {
			line = "---:"
		}
		head, rule = append(head, name), append(rule, line)
	}
	for _, cells := range append([][]string{head, rule}, t.Rows...) {
		for _, cell := range cells {
			fmt.Fprintf(b, "| %s ", strings.ReplaceAll(cmp.Or(cell, "–"), "|", `\|`))
		}
		b.WriteString("|\n")
	}
	b.WriteString("\n")
}
