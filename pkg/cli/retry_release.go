package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

type retryReleaseOptions struct {
	where       string
	limit       int
	rate        string
	dryRun, yes bool
}

// released is what `retry release` prints under -o json.
type released struct {
	DryRun   bool            `json:"dry_run"`
	Seen     int             `json:"seen"`
	Matched  int             `json:"matched"`
	Released int             `json:"released"`
	Failed   int             `json:"failed"`
	Unsure   int             `json:"unsure"` // perhaps both in the queue and still waiting
	Queues   []releasedQueue `json:"queues"`
}

// releasedQueue is what became of the messages of one work queue.
type releasedQueue struct {
	Queue    string `json:"queue"`
	Released int    `json:"released"`
	Gone     int    `json:"gone"` // still waiting, since the queue is gone
}

// releasedRetry is a line of `retry release` under -o jsonl.
type releasedRetry struct {
	Queue  string `json:"queue"`
	ID     string `json:"id"`
	Result string `json:"result"` // released, failed, would_release
	Error  string `json:"error,omitempty"`
}

func (a *App) retryReleaseCommand() *cobra.Command {
	var o retryReleaseOptions
	cmd := &cobra.Command{
		Use:   "release [QUEUE]",
		Short: "Return what waits for a retry to its queue now",
		Long: "Return what waits for a retry to its queue now, from all retry tiers: after a dependency was down, for example. It is the\n" +
			"retry that was due later, with the same attempt. What fails again waits again, and is not released a second time.\n\n" +
			"Nothing is lost, however this ends: a message waits until the broker has confirmed that it is in its queue. A release that\n" +
			"is killed in between may leave a message in both, which then arrives twice under its id. Where a queue is gone, its\n" +
			"messages stay where they are. What is not released goes back when its time is up, as before.\n\n" + a.retryWhereHelp(),
		Example: fmt.Sprintf("  %[1]s retry release --dry-run\n  %[1]s retry release %[2]s --where 'code == \"unavailable\"' --rate 50/s --yes", a.Name, a.someQueue()),
		Args:    Arguments(0, 1), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			queue := ""
			if len(args) > 0 {
				queue = args[0]
			}
			return a.release(cmd.Context(), queue, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.where, "where", "", "release only messages that match this `expression`")
	f.IntVar(&o.limit, "limit", 0, "release at most this many (default: all)")
	f.StringVar(&o.rate, "rate", "", "release no faster than this, such as `50/s`")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be released, without releasing it")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func (a *App) release(ctx context.Context, queue string, o retryReleaseOptions) error {
	if o.limit < 0 {
		return usage("", "--limit is %d; it must be 0 or more", o.limit)
	}
	pace, err := parsePace(o.rate)
	if err != nil {
		return err
	}
	found, closeAll, err := a.retries(ctx, "retry release", queue, o.where)
	if err != nil {
		return err
	}
	defer closeAll()
	r := &releasing{
		retries: found, retryReleaseOptions: o, pace: pace, queues: map[string]*releasedQueue{}, there: newLookup(a, found.conn),
		result: released{DryRun: o.dryRun},
	}
	if o.dryRun {
		return r.dry(ctx)
	}
	return r.run(ctx)
}

// releasing is one run of `retry release`.
type releasing struct {
	*retries
	retryReleaseOptions

	pace    *pace
	queues  map[string]*releasedQueue
	there   *lookup
	result  released
	failed  error // the first
	written error // of standard output
}

func (r *releasing) dry(ctx context.Context) error {
	var groups retryGroups
	failed := r.each(ctx, everyLetter, func(one retry) {
		if r.limit > 0 && r.result.Matched >= r.limit || !r.there.exists(ctx, one.Queue) {
			return
		}
		r.result.Matched++
		r.line(releasedRetry{Queue: one.Queue, ID: one.ID, Result: "would_release"})
		groups.add(one)
	})
	r.pick.warn(r.app)
	if failed != nil && r.read == 0 {
		return failed
	}
	r.result.Seen = r.total
	if r.app.Format() != FormatText {
		return cmp.Or(r.print(), failed)
	}
	if len(groups) > 0 {
		groups.sort()
		r.written = r.app.PrintTable(groups.table())
	}
	r.app.Note("%d of %s would be released", r.result.Matched, retriesText(r.total))
	return cmp.Or(r.written, failed, r.gone())
}

func (r *releasing) run(ctx context.Context) error {
	a := r.app
	for _, t := range a.tiers(r.letters) {
		a.warnOfReaders(ctx, r.letters, t.Source)
		n, err := r.letters.Count(ctx, t.Source)
		if err != nil && !errors.Is(err, deadletter.ErrNoQueue) && !errors.Is(err, rabbit.ErrRefused) {
			return a.explain(err)
		}
		r.total += n
	}
	if r.total > 0 {
		if err := a.confirm(ctx, r.yes, r.question()); err != nil {
			return err
		}
	}
	bar := a.StartProgress("released", 0)
	defer bar.End()
	var stopped error
	for _, t := range a.tiers(r.letters) {
		a.warnOfReaders(ctx, r.letters, t.Source)
		if stopped = r.tier(ctx, t, func() { bar.Add(1) }); stopped != nil || r.full() {
			break
		}
	}
	bar.End()
	r.pick.warn(a)
	if stopped == nil && r.result.Matched == 0 && len(r.queues) == 0 && r.refused == nil {
		if err := r.nothing(r.where); err != nil || a.Format() == FormatText {
			return err
		}
	}
	if err := r.print(); err != nil {
		return err
	}
	return r.explainRelease(ctx, stopped)
}

func (r *releasing) question() string {
	what := "all that waits for a retry"
	if r.queue != "" {
		what = "what waits for a retry in " + r.queue
	}
	if r.where != "" {
		what += " and matches " + r.where
	}
	if r.limit > 0 {
		what = fmt.Sprintf("up to %d messages of %s", r.limit, what)
	}
	return fmt.Sprintf("release %s? %s in the retry tiers", what, retriesText(r.total))
}

func (r *releasing) full() bool { return r.limit > 0 && r.result.Matched >= r.limit }

// holding is how long a paced release holds the messages of a tier, those of other queues among them, between two
// breaks; or as long as it takes to read the tier, if that is more.
const holding = 2 * time.Second

// tier releases from one tier. It always reads the tier to the end: see [retries.each]. At a given pace it does so again
// and again, with a part of what is selected each time, so that what becomes due meanwhile is not held back.
func (r *releasing) tier(ctx context.Context, t tier, done func()) error {
	before := map[string]bool{} // released from this tier by an earlier turn: what has failed again
	for turn, reading := 0, time.Duration(0); ; turn++ {
		if turn > 0 {
			if err := r.pace.wait(ctx); err != nil {
				return err
			}
		}
		most, picked, more := r.pace.within(max(holding, reading)), 0, false
		gone := map[string]int{}
		paced := time.Duration(0)
		replay := deadletter.Replay{
			Select: func(l *deadletter.Letter) bool {
				switch r.app.retry(t, l); {
				case r.full(), before[l.ID], !r.wants(l):
					return false
				case !r.there.exists(ctx, l.Queue):
					gone[l.Queue]++
					return false
				case picked == most:
					more = true
					return false
				}
				picked++
				r.result.Matched++
				return true
			},
			Done: func(l *deadletter.Letter, err error) {
				done()
				if err == nil && r.pace != nil {
					before[l.ID] = l.ID != ""
				}
				r.done(l, err, gone)
			},
		}
		if r.pace != nil {
			first := turn > 0 // which has been waited for
			replay.Wait = func(ctx context.Context) error {
				began := time.Now()
				defer func() { paced += time.Since(began) }()
				if first {
					first = false
					return nil
				}
				return r.pace.wait(ctx)
			}
		}
		began := time.Now()
		result, err := r.letters.Replay(ctx, t.Source, replay)
		if turn == 0 {
			r.result.Seen += result.Seen
		}
		r.result.Released += result.Replayed
		r.result.Failed += result.Failed
		r.result.Unsure += result.Unsure
		reading = time.Since(began) - paced
		switch {
		case errors.Is(err, rabbit.ErrRefused) && result.Seen > 0: // to publish
			return err
		case !more || err != nil:
			for queue, n := range gone {
				r.of(queue).Gone += n
			}
			_, err = r.reached(t, err)
			return err
		}
	}
}

func (r *releasing) of(queue string) *releasedQueue {
	if r.queues[queue] == nil {
		r.queues[queue] = &releasedQueue{Queue: queue}
	}
	return r.queues[queue]
}

// done notes what became of a message.
func (r *releasing) done(l *deadletter.Letter, err error, gone map[string]int) {
	one := releasedRetry{Queue: l.Queue, ID: l.ID, Result: "released"}
	switch {
	case err == nil:
		r.of(l.Queue).Released++
	case errors.Is(err, rabbit.ErrUnroutable):
		gone[l.Queue]++
		r.there.known[l.Queue] = false
	case r.failed == nil:
		r.failed = err
	}
	if err != nil {
		one.Result, one.Error = "failed", err.Error()
	}
	r.line(one)
}

func (r *releasing) line(one releasedRetry) {
	if r.app.Format() == FormatJSONL && r.written == nil {
		r.written = r.app.PrintJSON(one)
	}
}
