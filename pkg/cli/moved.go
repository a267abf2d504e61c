package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// moved is what `dlq replay`, `dlq rm` and `retry release` print under -o json.
type moved struct {
	Queue  string `json:"queue,omitempty"` // that was named
	DryRun bool   `json:"dry_run"`
	Seen   int    `json:"seen"`
	movedCounts
	Queues []movedQueue `json:"queues"`

	queues map[string]*movedQueue
}

// movedCounts is what became of messages. Except for a dry run, Matched is the sum of the others.
type movedCounts struct {
	Matched  int `json:"matched"`
	Returned int `json:"returned"`
	Removed  int `json:"removed"`
	Failed   int `json:"failed"`
	Unsure   int `json:"unsure"` // perhaps done, and perhaps still where they were
}

// movedQueue is what became of the messages of one work queue.
type movedQueue struct {
	Queue string `json:"queue"`
	movedCounts
}

// movedMessage is a line under -o jsonl.
type movedMessage struct {
	Queue       string `json:"queue"` // the work queue
	ID          string `json:"id"`
	Fingerprint string `json:"fingerprint"`
	Result      string `json:"result"` // returned, removed, failed, unsure, would_return, would_remove
	Error       string `json:"error,omitempty"`
}

func (c *movedCounts) count(n int, remove bool) {
	if remove {
		c.Removed += n
	} else {
		c.Returned += n
	}
}

func (r *moved) of(queue string) *movedQueue {
	if r.queues[queue] == nil {
		r.queues[queue] = &movedQueue{Queue: queue}
	}
	return r.queues[queue]
}

// add adds the result of one reading. What was matched is counted with the outcome of each message.
func (r *moved) add(result deadletter.Result, remove bool) {
	r.count(result.Replayed, remove)
	r.Failed += result.Failed
	r.Unsure += result.Unsure
}

// line prints a message's outcome under -o jsonl.
func (m *moving) line(l *deadletter.Letter, result string, err error) {
	if m.app.Format() != FormatJSONL || m.written != nil {
		return
	}
	line := movedMessage{Queue: l.Queue, ID: l.ID, Fingerprint: l.Fingerprint(), Result: result}
	if err != nil {
		line.Error = err.Error()
	}
	m.written = m.app.PrintJSON(line)
}

// shownOnDryRun is how many messages a dry run lists.
const shownOnDryRun = 50

func (m *moving) print() error {
	m.result.Queues = []movedQueue{}
	for _, queue := range slices.Sorted(maps.Keys(m.result.queues)) {
		m.result.Queues = append(m.result.Queues, *m.result.queues[queue])
	}
	switch {
	case m.app.Format() == FormatJSON:
		return m.app.PrintJSON(m.result)
	case m.app.Format() == FormatJSONL:
		return m.written
	case !m.dryRun:
		return m.app.Printf("%s\n", m.sentence())
	}
	if len(m.shown) > 0 {
		if err := m.app.PrintTable(failedTable(m.shown, m.from[0].Queue == "", m.waiting)); err != nil {
			return err
		}
	}
	if more := m.result.Matched - m.result.Failed - len(m.shown); more > 0 {
		m.app.Note("and %d more; -o jsonl lists all", more)
	}
	m.app.Note("%s", m.sentence())
	return nil
}

// mostQueues is how many queues a sentence names.
const mostQueues = 5

// sentence says what became of the messages.
func (m *moving) sentence() string {
	r := &m.result
	n, of, verb := r.Returned+r.Removed, m.messages(max(m.there, r.Seen)), m.verb()
	text := fmt.Sprintf("%s %d of %s", verb, n, of)
	if m.dryRun {
		n = r.Matched - r.Failed
		text = fmt.Sprintf("%d of %s would be %s", n, of, verb)
	}
	var to []string
	for _, q := range r.Queues {
		done := q.Returned + q.Removed
		if m.dryRun {
			done = q.Matched - q.Failed
		}
		if done > 0 {
			to = append(to, fmt.Sprintf("%d to %s", done, q.Queue))
		}
	}
	switch {
	case r.Unsure > 0 && len(to) > 1: // which are unsure is known only of all together
	case m.remove:
		text += " from " + nameOf(m.from[0])
	case len(to) == 1:
		_, queue, _ := strings.Cut(to[0], " ")
		text += " " + queue
	case len(to) > mostQueues:
		text += fmt.Sprintf(": %s and others, to %d queues in all", strings.Join(to[:mostQueues], ", "), len(to))
	case len(to) > 1:
		text += ": " + strings.Join(to, ", ")
	}
	if r.Failed > 0 {
		text += fmt.Sprintf("; %d could not be, and %s", r.Failed, m.stay(r.Failed == 1))
	}
	if r.Unsure > 0 {
		text += "; " + m.doubt()
	}
	return text
}

// stay is what remains true of messages with which nothing was done.
func (m *moving) stay(one bool) string {
	verb := func(singular, plural string) string {
		if one {
			return singular
		}
		return plural
	}
	switch {
	case m.waiting:
		return verb("still waits", "still wait")
	case m.from[0].Queue == "":
		return verb("is", "are") + " still in " + m.from[0].Name
	default:
		return verb("is still a dead letter", "are still dead letters")
	}
}

func (m *moving) doubt() string {
	if m.remove {
		return fmt.Sprintf("%d may have been, or may still be there", m.result.Unsure)
	}
	return fmt.Sprintf("%d may be in both queues", m.result.Unsure)
}

// question asks for consent, in the word of the command.
func (m *moving) question() string {
	if m.waiting {
		return "release" + strings.TrimSuffix(m.part(), ",") + "?"
	}
	switch from := m.from[0]; {
	case m.remove:
		return fmt.Sprintf("remove%s from %s for good?", m.part(), nameOf(from))
	case from.Queue == "":
		return fmt.Sprintf("replay%s from %s to their own queues?", m.part(), from.Name)
	default:
		return fmt.Sprintf("replay%s to %s?", m.part(), from.Queue)
	}
}

// part is what is selected.
func (m *moving) part() string {
	of := m.messages(m.there)
	var conditions []string
	if m.waiting && m.queue != "" {
		conditions = append(conditions, "go back to "+m.queue)
	}
	if m.only != "" {
		conditions = append(conditions, "failed in "+m.only)
	}
	if m.where != "" {
		conditions = append(conditions, "match "+m.where)
	}
	switch those := strings.Join(conditions, " and "); {
	case m.named != nil:
		return fmt.Sprintf(" %d named of %s", len(m.named), of)
	case those != "" && m.limit > 0:
		return fmt.Sprintf(", of %s, up to %d that %s,", of, m.limit, those)
	case those != "":
		return fmt.Sprintf(", of %s, those that %s,", of, those)
	case m.limit > 0 && m.limit < m.there:
		return fmt.Sprintf(" %d of %s", m.limit, of)
	default:
		return " " + of
	}
}

// again says how to go on after a run that ended early.
func (m *moving) again() string {
	switch n := m.result.Returned + m.result.Removed; {
	case m.named != nil:
		return "run the same command again, without the ids that are done"
	case m.limit > n && n > 0:
		return fmt.Sprintf("run the same command again with --limit %d", m.limit-n)
	default:
		return "run the same command again: it goes on with the rest"
	}
}

// explain is the error of a run that did not do everything.
func (m *moving) explain(ctx context.Context, stopped error) error {
	a, r := m.app, &m.result
	cause := cmp.Or(stopped, m.failed)
	switch {
	case stopped != nil && ctx.Err() != nil:
		return Fail(ExitInterrupted, m.again(), "%s; the others %s: %w", m.counts(), m.stay(false), context.Cause(ctx))
	case cause == nil && m.lost() == "":
		return m.verdict()
	case cause == nil || errors.Is(cause, rabbit.ErrUnroutable):
		cause = m.queueGone(m.lostFrom, m.lost())
	case errors.Is(cause, rabbit.ErrNotConnected):
		cause = Fail(ExitUnreachable, m.again(), "the connection was lost, but no message was: %w", cause)
	default:
		cause = a.explainLetters(m.from[0], cause)
	}
	if r.Returned+r.Removed+r.Unsure == 0 || m.dryRun {
		return cause
	}
	return Fail(ExitPartial, nextOf(cause), "%s: %w", m.counts(), cause)
}

// lost names the queues that are gone.
func (m *moving) lost() string {
	var names []string
	for _, queue := range slices.Sorted(maps.Keys(m.queues.known)) {
		if !m.queues.known[queue] {
			names = append(names, queue)
		}
	}
	if len(names) > mostQueues {
		names = append(names[:mostQueues], fmt.Sprintf("%d more", len(names)-mostQueues))
	}
	return strings.Join(names, ", ")
}

// queueGone is the error of messages whose queues are gone.
func (m *moving) queueGone(from deadletter.Source, queues string) error {
	next := "start the service once; it declares its queue"
	if m.waiting {
		next += ". Else what is due goes to " + m.app.names().RetryLost(from.Service)
	}
	what := "the queue %s is gone; what belongs there stays where it is"
	if strings.Contains(queues, ", ") {
		what = "the queues %s are gone; what belongs there stays where it is"
	}
	return Fail(ExitNotFound, next, what, queues)
}

// counts says what became of the messages that were selected.
func (m *moving) counts() string {
	r := &m.result
	n := r.Returned + r.Removed
	text := fmt.Sprintf("%d were %s", n, m.verb())
	if n == 1 {
		text = "1 was " + m.verb()
	}
	if r.Unsure > 0 {
		text += ", " + m.doubt()
	}
	if r.Failed > 0 {
		text += fmt.Sprintf(", %d could not be", r.Failed)
	}
	return text
}
