package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/schema"
	"github.com/leveretmq/leveret/pkg/stream"
)

// eventWhereHelp explains --where in the help of `events replay`.
const eventWhereHelp = `--where selects events with an expression (see expr-lang.org) over these fields:

  id, offset                 its message id, and its offset in the stream
  age                        how long ago it was sent: age > duration("1h")
  payload                    its payload as JSON: payload.total.amount > 100; all digits of numbers count
  headers                    its headers: headers["mine"] == "x"`

// whereEvent is a kept event for an expression.
type whereEvent struct {
	ID      string         `expr:"id"`
	Offset  int            `expr:"offset"`
	Age     time.Duration  `expr:"age"`
	Payload any            `expr:"payload"`
	Headers map[string]any `expr:"headers"`
}

// replayOptions are the flags of `events replay`.
type replayOptions struct {
	moveOptions

	to, as, begins, ends, path string
	newSubscriber              bool
}

func (a *App) eventsReplayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay EVENT --to SERVICE --from first|TIME|OFFSET",
		Short: "Copy kept events to the queue of one subscription",
		Long: "Copy kept events, in their order and under their ids, to the queue of one subscription of a service. Other\n" +
			"subscribers get nothing.\n\n" +
			"The service catches up: what it has handled already it recognises, and does not handle again. So it must say how long it\n" +
			"remembers (leveret.Remembers), and older events are refused; unless --new-subscriber says that it has handled none of\n" +
			"them. A service that reads the event with a projection is not served here: its own binary rebuilds that.\n\n" +
			"--from and --until are offsets, or times such as 2026-05-31T12:00:00Z or 2026-05-31 (UTC). RabbitMQ finds a time by its\n" +
			"own clock, and where it has stored events together, the first of those. Without --until, the last event is the one that\n" +
			"is last when the command begins.\n\n" +
			fmt.Sprintf("Up to %d copies are in flight, as fast as the queue takes them. --rate spares the service, which handles them beside what\n", stream.CopiedTogether) +
			"arrives meanwhile.\n\n" +
			"How far it has come is kept in the file of --state, so that the same command goes on there after an interruption. One\n" +
			fmt.Sprintf("that was killed may leave up to %d events in the queue twice.\n\n", stream.CopiedTogether) + eventWhereHelp,
		Example: fmt.Sprintf("  %[1]s events replay %[2]s --to SERVICE --from 2026-01-01 --dry-run\n"+
			"  %[1]s events replay %[2]s --to SERVICE --from first --new-subscriber --rate 200/s", a.Name, a.someKept()),
		Args: Arguments(1, 1), ValidArgsFunction: a.completeKept(),
		RunE: func(cmd *cobra.Command, args []string) error { return a.replayEvents(cmd.Context(), args[0], o) },
	}
	o.flags(cmd, "copy", "events")
	o.paced(cmd, "copy")
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "the `service` to whose queue the events are copied")
	f.StringVar(&o.as, "as", "", "the `name` of its subscription, if it has one")
	f.StringVar(&o.begins, "from", "", "begin at this `place`: first, a time, or an offset")
	f.StringVar(&o.ends, "until", "", "end at this `place`: before a time, or with an offset")
	f.BoolVar(&o.newSubscriber, "new-subscriber", false, "the service has handled none of these events")
	f.StringVar(&o.path, "state", "", fmt.Sprintf("keep how far it has come in this `file` (default %s-replay-EVENT-to-SERVICE.json)", a.Name))
	_ = cmd.RegisterFlagCompletionFunc("to", func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			if event, ok := a.Catalog.Lookup(args[0]); ok {
				return a.subscribers(event), cobra.ShellCompDirectiveNoFileComp
			}
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// replay is one run of `events replay`.
type replay struct {
	app *App
	replayOptions
	keptTarget

	spec       leveret.Spec
	pace       *pace
	pick       *condition
	schema     *schema.Schema // of payloads, for pick
	from       keptPlace
	until      *keptPlace // nil: the end
	conn       *leveret.Conn
	file       *stateFile
	state      replayState
	resumed    bool
	complete   bool            // all is copied
	begun      bool            // an event was read
	gone       bool            // the queue, at the last note
	shown      []replayedEvent // of a dry run
	lineFailed error           // of standard output
}

func (a *App) replayEvents(ctx context.Context, event string, o replayOptions) error {
	r, err := a.newReplay(event, o)
	if err != nil {
		return err
	}
	says, err := r.catchesUp(o.newSubscriber)
	if err != nil {
		return err
	}
	a.Note("%s", says)
	if r.file, err = r.openState(ctx); err != nil {
		return err
	}
	finished := false
	defer func() { _ = r.file.close(finished) }()
	known, err := r.file.read()
	if err != nil {
		return err
	}
	if r.conn, err = a.Connect(ctx); err != nil {
		return err
	}
	defer a.close(ctx, r.conn)
	if begins, err := r.begin(ctx, known); err != nil || !begins {
		finished = err == nil && !o.dryRun
		return err
	}
	if !o.dryRun {
		if err := a.confirm(ctx, o.yes, r.question(), dryRun); err != nil {
			return err
		}
	}
	err = r.run(ctx)
	finished = r.finished()
	return err
}

// finished reports whether there is nothing to go on with.
func (r *replay) finished() bool {
	return !r.dryRun && (r.complete || r.state.Last == nil && r.state.Unsure == 0)
}

// newReplay reads what was asked for.
func (a *App) newReplay(name string, o replayOptions) (*replay, error) {
	event, err := a.keptEvent(name)
	if err != nil {
		return nil, err
	}
	switch {
	case o.to == "":
		return nil, usage("", "--to is missing: the service that gets the events. These subscribe to %s: %s", name, list(a.subscribers(event)))
	case o.begins == "":
		return nil, usage("", "--from is missing: first, a time, or an offset")
	}
	r := &replay{app: a, replayOptions: o, spec: event.Spec()}
	if r.keptTarget, err = a.keptTarget(event, o.to, o.as); err != nil {
		return nil, err
	}
	if r.pace, err = o.check(); err != nil {
		return nil, err
	}
	if r.pick, err = parseCondition(o.where, whereEvent{}); err != nil {
		return nil, err
	}
	if r.schema, err = schema.Payload(r.spec); err != nil {
		return nil, err
	}
	if r.from, err = parsePlace("--from", o.begins); err != nil {
		return nil, err
	}
	if o.ends != "" {
		until, err := parsePlace("--until", o.ends)
		if err != nil {
			return nil, err
		}
		r.until = &until
	}
	r.state = replayState{replayFlags: replayFlags{
		Broker: a.brokerAddress(), VirtualHost: a.settings.vhost(),
		Stream: a.names().KeptStream(name), Queue: r.queue, From: o.begins, To: o.ends, Where: o.where, Limit: o.limit, NewSubscriber: o.newSubscriber,
	}}
	return r, nil
}

// openState opens the state file; for a dry run, to be read alone.
func (r *replay) openState(ctx context.Context) (*stateFile, error) {
	service := r.service
	if r.subscription != "" {
		service += "." + r.subscription
	}
	path := cmp.Or(r.path, fmt.Sprintf("%s-replay-%s-to-%s.json", r.app.Name, r.spec.Name, service))
	if r.dryRun {
		return &stateFile{path, func() {}}, nil
	}
	return openState(ctx, path)
}

// begin looks at the stream and the queue, and finds out what there is to do; false if nothing.
func (r *replay) begin(ctx context.Context, known *replayState) (bool, error) {
	a := r.app
	if !newLookup(a, r.conn).exists(ctx, r.queue) {
		return false, a.noSubscription(r.keptTarget)
	}
	if known != nil {
		return true, r.goOn(ctx, known)
	}
	ends, err := stream.Look(ctx, r.conn.Rabbit(), r.state.Stream)
	if err != nil {
		return false, a.explainStream(r.spec, err)
	}
	if ends.Empty {
		return false, r.nothing("%s has no events", r.state.Stream)
	}
	if r.state.Until, err = r.end(ctx, ends); err != nil {
		return false, a.explainStream(r.spec, err)
	}
	var first *stream.Event
	if r.from.offset <= r.state.Until {
		if first, err = stream.Find(ctx, r.conn.Rabbit(), r.state.Stream, r.from.Place); err != nil {
			return false, a.explainStream(r.spec, err)
		}
	}
	if first == nil || first.Offset > r.state.Until {
		return false, r.nothing("%s has no event between --from %s and offset %d", r.state.Stream, r.state.From, r.state.Until)
	}
	r.state.First = &replayedEvent{first.Offset, first.MessageId}
	return true, r.checkFirst(first, ends)
}

// goOn goes on where an earlier run has ended.
func (r *replay) goOn(ctx context.Context, known *replayState) error {
	if err := r.file.isOf(known, r.state.replayFlags); err != nil {
		return err
	}
	if _, err := eventAt(ctx, r.conn, known.Stream, known.Until); err != nil {
		if early, ok := errors.AsType[*endsEarlyError](err); ok {
			return replaced(r.file.path, early)
		}
		return r.app.explainStream(r.spec, err)
	}
	r.state, r.resumed = *known, true
	where, left := "at the beginning", known.Until+1
	if known.Last != nil {
		where, left = fmt.Sprintf("behind offset %d", known.Last.Offset), known.Until-known.Last.Offset
	}
	if known.Running { // it was killed, or writes no more
		r.state.Unsure += int(min(left, stream.CopiedTogether))
	}
	r.app.Note("going on %s, up to offset %d, as %s says; %d copied so far", where, known.Until, r.file.path, known.Copied)
	return nil
}

// end returns the offset of the last event to read.
func (r *replay) end(ctx context.Context, ends stream.Ends) (int64, error) {
	switch {
	case r.until == nil:
		return ends.Last, nil
	case r.until.offset >= 0:
		return min(r.until.offset, ends.Last), nil
	}
	behind, err := stream.Find(ctx, r.conn.Rabbit(), r.state.Stream, r.until.Place)
	if err != nil || behind == nil {
		return ends.Last, err
	}
	return min(behind.Offset-1, ends.Last), nil
}

// checkFirst refuses to begin at an event, or warns of what is missing before it.
func (r *replay) checkFirst(first *stream.Event, ends stream.Ends) error {
	sent := first.Sent()
	switch {
	case r.from.offset >= 0 && r.from.offset < ends.First:
		return Fail(ExitNotFound, "begin with what is left: --from first", "the events before offset %d are not kept any more", ends.First)
	case !r.from.at.IsZero() && first.Offset == ends.First && first.Offset > 0 && sent.After(r.from.at):
		r.app.Warn("events before offset %d are not kept any more; the first of them that is was sent at %s", ends.First, sent.UTC().Format(time.RFC3339))
	}
	if r.newSubscriber || r.pick != nil { // it may leave this one out
		return nil
	}
	return r.forgotten(first.Offset, sent)
}

func (r *replay) question() string {
	what := fmt.Sprintf("copy the events of %s from %s to offset %d", r.spec.Name, r.from, r.state.Until)
	if r.resumed {
		what = fmt.Sprintf("go on with the events of %s up to offset %d", r.spec.Name, r.state.Until)
	}
	var conditions []string
	if r.limit > 0 {
		conditions = append(conditions, fmt.Sprintf("%d at most", r.limit))
	}
	if r.pick != nil {
		conditions = append(conditions, "those that match "+r.state.Where)
	}
	if len(conditions) > 0 {
		what += ", " + strings.Join(conditions, ", of ") + ","
	}
	return fmt.Sprintf("%s to %s?", what, r.queue)
}

// run copies the events.
func (r *replay) run(ctx context.Context) error {
	if err := r.keep(true); err != nil {
		return err
	}
	before := r.state.replayCounts
	c := stream.Copy{
		Stream: r.state.Stream, From: r.from.Place, Until: r.state.Until, Queue: r.queue, Service: r.service, DryRun: r.dryRun,
		Select: r.selects, Note: func(done stream.Copied) error { return r.note(ctx, before.plus(done), done.Last) },
	}
	switch first, last := r.state.First, r.state.Last; {
	case last != nil:
		c.After = &stream.Position{Offset: last.Offset, ID: last.ID}
	case first != nil: // so that it is noticed if this one is deleted before it is read
		c.After = &stream.Position{Offset: first.Offset - 1}
	}
	if r.limit > 0 {
		if c.Limit = r.limit - before.Matched; c.Limit <= 0 { // it was killed behind the last one
			return r.finish(ctx, before, nil)
		}
	}
	if r.pace != nil {
		c.Wait = r.pace.wait
	}
	bar := r.app.StartProgress(map[bool]string{true: "found", false: "copied"}[r.dryRun], r.total())
	defer bar.End()
	c.Done = func(e *stream.Event, err error) {
		bar.Add(1)
		r.done(e, err)
	}
	result, err := c.Run(ctx, r.conn, r.app.Logger())
	bar.End()
	counts := before.plus(result)
	switch {
	case r.dryRun && result.Read > 0:
		r.state.Last = &replayedEvent{Offset: result.Last.Offset}
	case r.gone: // what was copied behind the last note may come back from retry.lost
		r.state.Unsure += counts.Copied - r.state.Copied
		counts = r.state.replayCounts
	}
	return r.finish(ctx, counts, err)
}

// total is how many events will be copied, or 0 where that is unknown.
func (r *replay) total() int {
	first := r.from.offset
	switch {
	case r.pick != nil:
		return 0
	case r.state.Last != nil:
		first = r.state.Last.Offset + 1
	case r.state.First != nil:
		first = r.state.First.Offset
	}
	left := int(max(r.state.Until-max(first, 0)+1, 0))
	return min(left, cmp.Or(r.limit, left))
}

// selects reports whether an event is copied. Its error is that of one that must not be.
func (r *replay) selects(e *stream.Event) (bool, error) {
	if err := r.checkBegin(e); err != nil {
		return false, err
	}
	if r.pick != nil && !r.pick.holds(r.view(e)) {
		return false, nil
	}
	if !r.newSubscriber {
		if err := r.forgotten(e.Offset, e.Sent()); err != nil {
			return false, err
		}
	}
	return true, nil
}

// checkBegin checks that the first event that is read is the one that was there when the replay began.
func (r *replay) checkBegin(e *stream.Event) error {
	first := r.state.First
	if r.begun || r.state.Last != nil || first == nil {
		return nil
	}
	r.begun = true
	switch {
	case e.Offset > first.Offset:
		return &stream.GapError{Stream: r.state.Stream, After: first.Offset - 1, Next: e.Offset}
	case e.MessageId != first.ID:
		return &stream.ReplacedError{Stream: r.state.Stream, Offset: first.Offset, ID: first.ID}
	default:
		return nil
	}
}

// view is an event as the expression of --where sees it. What is kept has no secrets.
func (r *replay) view(e *stream.Event) whereEvent {
	v := whereEvent{ID: e.MessageId, Offset: int(e.Offset), Headers: e.Headers}
	if sent := e.Sent(); !sent.IsZero() {
		v.Age = max(time.Since(sent), 0)
	}
	if r.pick.payload {
		body, err := r.schema.FromBody(e.Body)
		if err != nil {
			body = e.Body
		}
		v.Payload, _ = readNumbers(body)
	}
	return v
}

// note keeps what is done: all up to an event. The exchange of retries does not report that the queue is gone.
func (r *replay) note(ctx context.Context, done replayCounts, last *stream.Position) error {
	if done.Copied > r.state.Copied && !newLookup(r.app, r.conn).exists(ctx, r.queue) {
		r.gone = true
		return rabbit.ErrUnroutable
	}
	if done.Read > 0 {
		r.state.Last = &replayedEvent{last.Offset, last.ID}
	}
	r.state.replayCounts = done
	return r.keep(true)
}

// keep writes the state.
func (r *replay) keep(running bool) error {
	if r.dryRun {
		return nil
	}
	r.state.Running = running
	return r.file.write(r.state)
}

// plus adds what a run did.
func (c replayCounts) plus(done stream.Copied) replayCounts {
	return replayCounts{
		Read: c.Read + done.Read, Matched: c.Matched + done.Selected, Copied: c.Copied + done.Copied, Unsure: c.Unsure + done.Unsure,
		Skipped: c.Skipped + done.Read - done.Selected,
	}
}

// done notes what became of one event.
func (r *replay) done(e *stream.Event, err error) {
	result := "copied"
	switch {
	case r.dryRun:
		result = "would_copy"
		if len(r.shown) < shownOnDryRun {
			r.shown = append(r.shown, replayedEvent{e.Offset, e.MessageId})
		}
	case errors.Is(err, rabbit.ErrUnconfirmed):
		result = "unsure"
	case err != nil:
		result = "failed"
	}
	if r.app.Format() == FormatJSONL && r.lineFailed == nil {
		line := replayLine{Offset: e.Offset, ID: e.MessageId, Result: result}
		if err != nil {
			line.Error = err.Error()
		}
		r.lineFailed = r.app.PrintJSON(line)
	}
}

// nothing says that there is nothing to copy.
func (r *replay) nothing(format string, args ...any) error {
	if r.app.Format() == FormatText {
		r.app.Note(format, args...)
		return nil
	}
	r.complete = true
	return r.print(replayCounts{})
}
