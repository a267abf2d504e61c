package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// moveOptions are the flags of `dlq replay`, `dlq rm` and `retry release`.
type moveOptions struct {
	where       string
	limit       int
	rate        string
	dryRun, yes bool
	remove      bool // of `dlq rm`
}

// flags adds the flags of all three.
func (o *moveOptions) flags(cmd *cobra.Command, verb, what string) {
	f := cmd.Flags()
	f.StringVar(&o.where, "where", "", fmt.Sprintf("%s only %s that match this `expression`", verb, what))
	f.IntVar(&o.limit, "limit", 0, verb+" at most this many (default: no limit)")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be done, without doing it")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
}

// paced adds the flag of those that return messages.
func (o *moveOptions) paced(cmd *cobra.Command, verb string) {
	cmd.Flags().StringVar(&o.rate, "rate", "", verb+" no faster than this, such as `50/s`")
}

func (o *moveOptions) check() (*pace, error) {
	if o.limit < 0 {
		return nil, usage("", "--limit is %d; it must be 0 or more", o.limit)
	}
	return parsePace(o.rate)
}

// moving is one run of `dlq replay`, `dlq rm` or `retry release`.
type moving struct {
	*failures
	moveOptions

	pace     *pace
	named    map[string]bool // the fingerprints of those that were named; nil if none was
	there    int             // how many messages there were when it began
	selected int
	queues   *lookup
	stuck    map[string]bool   // the fingerprints of messages that could not be returned
	lostFrom deadletter.Source // of one whose queue is gone
	begun    bool              // a source has been read
	due      bool              // the next message's turn has been waited for
	shown    []failedView      // of a dry run
	result   moved
	failed   error // the first
	written  error // of standard output
}

func newMoving(found *failures, o moveOptions, pace *pace) *moving {
	queue := found.queue
	if !found.waiting {
		queue = nameOf(found.from[0])
	}
	return &moving{
		failures: found, moveOptions: o, pace: pace, queues: newLookup(found.app, found.conn), stuck: map[string]bool{},
		result: moved{Queue: queue, DryRun: o.dryRun, queues: map[string]*movedQueue{}},
	}
}

// name selects the letters with these names alone.
func (m *moving) name(ctx context.Context, ids []string) error {
	found, err := m.app.find(ctx, m.letters, m.from[0], ids)
	if err != nil {
		return err
	}
	m.named = map[string]bool{}
	for _, l := range found {
		m.named[l.Fingerprint()] = true
	}
	return nil
}

func (m *moving) run(ctx context.Context) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	switch {
	case m.there == 0: // what has come since was not asked about
		if err := m.nothing(); err != nil || m.app.Format() == FormatText {
			return cmp.Or(err, m.verdict())
		}
		return cmp.Or(m.print(), m.verdict())
	case !m.dryRun:
		if err := m.app.confirm(ctx, m.yes, m.question(), dryRun); err != nil {
			return err
		}
	}
	total := 0 // of what is selected, if that is known
	if m.where == "" && m.only == "" && (!m.waiting || m.queue == "") {
		if total = m.there; m.named != nil {
			total = len(m.named)
		}
		total = min(total, cmp.Or(m.limit, total))
	}
	bar := m.app.StartProgress(m.verb(), total)
	defer bar.End()
	var stopped error
	for _, from := range m.from {
		if stopped = m.source(ctx, from, func() { bar.Add(1) }); stopped != nil || m.full() {
			break
		}
	}
	bar.End()
	m.pick.warn(m.app)
	if stopped != nil && m.dryRun {
		return m.app.explainLetters(m.from[0], stopped)
	}
	if gone := m.there - m.result.Seen; stopped == nil && gone > 0 && !m.waiting && m.limit == 0 && m.named == nil {
		m.app.Note("%d of %s were not there any more: another program has taken them, or holds them", gone, m.messages(m.there))
	}
	if m.seen = m.result.Seen; m.result.Matched == 0 && stopped == nil && len(m.refused) == 0 {
		if err := m.nothing(); err != nil || m.app.Format() == FormatText {
			return err
		}
	}
	if err := m.print(); err != nil && m.failed == nil && stopped == nil {
		return err
	}
	return m.explain(ctx, stopped)
}

// begin counts what is there, and leaves out sources that cannot be read.
func (m *moving) begin(ctx context.Context) error {
	var from []deadletter.Source
	for _, one := range m.from {
		n, err := m.letters.Count(ctx, one)
		if ok, err := m.reached(one, err); err != nil {
			return m.app.explainLetters(one, err)
		} else if !ok {
			continue
		}
		if m.named == nil { // else it has been warned of
			m.app.warnOfReaders(ctx, m.letters, one)
		}
		m.there += n
		from = append(from, one)
		if n > 0 && one.Queue != "" && !m.remove && !m.queues.exists(ctx, one.Queue) { // as all of them would
			return m.queueGone(one, one.Queue)
		}
	}
	if len(from) == 0 {
		return m.verdict()
	}
	m.from = from
	return nil
}

// full reports whether no more may be taken. How many dead letters are, is counted where they are taken.
func (m *moving) full() bool { return m.waiting && m.limit > 0 && m.selected >= m.limit }

// holding is how long a paced release holds the messages of a tier, those of other queues among them, between two
// breaks; or as long as it takes to read the tier, if that is more.
const holding = 2 * time.Second

// source returns, or removes, messages of one source. It always reads a tier to the end: see [failures.retries]. At a
// given pace it does so again and again, with a part of what is selected each time, so that what becomes due meanwhile is
// not held back.
func (m *moving) source(ctx context.Context, from deadletter.Source, done func()) error {
	t := &turn{from: from, before: map[returned]bool{}}
	for first := true; ; first = false {
		if m.begun && m.waiting && m.pace != nil && !m.due { // while nothing is held
			if err := m.pace.wait(ctx); err != nil {
				return err
			}
			m.due = true
		}
		t.most, t.picked, t.more = math.MaxInt, 0, false
		if m.waiting && !m.dryRun {
			t.most = m.pace.within(max(holding, t.reading))
		}
		result, err := m.turn(ctx, t, deadletter.Replay{
			DryRun: m.dryRun,
			Select: func(l *deadletter.Letter) bool { return m.selects(ctx, t, l) },
			Done: func(l *deadletter.Letter, err error) {
				done()
				if err == nil && m.waiting && m.pace != nil {
					t.before[returned{l.Queue, l.ID}] = l.ID != ""
				}
				m.done(l, from, err)
			},
		})
		m.begun = true
		if first {
			m.result.Seen += result.Seen
		}
		m.result.add(result, m.remove)
		switch {
		case errors.Is(err, rabbit.ErrRefused) && result.Seen > 0: // to publish
			return err
		case err != nil:
			_, err = m.reached(from, err)
			return err
		case !t.more:
			return nil
		}
	}
}

// turn is one reading of a source.
type turn struct {
	from         deadletter.Source
	before       map[returned]bool // by an earlier turn: what is there has failed again
	most, picked int
	more         bool          // is left for the next turn
	reading      time.Duration // how long the last turn took, without its waits
}

// returned is a message that is back in its work queue. An event's message has one id in several.
type returned struct{ queue, id string }

// turn reads a source once.
func (m *moving) turn(ctx context.Context, t *turn, replay deadletter.Replay) (deadletter.Result, error) {
	began, paced := time.Now(), time.Duration(0)
	defer func() { t.reading = time.Since(began) - paced }()
	if !m.waiting { // no more than were counted, and agreed to: others may arrive while somebody is asked
		replay.Limit = min(cmp.Or(m.limit, m.there), m.there)
	}
	if m.pace != nil {
		replay.Wait = func(ctx context.Context) error {
			began := time.Now()
			defer func() { paced += time.Since(began) }()
			if m.due {
				m.due = false
				return nil
			}
			return m.pace.wait(ctx)
		}
	}
	if m.remove {
		return m.letters.Remove(ctx, t.from, replay)
	}
	return m.letters.Replay(ctx, t.from, replay)
}

// selects reports whether a message is taken in this turn.
func (m *moving) selects(ctx context.Context, t *turn, l *deadletter.Letter) bool {
	switch {
	case m.full(), m.stuck[l.Fingerprint()], t.before[returned{l.Queue, l.ID}], m.named != nil && !m.named[l.Fingerprint()], !m.picks(l):
		return false
	case !m.remove && !m.queues.exists(ctx, l.Queue):
		m.stays(l, t.from)
		return false
	case t.picked == t.most:
		t.more = true
		return false
	}
	t.picked++
	m.selected++
	return true
}

// stays notes, once, that a message stays where it is, since its queue is gone.
func (m *moving) stays(l *deadletter.Letter, from deadletter.Source) {
	m.stuck[l.Fingerprint()] = true
	m.lostFrom = from
	m.result.Matched++
	m.result.Failed++
	q := m.result.of(l.Queue)
	q.Matched++
	q.Failed++
	m.line(l, "failed", errGone)
}

// done notes what became of a message.
func (m *moving) done(l *deadletter.Letter, from deadletter.Source, err error) {
	q := m.result.of(l.Queue)
	m.result.Matched++
	q.Matched++
	switch {
	case m.dryRun:
		m.line(l, "would_"+map[bool]string{true: "remove", false: "return"}[m.remove], nil)
		if len(m.shown) < shownOnDryRun {
			tier := ""
			if m.waiting {
				tier = from.Name
			}
			m.shown = append(m.shown, failedViewOf(l, tier))
		}
	case err == nil:
		q.count(1, m.remove)
		m.line(l, m.verb(), nil)
	case errors.Is(err, rabbit.ErrUnconfirmed):
		q.Unsure++
		m.line(l, "unsure", err)
	default:
		q.Failed++
		m.stuck[l.Fingerprint()] = true
		if errors.Is(err, rabbit.ErrUnroutable) {
			m.queues.known[l.Queue] = false
			m.lostFrom = from
		}
		m.line(l, "failed", err)
	}
	if m.failed == nil && (from.Queue != "" || !errors.Is(err, rabbit.ErrUnroutable)) {
		m.failed = err
	}
}

func (m *moving) verb() string {
	if m.remove {
		return "removed"
	}
	return "returned"
}
