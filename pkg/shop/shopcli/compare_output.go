package shopcli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/compare"
)

// Between the markers, --markdown replaces what a file holds.
const (
	beginMarker = "<!-- leveret compare: begin -->\n"
	endMarker   = "<!-- leveret compare: end -->\n"
)

// compareOutputs are the files to be written.
type compareOutputs struct{ svg, markdown string }

// openCompareOutputs says early if a file cannot be written.
func openCompareOutputs(o compareOptions) (compareOutputs, error) {
	for flag, path := range map[string]string{"--svg": o.svg, "--markdown": o.markdown} {
		if path == "" {
			continue
		}
		_, err := os.Stat(path)
		made := errors.Is(err, fs.ErrNotExist)
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644) // it is for others to read
		if err == nil {
			err = file.Close()
		}
		if err == nil && made {
			err = os.Remove(path)
		}
		if err != nil {
			return compareOutputs{}, cli.Fail(cli.ExitUsage, "", "%s: %w", flag, err)
		}
	}
	if o.markdown != "" {
		if _, _, err := around(o.markdown); err != nil {
			return compareOutputs{}, cli.Fail(cli.ExitUsage, "", "--markdown: %w", err)
		}
	}
	return compareOutputs{o.svg, o.markdown}, nil
}

// around returns what a file holds before and after the tables; nothing if there is no such file.
func around(path string) (before, after string, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	before, rest, begins := strings.Cut(string(content), beginMarker)
	_, after, ends := strings.Cut(rest, endMarker)
	if !begins || !ends {
		return "", "", fmt.Errorf("%s exists, and lacks the lines %q and %q, between which the tables go", path,
			strings.TrimSpace(beginMarker), strings.TrimSpace(endMarker))
	}
	return before, after, nil
}

// write writes the files.
func (o compareOutputs) write(r *compare.Result) error {
	if o.svg != "" {
		var b bytes.Buffer
		if err := r.Chart(&b); err != nil {
			return err
		}
		if err := os.WriteFile(o.svg, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if o.markdown == "" {
		return nil
	}
	before, after, err := around(o.markdown)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\n%s.\n\n", before, beginMarker, about(r))
	if err := r.Markdown(&b); err != nil {
		return err
	}
	fmt.Fprintf(&b, "%s%s", endMarker, after)
	return os.WriteFile(o.markdown, b.Bytes(), 0o644)
}

// about says under which circumstances a result was found.
func about(r *compare.Result) string {
	m := r.Machine
	text := fmt.Sprintf("Measured on %s: %d CPUs", r.Began.UTC().Format("2006-01-02"), m.CPUs)
	if m.Model != "" {
		text += " (" + m.Model + ")"
	}
	text += fmt.Sprintf(", %s/%s, RabbitMQ %s, %s, plain TCP on the loopback interface",
		m.OS, m.Arch, r.Versions["rabbitmq"], r.Versions["go"])
	if m.Load > 0 {
		text += fmt.Sprintf("; the load average was %.1f before", m.Load)
	}
	return text
}

// printComparison prints a result as tables or as JSON.
func printComparison(app *cli.App, r *compare.Result) error {
	if app.Format() != cli.FormatText {
		return app.PrintJSON(r)
	}
	text := about(r) + ".\n"
	for _, p := range r.Parts {
		text += fmt.Sprintf("\nHandler: %s\n\n", p.Handler)
		t := term.NewTable("WAY", "CONNECTIONS#", "PROTOCOL")
		for _, w := range p.Ways {
			t.Add(term.Plain(w.Label), term.Plain(fmt.Sprint(w.Connections)), term.Plain(w.Protocol))
		}
		if err := app.Printf("%s", text); err != nil {
			return err
		}
		if err := app.PrintTable(t); err != nil {
			return err
		}
		note := ""
		for _, one := range p.Tables() {
			if err := app.Printf("\n%s\n", app.Paint(term.Bold, one.Title)); err != nil {
				return err
			}
			if one.Note != note {
				note = one.Note
				if err := app.Printf("%s\n", app.Paint(term.Dim, wrapped(note))); err != nil {
					return err
				}
			}
			if err := app.PrintTable(tableOf(one)); err != nil {
				return err
			}
		}
		text = ""
	}
	return nil
}

// tableOf makes a table for the terminal.
func tableOf(one compare.Table) *term.Table {
	var columns []string
	for _, c := range one.Columns {
		columns = append(columns, strings.ToUpper(c))
	}
	t := term.NewTable(columns...)
	for _, row := range one.Rows {
		cells := make([]term.Cell, len(row))
		for i, text := range row {
			cells[i] = term.Plain(text)
		}
		t.Add(cells...)
	}
	return t
}

// wrapped breaks a text into lines of about a terminal's width.
func wrapped(text string) string {
	const width = 100
	var b strings.Builder
	used := 0
	for i, word := range strings.Fields(text) {
		switch n := utf8.RuneCountInString(word) + 1; {
		case i == 0:
		case used+n > width:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteByte(' ')
		}
		b.WriteString(word)
		used += utf8.RuneCountInString(word) + 1
	}
	return b.String()
}
