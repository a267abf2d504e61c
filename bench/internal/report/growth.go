package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leveretmq/leveret/bench/internal/growth"
	"github.com/leveretmq/leveret/bench/internal/results"
)

// cells are the rows of a series: of each figure its name, its values, and its law.
func cells(s growth.Series) (rows [][]string) {
	head := []string{s.Of}
	for _, size := range s.Sizes {
		head = append(head, thousands(size))
	}
	rows = append(rows, append(head, "law"))
	for _, f := range s.Figures {
		row := []string{f.Name}
		for _, v := range f.Values {
			row = append(row, growth.Short(v))
		}
		rows = append(rows, append(row, f.Law.String()))
	}
	return rows
}

// thousands writes a whole number with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// legend says what the laws mean.
const legend = "The law of each row is computed from its values. *Constant*: the largest is at most 1.2 times the smallest; of memory, and of frames " +
	"that are for several messages at once, 1.5 times; and of times and rates, which depend on what else the machine does, twice; times " +
	"below 0.25 s, and a quarter of a frame, are taken for that. *Linear*: a line, whose terms are given, is as close to each value. Otherwise it is constant from some size on, or the power of the size is given that comes closest. " +
	"Frames and bytes are counted by a proxy between client and broker, in processes of their own where times and rates stand beside " +
	"them; heartbeats are left out. Each size is measured once: see large differences, not small ones."

// GrowthText writes how everything grows, for a terminal.
func GrowthText(run *results.Run) string {
	var b bytes.Buffer
	for _, s := range run.Growth {
		fmt.Fprintf(&b, "\n%s (%s)\n", s.Title, s.Load)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, row := range cells(s) {
			fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
		}
		_ = w.Flush() // a buffer takes everything
		for _, missing := range s.Missing {
			fmt.Fprintf(&b, "  not measured: %s\n", missing)
		}
	}
	return b.String()
}

// Growth writes the same as Markdown.
func Growth(w io.Writer, run *results.Run) {
	p := page{w, run}
	p.line("Measured on %s, in %s, with `%s` in `bench/`, at commit %s.", run.Began.UTC().Format("2006-01-02 15:04 MST"), run.Took.Round(time.Second), run.Command, run.Commit)
	p.line("Machine: %s, %d cores, %d GiB; %s; %s. Broker: RabbitMQ %s, one", run.Machine.CPU, run.Machine.Cores, run.Machine.Memory>>30, run.Machine.System, run.Machine.Go, run.Broker)
	p.line("node on the same machine. Each table gives the load at its beginning: above the number of cores, other work shared the machine.\n")
	p.line("%s\n", legend)
	for _, s := range run.Growth {
		p.line("### %s\n\n%s (%s)\n", s.Title, s.About, s.Load)
		for i, row := range cells(s) {
			if i == 0 {
				p.head(row...)
				continue
			}
			p.row(row...)
		}
		for _, missing := range s.Missing {
			p.line("\nNot measured: %s.", oneLine(missing))
		}
		p.line("")
	}
}

// What is between these lines of a page is generated.
const (
	begins = "<!-- Written by `bench`; run it again instead of editing. -->\n"
	ends   = "<!-- What `bench` has written ends here. -->\n"
)

// ErrNotMarked is the error of a page that does not say where its tables are.
var ErrNotMarked = errors.New("the page does not say where the tables begin and end")

// ReplaceGrowth returns a page with other tables.
func ReplaceGrowth(page []byte, run *results.Run) ([]byte, error) {
	before, rest, begun := bytes.Cut(page, []byte(begins))
	_, after, ended := bytes.Cut(rest, []byte(ends))
	if !begun || !ended {
		return nil, ErrNotMarked
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(begins + "\n")
	Growth(&b, run)
	b.WriteString(ends)
	b.Write(after)
	return b.Bytes(), nil
}

// WriteGrowth replaces the tables of a page.
func WriteGrowth(path string, run *results.Run) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := ReplaceGrowth(old, run)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}
