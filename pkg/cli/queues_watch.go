package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	every := time.NewTicker(time.Duration(l.every))
	defer every.Stop()
	first, alarm := true, ""
	for {
		began := time.Now()
		rows, err := l.sample(ctx)
		l.took = time.Since(began)
		refused, own := errors.AsType[*Error](err)
		switch {
		case ctx.Err() != nil:
			return nil
		case own && !first:
			l.app.Warn("%v", refused)
		case err != nil && own, err != nil && !errors.Is(err, rabbit.ErrNotConnected) && !errors.Is(err, context.DeadlineExceeded):
			return l.app.explain(err)
		case err != nil:
			l.app.Warn("the broker does not answer: %v", l.app.explain(err))
		default:
			l.warnOfTrouble()
			if now := l.alarm(); now != alarm && l.app.Format() != FormatText {
				if alarm = now; now == "" {
					now = "the alarm is over"
				}
				l.app.Warn("%s", now)
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
	title := now.Format(time.TimeOnly) + ", every " + l.every.String()
	if l.took > time.Duration(l.every) {
		title += " (a look takes " + short(l.took) + ")"
	}
	title += ", Ctrl-C to stop"
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
	if alarm := l.alarm(); alarm != "" {
		b.WriteString(a.out.Paint(term.Red, alarm) + "\n")
	}
	if err := queueTable(rows).Write(&b, a.out, a.IO.Width()); err != nil {
		return err
	}
	return a.Printf("%s\n", b.String())
}

// screen writes what fits the terminal: a line that wraps, or one too many, would move the lines to replace next time.
// If that is not all queues, it leaves out those that are idle, unless they were asked for.
func (l *look) screen(b *strings.Builder, title string, rows []queueRow) error {
	a, width, alarm, more := l.app, l.app.IO.Width(), l.alarm(), ""
	if height := a.IO.Height(); height > 0 {
		room := max(height-3, 1) // the title, the header, and the line that the cursor ends in
		if alarm != "" {
			room = max(room-1, 1)
		}
		rows, more = fitting(rows, room, l.filter == "")
	}
	t := queueTable(rows)
	if width > 0 {
		title, alarm = term.Cut(title, width), term.Cut(alarm, width)
	}
	fit(t, width)
	b.WriteString(a.out.Paint(term.Dim, title) + "\n")
	if alarm != "" {
		b.WriteString(a.out.Paint(term.Red, alarm) + "\n")
	}
	if err := t.Write(b, a.out, width); err != nil {
		return err
	}
	if more != "" {
		if width > 0 {
			more = term.Cut(more, width)
		}
		b.WriteString(a.out.Paint(term.Dim, more) + "\n")
	}
	return nil
}

// fitting returns the rows for a number of lines, and a line that counts the others.
func fitting(rows []queueRow, room int, onlyBusy bool) (shown []queueRow, more string) {
	if len(rows) <= room {
		return rows, ""
	}
	shown = rows
	if onlyBusy {
		shown = slices.DeleteFunc(slices.Clone(rows), func(r queueRow) bool { return !r.busy() })
	}
	idle, cut := len(rows)-len(shown), max(len(shown)-(room-1), 0)
	shown = shown[:len(shown)-cut]
	switch {
	case cut > 0 && idle > 0:
		return shown, fmt.Sprintf("… %d more, and %d idle queues", cut, idle)
	case cut > 0:
		return shown, fmt.Sprintf("… %d more", cut)
	case idle == 1:
		return shown, "… 1 idle queue"
	default:
		return shown, fmt.Sprintf("… %d idle queues", idle)
	}
}
