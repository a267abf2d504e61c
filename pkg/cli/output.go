package cli

import (
	"fmt"
	"strings"

	"github.com/leveretmq/leveret/pkg/cli/term"
)

// A Format is how data is written to standard output.
type Format string

// The formats.
const (
	FormatText  Format = "text"
	FormatJSON  Format = "json"  // one JSON value
	FormatJSONL Format = "jsonl" // JSON Lines: one value a line
)

// Format returns what -o asked for.
func (a *App) Format() Format { return Format(a.output) }

// Printf writes text data to standard output. Commands use it under [FormatText] only.
func (a *App) Printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.IO.Out, format, args...)
	return err
}

// Note writes a line for people to standard error, as a JSON line unless the format is text.
func (a *App) Note(format string, args ...any) { a.say("note", "", fmt.Sprintf(format, args...)) }

// Warn writes a warning to standard error, as a JSON line unless the format is text.
func (a *App) Warn(format string, args ...any) {
	a.say("warning", a.err.Paint(term.Yellow, "warning:")+" ", fmt.Sprintf(format, args...))
}

func (a *App) say(kind, label, text string) {
	if a.Format() == FormatText {
		fmt.Fprintf(a.IO.Err, "%s%s\n", label, text)
		return
	}
	_ = writeJSON(a.IO.Err, map[string]string{kind: strings.TrimSpace(text)}, false)
}

// Paint colours a text for standard output, if that gets colour: see --color.
func (a *App) Paint(p term.Paint, text string) string { return a.out.Paint(p, text) }

// PaintErr colours a text for standard error, if that gets colour.
func (a *App) PaintErr(p term.Paint, text string) string { return a.err.Paint(p, text) }

// StartProgress starts a progress bar on standard error, or returns nil, which draws nothing, if that is not a
// terminal. What is written to standard error meanwhile appears above the bar. Total is 0 if it is unknown.
func (a *App) StartProgress(verb string, total int) *term.Progress {
	if !a.IO.ErrInteractive() {
		return nil
	}
	return term.NewProgress(a.status, a.err, verb, total)
}

// PrintTable writes a table to standard output. Commands use it under [FormatText] only.
func (a *App) PrintTable(t *term.Table) error { return t.Write(a.IO.Out, a.out, a.IO.Width()) }

// PrintJSON writes one value: indented under -o json, on one line under -o jsonl.
func (a *App) PrintJSON(v any) error {
	return writeJSON(a.IO.Out, v, a.Format() != FormatJSONL)
}

// PrintList writes a list: as one array, as JSON Lines, or as the table that text returns.
func PrintList[T any](a *App, items []T, text func() *term.Table) error {
	switch a.Format() {
	case FormatJSON:
		if items == nil {
			items = []T{}
		}
		return writeJSON(a.IO.Out, items, true)
	case FormatJSONL:
		for _, item := range items {
			if err := writeJSON(a.IO.Out, item, false); err != nil {
				return err
			}
		}
		return nil
	default:
		return a.PrintTable(text())
	}
}
