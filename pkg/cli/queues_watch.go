package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Control sequences of a terminal.
const (
	clearScreen = "[2J"
	cursorHome  = "[H"
	eraseBelow  = "[J"
	eraseRight  = "[K"
)

// watch refreshes the queues until ctx ends, which is not an error. On a terminal each table replaces the last;
// elsewhere one follows the other.
func (l *look) watch(ctx context.Context) error {
	every := time.NewTicker(l.every)
	defer every.Stop()
	first := true
	for {
		rows, err := l.patiently(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, rabbit.ErrNotConnected) && !errors.Is(err, context.DeadlineExceeded):
			return l.app.explain(err)
		case err != nil:
			l.app.Warn("the broker does not answer: %v", l.app.explain(err))
		default:
			if first {
				l.warnOfTrouble()
			}
			if err := l.show(rows, first); err != nil {
				return err
			}
			first = false
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// patiently takes a sample, with a limit on the wait for a lost connection.
func (l *look) patiently(ctx context.Context) ([]queueRow, error) {
	ctx, cancel := context.WithTimeout(ctx, max(l.app.settings.connectTimeout, time.Second))
	defer cancel()
	return l.sample(ctx)
}

func (l *look) show(rows []queueRow, first bool) error {
	a, now := l.app, time.Now()
	if a.Format() != FormatText { // a stream is JSON Lines, even under -o json
		for i := range rows {
			rows[i].At = &now
			if err := writeJSON(a.IO.Out, rows[i], false); err != nil {
				return err
			}
		}
		return nil
	}
	title := now.Format(time.TimeOnly) + ", every " + short(l.every) + ", Ctrl-C to stop"
	var b strings.Builder
	if a.IO.OutInteractive() {
		if err := l.screen(&b, title, rows); err != nil {
			return err
		}
		screen := a.IO.Control(cursorHome) + strings.ReplaceAll(b.String(), "\n", a.IO.Control(eraseRight)+"\n") + a.IO.Control(eraseBelow)
		if first {
			screen = a.IO.Control(clearScreen) + screen
		}
		return a.Printf("%s", screen)
	}
	b.WriteString(a.out.Paint(term.Dim, title) + "\n")
	if err := queueTable(rows).Write(&b, a.out, a.IO.Width()); err != nil {
		return err
	}
	return a.Printf("%s\n", b.String())
}

// screen writes what fits the terminal: a line that wraps, or one too many, would move the lines to replace next time.
func (l *look) screen(b *strings.Builder, title string, rows []queueRow) error {
	a, width, more := l.app, l.app.IO.Width(), 0
	if height := a.IO.Height(); height > 0 {
		room := max(height-3, 1) // the title, the header, and the line that the cursor ends in
		if len(rows) > room {
			shown := room - 1
			rows, more = rows[:shown], len(rows)-shown
		}
	}
	t := queueTable(rows)
	if width > 0 {
		title = term.Cut(title, width)
		t.Fit(width, "OLDEST", "UNACKED", "CONSUMERS", "IN/s", "OUT/s", "CLEARS IN")
	}
	b.WriteString(a.out.Paint(term.Dim, title) + "\n")
	if err := t.Write(b, a.out, width); err != nil {
		return err
	}
	if more > 0 {
		b.WriteString(a.out.Paint(term.Dim, fmt.Sprintf("… %d more", more)) + "\n")
	}
	return nil
}
