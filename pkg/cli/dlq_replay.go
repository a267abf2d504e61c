package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

type dlqReplayOptions struct {
	queue, where string
	limit        int
	rate         string
	dryRun, yes  bool
}

// replayed is what `dlq replay` prints under -o json.
type replayed struct {
	Queue    string   `json:"queue"`
	DryRun   bool     `json:"dry_run"`
	Seen     int      `json:"seen"`
	Matched  int      `json:"matched"`
	Replayed int      `json:"replayed"`
	Failed   int      `json:"failed"`
	Unsure   int      `json:"unsure"` // perhaps both in the queue and still dead letters
	IDs      []string `json:"ids"`    // of the letters replayed; on a dry run, of those that would be
}

// replayedLetter is a line of `dlq replay` under -o jsonl.
type replayedLetter struct {
	Queue  string `json:"queue"`
	ID     string `json:"id"`
	Result string `json:"result"` // replayed, failed, would_replay
	Error  string `json:"error,omitempty"`
}

func (a *App) dlqReplayCommand() *cobra.Command {
	var o dlqReplayOptions
	cmd := &cobra.Command{
		Use:   "replay QUEUE",
		Short: "Return dead letters to the queue where they failed",
		Long: "Return dead letters to the queue where they failed. Other subscribers to an event, which did not fail, do not get them\n" +
			"again.\n\n" +
			"Nothing is lost, however a replay ends: a message stays a dead letter until the broker has confirmed that it is in its\n" +
			"queue. A replay that is killed in between may leave a message in both, and the next one then delivers it again. Messages\n" +
			"that fail again during a replay are not replayed a second time.\n\n" + whereHelp,
		Example: fmt.Sprintf("  %[1]s dlq replay %[2]s --dry-run\n  %[1]s dlq replay %[2]s --where 'code == \"unavailable\"' --rate 50/s --yes", a.Name, a.someQueue()),
		Args:    Arguments(1, 1), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.queue = a.failingQueue(args[0])
			return a.replay(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.where, "where", "", "replay only dead letters that match this `expression`")
	f.IntVar(&o.limit, "limit", 0, "replay at most this many (default: all)")
	f.StringVar(&o.rate, "rate", "", "replay no faster than this, such as `50/s`")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be replayed, without replaying it")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func (a *App) replay(ctx context.Context, o dlqReplayOptions) error {
	if o.limit < 0 {
		return usage("", "--limit is %d; it must be 0 or more", o.limit)
	}
	pick, err := parseWhere(o.where, &discretion{app: a})
	if err != nil {
		return err
	}
	pace, err := parsePace(o.rate)
	if err != nil {
		return err
	}
	conn, letters, err := a.letters(ctx)
	if err != nil {
		return err
	}
	defer a.close(ctx, conn.Close)
	r := &replaying{app: a, dlqReplayOptions: o, letters: letters, pick: pick, ids: []string{}}
	if o.dryRun {
		return r.dry(ctx)
	}
	return r.run(ctx, pace)
}

// replaying is one run of `dlq replay`.
type replaying struct {
	dlqReplayOptions
	app     *App
	letters *deadletter.Store
	pick    *where
	ids     []string
	total   int   // when it began
	failed  error // the first
	written error // of standard output
}

func (r *replaying) dry(ctx context.Context) error {
	var picked []numbered
	result, err := r.letters.Replay(ctx, r.source(), deadletter.Replay{
		Select: r.pick.picks, Limit: r.limit, DryRun: true,
		Done: func(l *deadletter.Letter, _ error) {
			r.ids = append(r.ids, l.ID)
			r.line(l.ID, "would_replay", nil)
			l.Body = nil                                 // not printed
			picked = append(picked, numbered{Letter: l}) // without a number: numbers are for `dlq show`
		},
	})
	r.pick.warn(r.app)
	if err != nil {
		return r.app.explainLetters(r.queue, err)
	}
	if r.app.Format() == FormatText {
		sortLetters(picked)
		if len(picked) > 0 {
			r.written = r.app.PrintTable(letterTable(picked))
		}
		r.app.Note("%d of %s would be replayed to %s", result.Matched, deadLetters(result.Seen), r.queue)
		return r.written
	}
	return r.print(result)
}

func (r *replaying) run(ctx context.Context, pace *pace) error {
	a := r.app
	total, err := r.letters.Count(ctx, r.source())
	if err != nil {
		return a.explainLetters(r.queue, err)
	}
	if total == 0 {
		if a.Format() == FormatText {
			a.Note("%s has no dead letters", r.queue)
			return nil
		}
		return r.print(deadletter.Result{})
	}
	if err := a.confirm(ctx, r.yes, r.question(total)); err != nil {
		return err
	}
	r.total = total
	if r.limit > 0 && r.where == "" {
		total = min(total, r.limit)
	}
	bar := a.StartProgress("replayed", total)
	defer bar.End()
	replay := deadletter.Replay{
		Select: r.pick.picks, Limit: r.limit,
		Done: func(l *deadletter.Letter, err error) {
			bar.Add(1)
			r.done(l, err)
		},
	}
	if pace != nil {
		replay.Wait = pace.wait
	}
	result, err := r.letters.Replay(ctx, r.source(), replay)
	bar.End()
	r.pick.warn(a)
	if printed := r.print(result); err == nil && r.failed == nil {
		return printed
	}
	return r.explain(ctx, result, err)
}

func (r *replaying) question(total int) string {
	what := deadLetters(total)
	switch {
	case r.where != "" && r.limit > 0:
		what = fmt.Sprintf("up to %d of %s, those that match %s,", r.limit, what, r.where)
	case r.where != "":
		what = fmt.Sprintf("those of %s that match %s", what, r.where)
	case r.limit > 0 && r.limit < total:
		what = fmt.Sprintf("%d of %s", r.limit, what)
	}
	return fmt.Sprintf("replay %s to %s?", what, r.queue)
}

func (r *replaying) done(l *deadletter.Letter, err error) {
	if err == nil {
		r.ids = append(r.ids, l.ID)
		r.line(l.ID, "replayed", nil)
		return
	}
	if r.failed == nil {
		r.failed = err
	}
	r.line(l.ID, "failed", err)
}

// line prints a letter's outcome under -o jsonl.
func (r *replaying) line(id, result string, err error) {
	if r.app.Format() != FormatJSONL || r.written != nil {
		return
	}
	line := replayedLetter{Queue: r.queue, ID: id, Result: result}
	if err != nil {
		line.Error = err.Error()
	}
	r.written = r.app.PrintJSON(line)
}

func (r *replaying) print(result deadletter.Result) error {
	switch r.app.Format() {
	case FormatJSON:
		return r.app.PrintJSON(replayed{
			r.queue, r.dryRun, result.Seen, result.Matched, result.Replayed, result.Failed, result.Unsure, r.ids,
		})
	case FormatJSONL:
		return r.written
	default:
		text := fmt.Sprintf("replayed %d of %s to %s", result.Replayed, deadLetters(max(r.total, result.Seen)), r.queue)
		if result.Failed > 0 {
			text += fmt.Sprintf("; %d failed and are still dead letters", result.Failed)
		}
		if result.Unsure > 0 {
			text += fmt.Sprintf("; %d may be in both queues", result.Unsure)
		}
		return r.app.Printf("%s\n", text)
	}
}

// explain is the error of a replay that did not replay everything.
func (r *replaying) explain(ctx context.Context, result deadletter.Result, err error) error {
	a := r.app
	again := fmt.Sprintf("%s dlq replay %s", a.Name, r.queue)
	cause := err
	if cause == nil {
		cause = r.failed
	}
	switch {
	case ctx.Err() != nil:
		return Fail(ExitInterrupted, again+" replays the rest", "%d were replayed; nothing is lost: %w", result.Replayed, context.Cause(ctx))
	case errors.Is(cause, rabbit.ErrUnroutable):
		cause = Fail(ExitNotFound, "start the service once; it declares its queue", "the queue %s is gone: %w", r.queue, cause)
	case errors.Is(cause, rabbit.ErrNotConnected):
		cause = Fail(ExitUnreachable, again+" replays the rest", "the connection was lost, but no message was: %w", cause)
	default:
		cause = a.explainLetters(r.queue, cause)
	}
	if result.Replayed == 0 {
		return cause
	}
	return Fail(ExitPartial, nextOf(cause), "%d were replayed, %d were not: %w", result.Replayed, result.Matched-result.Replayed, cause)
}

func (r *replaying) source() deadletter.Source {
	from := r.letters.DeadLetters(r.queue)
	from.Service = cmp.Or(r.app.consumer(r.queue), from.Service)
	return from
}
