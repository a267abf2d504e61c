package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// failures are the messages that a command works on: dead letters, or what waits for a retry.
type failures struct {
	app     *App
	conn    *leveret.Conn
	letters *deadletter.Store
	pick    *where
	queue   string // that a person named; empty for all
	waiting bool   // for a retry
	only    string // of a queue that holds those of several, the messages of this work queue; empty for all
	from    []deadletter.Source
	seen    int     // how many messages were read; in retry tiers, those of other queues included
	read    int     // how many sources could be read
	refused []error // of the others, which this user may not read
}

// failures connects for a command: to the dead letters of a queue, or of all, or to what waits for a retry.
func (a *App) failures(ctx context.Context, command, queue, expression string, waiting bool) (f *failures, end func(), err error) {
	f = &failures{app: a, queue: queue, waiting: waiting}
	if f.pick, err = parseWhere(expression, &discretion{app: a}); err != nil {
		return nil, nil, err
	}
	if waiting && queue != "" {
		if f.queue, err = a.retriedQueue(queue); err != nil {
			return nil, nil, err
		}
	}
	if f.conn, f.letters, err = a.letters(ctx, command); err != nil {
		return nil, nil, err
	}
	if waiting {
		f.from = a.tiers(f.letters)
	} else {
		f.from, f.only = a.sources(f.letters, queue), a.only(queue)
	}
	return f, func() { a.close(ctx, f.conn) }, nil
}

// picks reports whether a message is selected.
func (f *failures) picks(l *deadletter.Letter) bool {
	return (!f.waiting || f.queue == "" || l.Queue == f.queue) && (f.only == "" || l.Queue == f.only) && f.pick.picks(l)
}

// reached reports whether a source could be read. Among several, one that was never declared holds nothing, and one that
// this user may not read does not hide the others.
func (f *failures) reached(from deadletter.Source, err error) (bool, error) {
	several := f.waiting || f.queue == ""
	switch {
	case err == nil:
		f.read++
		return true, nil
	case several && errors.Is(err, deadletter.ErrNoQueue):
		return false, nil
	case several && errors.Is(err, rabbit.ErrRefused):
		f.app.Warn("%s was not read: %v", from.Name, err)
		f.refused = append(f.refused, err)
		return false, nil
	default:
		return false, err
	}
}

// verdict is the error of sources that could not be read.
func (f *failures) verdict() error {
	switch {
	case len(f.refused) == 0:
		return nil
	case f.read == 0:
		return f.app.reading(f.refused[0])
	default:
		return Fail(ExitPartial, nextOf(f.app.reading(f.refused[0])), "%d of %d queues could not be read", len(f.refused), len(f.refused)+f.read)
	}
}

// messages counts messages in words.
func (f *failures) messages(n int) string {
	switch {
	case !f.waiting:
		return deadLetters(n)
	case n == 1:
		return "1 message that waits"
	default:
		return fmt.Sprintf("%d messages that wait", n)
	}
}

// nothing says, for people, that nothing was found.
func (f *failures) nothing() error {
	a := f.app
	unknown := func() bool {
		return !slices.ContainsFunc(a.failing(), func(q shownQueue) bool { return q.name == f.queue })
	}
	switch {
	case f.waiting && f.queue != "" && unknown():
		return a.noQueue(f.queue, a.failing())
	case a.Format() != FormatText:
	case f.seen > 0 && f.pick != nil:
		a.Note("none of %s matches --where", f.messages(f.seen))
	case f.waiting && f.queue != "":
		a.Note("nothing of %s waits for a retry", f.queue)
	case f.waiting:
		a.Note("nothing waits for a retry")
	case f.queue != "":
		a.Note("%s has no dead letters", nameOf(f.from[0]))
	default:
		a.Note("no dead letters")
	}
	return nil
}

// print prints what was found, of which there are n, and returns the error of what could not be read.
func (f *failures) print(n int, list func() error) error {
	f.pick.warn(f.app)
	failed := f.verdict()
	if failed != nil && f.read == 0 {
		return failed
	}
	if n == 0 {
		if err := f.nothing(); err != nil {
			return err
		}
	}
	if n > 0 || f.app.Format() != FormatText {
		if err := list(); err != nil {
			return err
		}
	}
	return failed
}
