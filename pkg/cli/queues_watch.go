package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	clearScreen = "\x1b[2J"
	cursorHome  = "\x1b[H"
	eraseBelow  = "\x1b[J"
	eraseRight  = "\x1b[K"
)

// watch shows the queues again and again. On a terminal it draws over what it drew; elsewhere one table follows the
// other. It ends with ctx, which is how it is meant to end.
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
			if first && l.trouble != nil {
				l.app.Warn("%v; unacked messages and rates are not known. %s", l.trouble, managementHint)
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

// patiently takes a sample, but does not wait for ever for a connection that is lost.
func (l *look) patiently(ctx context.Context) ([]queueRow, error) {
	ctx, cancel := context.WithTimeout(ctx, max(l.app.settings.connectTimeout, time.Second))
	defer cancel()
	return l.sample(ctx)
}

func (l *look) show(rows []queueRow, first bool) error {
	a, now := l.app, time.Now()
	if a.Format() != FormatText { // a stream is JSON Lines, whatever was asked for
		for i := range rows {
			rows[i].At = &now
			if err := writeJSON(a.IO.Out, rows[i], false); err != nil {
				return err
			}
		}
		return nil
	}
	var b strings.Builder
	if err := queueTable(rows).write(&b, a.out, a.IO.width()); err != nil {
		return err
	}
	title := a.out.dim(now.Format(time.TimeOnly)+", every "+short(l.every)+", Ctrl-C ends") + "\n"
	screen := title + b.String() + "\n"
	if a.IO.OutTerminal && a.IO.env("TERM") != "dumb" {
		screen = cursorHome + strings.ReplaceAll(title+b.String(), "\n", eraseRight+"\n") + eraseBelow
		if first {
			screen = clearScreen + screen
		}
	}
	_, err := a.IO.Out.Write([]byte(screen))
	return err
}
