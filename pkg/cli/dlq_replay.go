package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

type dlqReplayOptions struct {
	queue, where string
	limit        int
	ids          []string // only these
	rate         string
	dryRun, yes  bool
	remove, all  bool // of `dlq rm`
}

// replayed is what `dlq replay` prints under -o json.
type replayed struct {
	Queue    string `json:"queue"`
	DryRun   bool   `json:"dry_run"`
	Seen     int    `json:"seen"`
	Matched  int    `json:"matched"`
	Replayed *int   `json:"replayed,omitempty"`
	Removed  *int   `json:"removed,omitempty"` // of `dlq rm`
	Failed   int    `json:"failed"`
	Unsure   int    `json:"unsure"` // perhaps both in the queue and still dead letters
}

// replayedLetter is a line of `dlq replay` under -o jsonl.
type replayedLetter struct {
	Queue       string `json:"queue"` // the work queue
	ID          string `json:"id"`
	Fingerprint string `json:"fingerprint"`
	Result      string `json:"result"` // replayed, removed, failed, would_replay, would_remove
	Error       string `json:"error,omitempty"`
}

func (a *App) dlqReplayCommand() *cobra.Command {
	var o dlqReplayOptions
	cmd := &cobra.Command{
		Use:   "replay QUEUE [ID...]",
		Short: "Return dead letters to the queue where they failed",
		Long: "Return dead letters to the queue where they failed: all, those with the given ids, or those that match --where. Other\n" +
			"subscribers to an event, which did not fail, do not get them again. ID is what `dlq show` lists.\n\n" +
			"Nothing is lost, however a replay ends: a message stays a dead letter until the broker has confirmed that it is in its\n" +
			"queue. A replay that is killed in between may leave a message in both, and the next one then delivers it again. Messages\n" +
			"that fail again during a replay are not replayed a second time.\n\n" + whereHelp,
		Example: fmt.Sprintf("  %[1]s dlq replay %[2]s --dry-run\n  %[1]s dlq replay %[2]s --where 'code == \"unavailable\"' --rate 50/s --yes", a.Name, a.someQueue()),
		Args:    Arguments(1, 1000), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.queue, o.ids = args[0], args[1:]
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
	conn, letters, err := a.letters(ctx, o.command())
	if err != nil {
		return err
	}
	defer a.close(ctx, conn)
	r := &replaying{app: a, dlqReplayOptions: o, letters: letters, from: a.source(letters, o.queue), pick: pick, there: newLookup(a, conn), gone: map[string]bool{}}
	if len(o.ids) > 0 {
		if r.named, err = r.find(ctx); err != nil {
			return err
		}
	}
	if o.dryRun {
		return r.dry(ctx)
	}
	return r.run(ctx, pace)
}

func (o *dlqReplayOptions) command() string {
	if o.remove {
		return "dlq rm"
	}
	return "dlq replay"
}

// replaying is one run of `dlq replay`, or of `dlq rm`.
type replaying struct {
	dlqReplayOptions
	app     *App
	letters *deadletter.Store
	from    deadletter.Source
	pick    *where
	named   map[string]bool // the fingerprints of those that were named; nil if none was
	total   int             // when it began
	there   *lookup
	gone    map[string]bool // the fingerprints of those whose queue is gone
	failed  error           // the first
	written error           // of standard output
}

func (r *replaying) find(ctx context.Context) (map[string]bool, error) {
	found, err := r.app.find(ctx, r.letters, r.from, r.ids)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, l := range found {
		named[l.Fingerprint()] = true
	}
	return named, nil
}

func (r *replaying) selects(l *deadletter.Letter) bool {
	return (r.named == nil || r.named[l.Fingerprint()]) && r.pick.picks(l)
}

// carryOut replays, or removes. What would not reach its queue stays where it is, and counts as failed.
func (r *replaying) carryOut(ctx context.Context, replay deadletter.Replay) (deadletter.Result, error) {
	// No more than were counted, and agreed to: others may arrive while somebody is asked.
	replay.Select, replay.Limit = r.selects, cmp.Or(r.limit, r.total)
	if r.remove {
		return r.letters.Remove(ctx, r.from, replay)
	}
	replay.Select = func(l *deadletter.Letter) bool {
		if !r.selects(l) {
			return false
		}
		if r.there.exists(ctx, l.Queue) {
			return true
		}
		if mark := l.Fingerprint(); !r.gone[mark] && (r.limit <= 0 || len(r.gone) < r.limit) {
			r.gone[mark] = true
			replay.Done(l, errGone)
		}
		return false
	}
	result, err := r.letters.Replay(ctx, r.from, replay)
	result.Matched += len(r.gone)
	result.Failed += len(r.gone)
	return result, err
}

// shownOnDryRun is how many letters a dry run lists.
const shownOnDryRun = 50

func (r *replaying) dry(ctx context.Context) error {
	r.app.warnOfReaders(ctx, r.letters, r.from)
	as := "would_replay"
	if r.remove {
		as = "would_remove"
	}
	var shown []*deadletter.Letter
	result, err := r.carryOut(ctx, deadletter.Replay{DryRun: true, Done: func(l *deadletter.Letter, err error) {
		r.done(l, as, err)
		if err == nil && len(shown) < shownOnDryRun {
			l.Body = nil // not printed
			shown = append(shown, l)
		}
	}})
	r.pick.warn(r.app)
	if err != nil {
		return r.app.explainLetters(r.from, err)
	}
	if r.failed != nil {
		err = r.explain(ctx, result, nil)
	}
	if r.app.Format() != FormatText {
		return cmp.Or(r.print(result), err)
	}
	if len(shown) > 0 {
		r.written = r.app.PrintTable(letterTable(shown))
	}
	would := result.Matched - result.Failed
	if more := would - len(shown); more > 0 {
		r.app.Note("and %d more; -o jsonl lists all", more)
	}
	r.app.Note("%d of %s would be %s", would, deadLetters(result.Seen), r.outcome())
	return cmp.Or(r.written, err)
}

// outcome is what becomes of the letters.
func (r *replaying) outcome() string {
	switch {
	case r.remove:
		return "removed from " + nameOf(r.from)
	case r.from.Queue == "":
		return "returned from " + r.from.Name + " to their own queues"
	default:
		return "replayed to " + r.from.Queue
	}
}

func (r *replaying) run(ctx context.Context, pace *pace) error {
	a := r.app
	total, err := r.letters.Count(ctx, r.from)
	if err != nil {
		return a.explainLetters(r.from, err)
	}
	if r.named == nil { // else find has warned
		a.warnOfReaders(ctx, r.letters, r.from)
	}
	if total == 0 {
		if a.Format() == FormatText {
			a.Note("%s has no dead letters", nameOf(r.from))
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
	verb := "replayed"
	if r.remove {
		verb = "removed"
	}
	bar := a.StartProgress(verb, total)
	defer bar.End()
	replay := deadletter.Replay{Done: func(l *deadletter.Letter, err error) {
		bar.Add(1)
		r.done(l, verb, err)
	}}
	if pace != nil {
		replay.Wait = pace.wait
	}
	result, err := r.carryOut(ctx, replay)
	bar.End()
	r.pick.warn(a)
	if gone := r.total - result.Seen; err == nil && gone > 0 && r.limit == 0 && r.named == nil {
		a.Note("%d of %s were not there any more: another program has taken them, or holds them", gone, deadLetters(r.total))
	}
	if printed := r.print(result); err == nil && r.failed == nil {
		return printed
	}
	return r.explain(ctx, result, err)
}

func (r *replaying) question(total int) string {
	what := deadLetters(total)
	switch {
	case r.named != nil:
		what = fmt.Sprintf("%d named of %s", len(r.named), what)
	case r.where != "" && r.limit > 0:
		what = fmt.Sprintf("up to %d of %s, those that match %s,", r.limit, what, r.where)
	case r.where != "":
		what = fmt.Sprintf("those of %s that match %s", what, r.where)
	case r.limit > 0 && r.limit < total:
		what = fmt.Sprintf("%d of %s", r.limit, what)
	}
	switch {
	case r.remove:
		return fmt.Sprintf("remove %s from %s for good?", what, nameOf(r.from))
	case r.from.Queue == "":
		return fmt.Sprintf("return %s from %s to their own queues?", what, r.from.Name)
	default:
		return fmt.Sprintf("replay %s to %s?", what, r.from.Queue)
	}
}

func (r *replaying) done(l *deadletter.Letter, result string, err error) {
	if err == nil {
		r.line(l, result, nil)
		return
	}
	if r.failed == nil {
		r.failed = fmt.Errorf("%s: %w", l.Queue, err)
	}
	r.line(l, "failed", err)
}

// line prints a letter's outcome under -o jsonl.
func (r *replaying) line(l *deadletter.Letter, result string, err error) {
	if r.app.Format() != FormatJSONL || r.written != nil {
		return
	}
	line := replayedLetter{Queue: l.Queue, ID: l.ID, Fingerprint: l.Fingerprint(), Result: result}
	if err != nil {
		line.Error = err.Error()
	}
	r.written = r.app.PrintJSON(line)
}

func (r *replaying) print(result deadletter.Result) error {
	switch r.app.Format() {
	case FormatJSON:
		printed := replayed{Queue: nameOf(r.from), DryRun: r.dryRun, Seen: result.Seen, Matched: result.Matched, Failed: result.Failed, Unsure: result.Unsure}
		if r.remove {
			printed.Removed = &result.Replayed
		} else {
			printed.Replayed = &result.Replayed
		}
		return r.app.PrintJSON(printed)
	case FormatJSONL:
		return r.written
	default:
		verb, to, _ := strings.Cut(r.outcome(), " ")
		text := fmt.Sprintf("%s %d of %s %s", verb, result.Replayed, deadLetters(max(r.total, result.Seen)), to)
		if result.Failed > 0 {
			text += fmt.Sprintf("; %d could not be, and stay dead letters", result.Failed)
		}
		if result.Unsure > 0 && r.remove {
			text += fmt.Sprintf("; %d may still be there", result.Unsure)
		} else if result.Unsure > 0 {
			text += fmt.Sprintf("; %d may be in both queues", result.Unsure)
		}
		return r.app.Printf("%s\n", text)
	}
}

// explain is the error of a replay, or a removal, that did not do everything.
func (r *replaying) explain(ctx context.Context, result deadletter.Result, err error) error {
	a := r.app
	again := fmt.Sprintf("%s %s %s goes on with the rest", a.Name, r.command(), nameOf(r.from))
	cause := cmp.Or(err, r.failed)
	switch {
	case ctx.Err() != nil:
		return Fail(ExitInterrupted, again, "%s; the others are still dead letters: %w", r.counts(result), context.Cause(ctx))
	case errors.Is(cause, rabbit.ErrUnroutable):
		cause = Fail(ExitNotFound, "start the service once; it declares its queue", "a queue is gone, and its messages stay where they are: %w", cause)
	case errors.Is(cause, rabbit.ErrRefused) && result.Failed > 0: // to publish
		cause = Fail(ExitUnreachable, fmt.Sprintf("grant the user the right to write to amq.default or %s, or log in as another user",
			a.names().RetryReturnExchange(r.from.Service)), "%w", cause)
	case errors.Is(cause, rabbit.ErrNotConnected):
		cause = Fail(ExitUnreachable, again, "the connection was lost, but no message was: %w", cause)
	default:
		cause = a.explainLetters(r.from, cause)
	}
	if result.Replayed+result.Unsure == 0 {
		return cause
	}
	return Fail(ExitPartial, nextOf(cause), "%s: %w", r.counts(result), cause)
}

// counts says what became of the letters that were selected.
func (r *replaying) counts(result deadletter.Result) string {
	text := fmt.Sprintf("%d were replayed", result.Replayed)
	doubt := ", %d more may be in both queues"
	if r.remove {
		text, doubt = fmt.Sprintf("%d were removed", result.Replayed), ", %d more may have been"
	}
	if result.Unsure > 0 {
		text += fmt.Sprintf(doubt, result.Unsure)
	}
	if result.Failed > 0 {
		text += fmt.Sprintf(", %d were not", result.Failed)
	}
	return text
}
