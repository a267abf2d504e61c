package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/stream"
)

// replayLedger is what `events replay` prints under -o json.
type replayLedger struct {
	Mode          string `json:"mode"` // catch_up
	Event         string `json:"event"`
	Stream        string `json:"stream"`
	Service       string `json:"service"`
	Queue         string `json:"queue"`
	NewSubscriber bool   `json:"new_subscriber"`
	DryRun        bool   `json:"dry_run"`
	Resumed       bool   `json:"resumed"`
	// Complete says that all was copied that was asked for.
	Complete bool `json:"complete"`
	replayCounts
	// First and Last are the offsets of the first event that was read, and of the one up to which all is done; null if none.
	First *int64 `json:"first_offset"`
	Last  *int64 `json:"last_offset"`
}

// replayLine is a line under -o jsonl.
type replayLine struct {
	Offset int64  `json:"offset"`
	ID     string `json:"id"`
	Result string `json:"result"` // copied, failed, unsure, would_copy
	Error  string `json:"error,omitempty"`
}

// print prints the ledger.
func (r *replay) print(counts replayCounts) error {
	l := replayLedger{
		Mode: "catch_up", Event: r.spec.Name, Stream: r.state.Stream, Service: r.service, Queue: r.queue, NewSubscriber: r.newSubscriber,
		DryRun: r.dryRun, Resumed: r.resumed, Complete: r.complete, replayCounts: counts,
	}
	if r.state.First != nil && counts.Read > 0 {
		l.First = &r.state.First.Offset
	}
	if r.state.Last != nil {
		l.Last = &r.state.Last.Offset
	}
	switch {
	case r.app.Format() == FormatJSON:
		return r.app.PrintJSON(l)
	case r.app.Format() == FormatJSONL:
		return r.lineFailed
	case !r.dryRun:
		return r.app.Printf("%s\n", r.sentence(l))
	}
	if len(r.shown) > 0 {
		t := term.NewTable("OFFSET#", "ID")
		for _, e := range r.shown {
			t.Add(term.Plain(strconv.FormatInt(e.Offset, 10)), term.Plain(e.ID))
		}
		if err := r.app.PrintTable(t); err != nil {
			return err
		}
	}
	if more := counts.Matched - len(r.shown); more > 0 && len(r.shown) > 0 {
		r.app.Note("and %d more; -o jsonl lists all", more)
	}
	r.app.Note("%s", r.sentence(l))
	return nil
}

// sentence is the ledger for people.
func (r *replay) sentence(l replayLedger) string {
	text := fmt.Sprintf("copied %s to %s", eventCount(l.Copied), l.Queue)
	if l.DryRun {
		text = fmt.Sprintf("%s would be copied to %s", eventCount(l.Matched), l.Queue)
	}
	if l.First != nil && l.Last != nil {
		text += fmt.Sprintf(", of %d from offset %d to %d", l.Read, *l.First, *l.Last)
	}
	if l.Skipped > 0 {
		text += fmt.Sprintf("; %d did not match", l.Skipped)
	}
	if left := l.Matched - l.Copied; left > 0 && !l.DryRun {
		text += fmt.Sprintf("; %d could not be copied", left)
	}
	if l.Unsure > 0 {
		text += fmt.Sprintf("; up to %d may be there twice", l.Unsure)
	}
	return text
}

func eventCount(n int) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

// finish prints the ledger of a run, and returns the error of one that did not copy everything.
func (r *replay) finish(ctx context.Context, counts replayCounts, stopped error) error {
	if r.pick != nil {
		r.pick.warn(r.app, eventCount(r.pick.failed))
	}
	kept := error(nil)
	if stopped != nil {
		kept = r.keep(false)
	}
	r.complete = stopped == nil
	printed := r.print(counts)
	switch {
	case stopped != nil:
		return r.explain(ctx, counts, stopped)
	case kept != nil:
		return kept
	}
	if last := r.state.Last; r.limit > 0 && counts.Matched >= r.limit && last != nil && last.Offset < r.state.Until {
		r.app.Note("--limit is reached; the rest begins with --from %d", last.Offset+1)
	}
	return printed
}

// explain is the error of a run that did not copy everything.
func (r *replay) explain(ctx context.Context, counts replayCounts, stopped error) error {
	a := r.app
	again := "run the same command again: it goes on where this one has ended"
	if r.state.Last == nil {
		again = "run the same command again: it begins anew"
	}
	var gap *stream.GapError
	var other *stream.ReplacedError
	var own *Error
	cause := stopped
	switch {
	case ctx.Err() != nil:
		return Fail(ExitInterrupted, again, "%s: %w", r.counted(counts), context.Cause(ctx))
	case errors.As(stopped, &gap):
		remove := ""
		if !r.finished() && (!r.dryRun || r.resumed) {
			remove = fmt.Sprintf("remove %s, and ", r.file.path)
		}
		cause = Fail(ExitError, fmt.Sprintf("go on with what is left: %srun it with --from %d", remove, gap.Next), "%w", stopped)
	case errors.As(stopped, &other):
		cause = replaced(r.file.path, stopped)
	case errors.Is(stopped, rabbit.ErrUnroutable):
		cause = Fail(ExitNotFound, fmt.Sprintf("start %s once; it declares its queue. Then %s", r.service, again), "the queue %s is gone: %w", r.queue, stopped)
	case errors.As(stopped, &own):
	case errors.Is(stopped, rabbit.ErrNotFound), errors.Is(stopped, stream.ErrUndecided):
		cause = a.explainStream(r.spec, stopped)
	default:
		cause = a.explain(stopped)
		if nextOf(cause) == "" {
			cause = Fail(exitOf(cause), again, "%w", cause)
		}
	}
	if counts.Copied == 0 || r.dryRun {
		return cause
	}
	return Fail(ExitPartial, nextOf(cause), "%s: %w", r.counted(counts), cause)
}

// counted says how far a run came that did not copy everything.
func (r *replay) counted(counts replayCounts) string {
	if r.state.Last == nil {
		return eventCount(counts.Copied) + " copied"
	}
	return fmt.Sprintf("%s copied, up to offset %d of %d", eventCount(counts.Copied), r.state.Last.Offset, r.state.Until)
}
