package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

func (r *releasing) print() error {
	r.result.Queues = []releasedQueue{}
	for _, queue := range slices.Sorted(maps.Keys(r.queues)) {
		r.result.Queues = append(r.result.Queues, *r.queues[queue])
	}
	switch r.app.Format() {
	case FormatJSON:
		return r.app.PrintJSON(r.result)
	case FormatJSONL:
		return r.written
	default:
		var to []string
		for _, q := range r.result.Queues {
			if q.Released > 0 {
				to = append(to, fmt.Sprintf("%d to %s", q.Released, q.Queue))
			}
		}
		text := fmt.Sprintf("released %d of %s", r.result.Released, retriesText(r.result.Seen))
		if len(to) > 0 {
			text += ": " + strings.Join(to, ", ")
		}
		if r.result.Failed > 0 {
			text += fmt.Sprintf("; %d failed and still wait", r.result.Failed)
		}
		if r.result.Unsure > 0 {
			text += fmt.Sprintf("; %d may be in both", r.result.Unsure)
		}
		return r.app.Printf("%s\n", text)
	}
}

// gone is the error of queues that are gone.
func (r *releasing) gone() error {
	var names []string
	n := 0
	for _, queue := range slices.Sorted(maps.Keys(r.queues)) {
		if q := r.queues[queue]; q.Gone > 0 {
			names, n = append(names, queue), n+q.Gone
		}
	}
	for _, queue := range slices.Sorted(maps.Keys(r.there.known)) { // of a dry run
		if r.dryRun && !r.there.known[queue] {
			names = append(names, queue)
		}
	}
	if len(names) == 0 {
		return nil
	}
	code := ExitPartial
	if r.result.Released == 0 {
		code = ExitNotFound
	}
	what := fmt.Sprintf("the queue %s is gone; what waits for it stays where it is", names[0])
	if len(names) > 1 {
		what = fmt.Sprintf("the queues %s are gone; what waits for them stays where it is", strings.Join(names, ", "))
	}
	if n > 0 {
		what += fmt.Sprintf(" (%s)", retriesText(n))
	}
	return Fail(code, "start the service once; it declares its queue. Else what is due goes to "+r.app.names().RetryLost(r.app.names().Consumer(names[0])), "%s", what)
}

// explainRelease is the error of a release that did not release everything.
func (r *releasing) explainRelease(ctx context.Context, stopped error) error {
	again := strings.TrimSpace(fmt.Sprintf("%s retry release %s", r.app.Name, r.queue))
	cause := cmp.Or(stopped, r.failed)
	switch {
	case ctx.Err() != nil:
		return Fail(ExitInterrupted, again+" releases the rest", "%d were released; nothing is lost: %w", r.result.Released, context.Cause(ctx))
	case cause == nil:
		return cmp.Or(r.verdict(), r.gone())
	case errors.Is(cause, rabbit.ErrNotConnected):
		cause = Fail(ExitUnreachable, again+" releases the rest", "the connection was lost, but no message was: %w", cause)
	default:
		cause = r.app.explain(cause)
	}
	if r.result.Released == 0 {
		return cause
	}
	return Fail(ExitPartial, nextOf(cause), "%d were released, others were not: %w", r.result.Released, cause)
}

// retriesText counts messages in words.
func retriesText(n int) string {
	if n == 1 {
		return "1 message that waits"
	}
	return fmt.Sprintf("%d messages that wait", n)
}
