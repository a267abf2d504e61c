package cli

import (
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

// replayed is what replay writes under -o json.
type replayed struct {
	Queue    string   `json:"queue"`
	DryRun   bool     `json:"dry_run"`
	Seen     int      `json:"seen"`
	Matched  int      `json:"matched"`
	Replayed int      `json:"replayed"`
	Failed   int      `json:"failed"`
	Unsure   int      `json:"unsure"` // perhaps both in the queue and still dead letters
	IDs      []string `json:"ids"`    // of those replayed; on a dry run, of those that would be
}

// replayedLetter is a line of -o jsonl.
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
		Short: "Give dead letters back to the queue where they failed",
		Long: "Give dead letters back to the queue where they failed, and to no other: other subscribers to an event did not fail. Each\n" +
			"is confirmed to be in its queue before it stops being a dead letter, so that nothing is lost, however this ends; a replay\n" +
			"that is killed in between leaves a message in both, and the next delivers it again. Those that fail again meanwhile are\n" +
			"not replayed again.\n\n" + whereHelp,
		Example: fmt.Sprintf("  %[1]s dlq replay %[2]s --dry-run\n  %[1]s dlq replay %[2]s --where 'code == \"unavailable\"' --rate 50/s --yes", a.Name, a.someQueue()),
		Args:    Arguments(1, 1), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.queue = a.failingQueue(args[0])
			return a.replay(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.where, "where", "", "replay only those that this `expression` is true for")
	f.IntVar(&o.limit, "limit", 0, "replay so many at most; 0 is no limit")
	f.StringVar(&o.rate, "rate", "", "so many at most, such as `50/s`")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be replayed, and change nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *App) replay(ctx context.Context, o dlqReplayOptions) error {
	if o.limit < 0 {
		return usage("", "--limit is %d; it must be positive", o.limit)
	}
	pick, err := parseWhere(o.where)
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
	result, err := r.letters.Replay(ctx, r.queue, deadletter.Replay{
		Select: r.pick.picks, Limit: r.limit, DryRun: true,
		Done: func(l *deadletter.Letter, _ error) {
			r.ids = append(r.ids, l.ID)
			r.line(l.ID, "would_replay", nil)
			l.Body = nil                                 // it is not shown
			picked = append(picked, numbered{Letter: l}) // without numbers: those are of `dlq show`
		},
	})
	r.pick.tell(r.app)
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
	total, err := r.letters.Count(ctx, r.queue)
	if err != nil {
		return a.explainLetters(r.queue, err)
	}
	if total == 0 {
		if a.Format() == FormatText {
			a.Note("%s has no dead letters", r.queue)
			return nil
		}
		return r.print(deadletter.Result{Queue: r.queue})
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
	result, err := r.letters.Replay(ctx, r.queue, replay)
	bar.End()
	r.pick.tell(a)
	if printed := r.print(result); err == nil && r.failed == nil {
		return printed
	}
	return r.explain(ctx, result, err)
}

func (r *replaying) question(total int) string {
	what := deadLetters(total)
	switch {
	case r.where != "" && r.limit > 0:
		what = fmt.Sprintf("up to %d of %s, those for which %s,", r.limit, what, r.where)
	case r.where != "":
		what = fmt.Sprintf("those of %s for which %s", what, r.where)
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

// line writes a letter's end under -o jsonl.
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
			result.Queue, r.dryRun, result.Seen, result.Matched, result.Replayed, result.Failed, result.Unsure, r.ids,
		})
	case FormatJSONL:
		return r.written
	default:
		text := fmt.Sprintf("replayed %d of %s to %s", result.Replayed, deadLetters(max(r.total, result.Seen)), result.Queue)
		if result.Failed > 0 {
			text += fmt.Sprintf("; %d were not taken and are dead letters still", result.Failed)
		}
		if result.Unsure > 0 {
			text += fmt.Sprintf("; %d may be in both queues now", result.Unsure)
		}
		return r.app.Printf("%s\n", text)
	}
}

// explain ends a replay that is not all that was asked for.
func (r *replaying) explain(ctx context.Context, result deadletter.Result, err error) error {
	a := r.app
	again := fmt.Sprintf("%s dlq replay %s", a.Name, r.queue)
	cause := err
	if cause == nil {
		cause = r.failed
	}
	switch {
	case ctx.Err() != nil:
		return Fail(ExitInterrupted, again+", for the rest", "%d were replayed; nothing is lost: %w", result.Replayed, context.Cause(ctx))
	case errors.Is(cause, rabbit.ErrUnroutable):
		cause = Fail(ExitNotFound, "start the service once: it declares its queue", "the queue %s is gone: %w", r.queue, cause)
	case errors.Is(cause, rabbit.ErrNotConnected):
		cause = Fail(ExitUnreachable, again+", for the rest", "the connection was lost; nothing is lost: %w", cause)
	default:
		cause = a.explainLetters(r.queue, cause)
	}
	if result.Replayed == 0 {
		return cause
	}
	return Fail(ExitPartial, nextOf(cause), "%d were replayed, %d not: %w", result.Replayed, result.Matched-result.Replayed, cause)
}
