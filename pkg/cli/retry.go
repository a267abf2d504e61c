package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

func (a *App) retryCommand() *cobra.Command {
	return group("retry", "Inspect and release what waits for a retry",
		"Inspect and release what waits for a retry: messages that failed, and are to be tried again after a delay. They wait in\n"+
			"the retry tiers, which queues share. QUEUE is the work queue that they go back to.\n\n"+
			"Inspecting changes neither how long they wait nor their order. While a command reads a tier, what has become due there\n"+
			"goes back a moment later.",
		a.retryListCommand(), a.retryReleaseCommand())
}

// retryWhereHelp explains --where in the help of these commands.
func (a *App) retryWhereHelp() string {
	return fmt.Sprintf("--where selects messages by an expression, as %s dlq show --help explains it; service and host are empty here.", a.Name)
}

// A tier is a queue in which messages wait for a retry.
type tier struct {
	deadletter.Source
	delay time.Duration
}

// tiers returns the retry tiers of the catalog's services, the longest first: what is released, and fails again, mostly
// waits for as long as before, or longer, and is not released a second time.
func (a *App) tiers(letters *deadletter.Store) []tier {
	var all []tier
	for _, s := range a.Catalog.Services() {
		for _, role := range []leveret.Role{leveret.RoleHandles, leveret.RoleSubscribes} {
			for _, c := range s.Contracts(role) {
				for _, d := range c.Spec().Retry.Delays {
					all = append(all, tier{letters.RetryTier(s.Name(), d), d})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(x, y tier) int { return cmp.Or(cmp.Compare(y.delay, x.delay), cmp.Compare(x.Name, y.Name)) })
	return slices.CompactFunc(all, func(x, y tier) bool { return x.Name == y.Name })
}

// A retry is a message that waits in a tier.
type retry struct {
	Tier          string     `json:"tier"`
	Queue         string     `json:"queue"`
	ID            string     `json:"id"`
	Contract      string     `json:"contract,omitempty"`
	Service       string     `json:"service"` // that it goes back to
	Code          string     `json:"code,omitempty"`
	Reason        string     `json:"reason,omitempty"`
	Error         string     `json:"error,omitempty"`
	Attempts      int        `json:"attempts"`
	SentAt        *time.Time `json:"sent_at,omitempty"`
	FirstFailedAt *time.Time `json:"first_failed_at,omitempty"`
	Since         *time.Time `json:"since,omitempty"`
	Until         *time.Time `json:"until,omitempty"`
}

// retry returns what a letter in a tier says, and sets when it failed where that follows from the rest.
func (a *App) retry(t tier, l *deadletter.Letter) retry {
	if l.FailedAt.IsZero() && l.Attempts == 1 && l.Replayed == 0 {
		l.FailedAt = l.FirstFailedAt
	}
	since := l.FailedAt
	if since.IsZero() && l.Attempts == 0 { // it was sent to wait
		since = l.SentAt
	}
	until := wire.Time(l.Headers, wire.NotBefore)
	if until.IsZero() && !since.IsZero() {
		until = since.Add(t.delay)
	}
	return retry{
		Tier: t.Name, Queue: l.Queue, ID: l.ID, Contract: l.Contract, Service: cmp.Or(a.consumer(l.Queue), a.names().Consumer(l.Queue)),
		Code: l.Code, Reason: l.Reason, Error: l.Error, Attempts: l.Attempts,
		SentAt: momentOf(l.SentAt), FirstFailedAt: momentOf(l.FirstFailedAt), Since: momentOf(since), Until: momentOf(until),
	}
}

func (r *retry) why() string {
	if r.Code == "" && r.Reason == "" && r.Attempts == 0 {
		return "delayed"
	}
	return why(r.Code, r.Reason)
}

// retries reads what waits in the tiers.
type retries struct {
	app     *App
	conn    *leveret.Conn
	letters *deadletter.Store
	queue   string // the only one; empty for all
	pick    *where
	total   int   // how many messages the tiers hold, those of other queues included
	read    int   // how many tiers were read
	refused error // of the last tier that this user may not read
	unread  int   // how many tiers this user may not read
}

// each passes the messages of the selected queue, of the first limit of each tier, to visit.
//
// A quorum queue puts what it gets back behind what it got back earlier, and before the rest. So that the order stays,
// everything that was ever taken is taken again: those are delivered as redelivered.
func (r *retries) each(ctx context.Context, limit int, visit func(retry)) error {
	for _, t := range r.app.tiers(r.letters) {
		seen := 0
		r.app.warnOfReaders(ctx, r.letters, t.Source)
		total, err := r.letters.Peek(ctx, t.Source, everyLetter, func(l *deadletter.Letter) bool {
			if seen++; seen > limit {
				return l.Redelivered
			}
			if one := r.app.retry(t, l); r.wants(l) {
				visit(one)
			}
			return true
		})
		if ok, err := r.reached(t, err); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		r.total += total
		if total > limit {
			r.app.Warn("%s has %d messages; only the first %d were read. --limit reads more", t.Name, total, limit)
		}
	}
	return r.verdict()
}

// wants reports whether a message is of the selected queue, and selected.
func (r *retries) wants(l *deadletter.Letter) bool {
	return (r.queue == "" || l.Queue == r.queue) && r.pick.picks(l)
}

// reached reports whether a tier could be read. One that was never declared holds nothing; one that this user may not
// read does not hide the others.
func (r *retries) reached(t tier, err error) (bool, error) {
	switch {
	case err == nil:
		r.read++
		return true, nil
	case errors.Is(err, deadletter.ErrNoQueue):
		return false, nil
	case errors.Is(err, rabbit.ErrRefused):
		r.unread++
		r.refused = err
		r.app.Warn("%s was not read: %v", t.Name, err)
		return false, nil
	default:
		return false, r.app.explain(err)
	}
}

// verdict is the error of tiers that could not be read.
func (r *retries) verdict() error {
	switch {
	case r.refused == nil:
		return nil
	case r.read == 0:
		return r.app.reading(r.refused)
	default:
		return Fail(ExitPartial, nextOf(r.app.reading(r.refused)), "%d of %d retry tiers could not be read", r.unread, r.unread+r.read)
	}
}

// retries connects, and reads the command line's part: the queue, and --where.
func (a *App) retries(ctx context.Context, command, queue, expression string) (*retries, func(), error) {
	r := &retries{app: a}
	var err error
	if r.pick, err = parseWhere(expression, &discretion{app: a}); err != nil {
		return nil, nil, err
	}
	if queue != "" {
		r.queue = a.failingQueue(queue)
		all := a.workQueues()
		i := slices.IndexFunc(all, func(q workQueue) bool { return q.name == r.queue })
		if i >= 0 && all[i].kind == leveret.KindRequest {
			return nil, nil, Fail(ExitNotFound, a.Name+" retry ls", "%s is a request queue, whose messages are not retried: the caller gets the error", r.queue)
		}
	}
	conn, letters, err := a.letters(ctx, command)
	if err != nil {
		return nil, nil, err
	}
	r.conn, r.letters = conn, letters
	return r, func() { a.close(ctx, conn) }, nil
}

// nothing says that nothing was found: an error where there is no such queue.
func (r *retries) nothing(expression string) error {
	known := r.app.deadLetterQueues()
	switch {
	case r.queue != "" && !slices.ContainsFunc(known, func(q workQueue) bool { return q.name == r.queue }):
		var among []shownQueue
		for _, q := range known {
			among = append(among, shownQueue{name: q.name, service: q.service})
		}
		return r.app.noQueue(r.queue, among)
	case r.app.Format() != FormatText:
	case expression != "" && r.total > 0:
		r.app.Note("nothing that waits for a retry matches --where")
	case r.queue != "":
		r.app.Note("nothing of %s waits for a retry", r.queue)
	default:
		r.app.Note("nothing waits for a retry")
	}
	return nil
}
