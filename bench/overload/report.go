package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// fate is what became of the calls that are counted.
type fate struct {
	calls, ok, late int
	errors          map[string]int
	took            []time.Duration // by calls that were answered in time

	handled, refused, expired, unseen, twice int
	// Of the handled: by when the deadline passed.
	granted, onArrival, beforeBegin, during, inTime int
	tooShort                                        int             // left less than a handling takes when it began
	left                                            []time.Duration // when the handling began
	useful                                          int             // handled, and answered in time
}

func report(w io.Writer, l load, c *callers, worker *ledger) {
	f := judge(l, c, worker)
	line := func(what string, n int, of int) {
		if of == 0 {
			fmt.Fprintf(w, "%-56s %8d\n", what, n)
			return
		}
		fmt.Fprintf(w, "%-56s %8d  %6.2f %%\n", what, n, 100*float64(n)/float64(of))
	}
	fmt.Fprintf(w, "waiting at most %d; not begun because too many waited %d; a call began %v late at most\n",
		c.mostWaiting, c.notBegun, c.lag.Round(time.Millisecond))
	if c.lag > l.Timeout/5 {
		fmt.Fprintln(w, "the machine was too busy for these numbers: what is late by its own fault counts as the broker's and the worker's")
	}
	fmt.Fprintf(w, "CPU: callers %.0f µs a call; worker %v in all\n",
		float64(c.cpu.Microseconds())/float64(max(f.calls, 1)), worker.CPU.Round(10*time.Millisecond))
	line("calls", f.calls, 0)
	line("  answered in time", f.ok, f.calls)
	line("  answered too late, and yet seen by the caller", f.late, f.calls)
	for _, what := range slices.Sorted(maps.Keys(f.errors)) {
		line("  "+what, f.errors[what], f.calls)
	}
	line("  never reached a handler: broker dropped, or unsent", f.unseen, f.calls)
	line("  expired in the worker's hands", f.expired, f.calls)
	line("  refused by the middleware", f.refused, f.calls)
	line("handled", f.handled, 0)
	line("  and answered in time", f.useful, f.handled)
	line("  handled in time, the answer came too late", f.inTime-f.useful, f.handled)
	line("  caller gone when the handler began", f.onArrival+f.beforeBegin, f.handled)
	line("    deadline had passed on arrival: more time was granted", f.onArrival, f.handled)
	line("    deadline passed between arrival and begin", f.beforeBegin, f.handled)
	line("  caller gone when the handler ended", f.onArrival+f.beforeBegin+f.during, f.handled)
	line("    deadline passed during the handling", f.during, f.handled)
	line("  began with less time left than a handling takes", f.tooShort, f.handled)
	if f.twice > 0 {
		line("handled twice", f.twice, 0)
	}
	fmt.Fprintf(w, "answered in time after: p50 %v, p99 %v\n", quantile(f.took, 0.5), quantile(f.took, 0.99))
	fmt.Fprintf(w, "time left when a handler began: p1 %v, p10 %v, p50 %v, p90 %v, p99 %v\n",
		quantile(f.left, 0.01), quantile(f.left, 0.1), quantile(f.left, 0.5), quantile(f.left, 0.9), quantile(f.left, 0.99))
	seconds := l.Duration.Seconds()
	fmt.Fprintf(w, "goodput %.0f a second, %.1f %% of the capacity; handlers busy %.1f %%\n", float64(f.ok)/seconds,
		100*float64(f.ok)/seconds/l.capacity(), 100*float64(f.handled)/seconds/l.capacity())
}

// judge joins what the callers saw and what the worker did, by the messages' ids.
func judge(l load, c *callers, worker *ledger) fate {
	f := fate{errors: map[string]int{}}
	handled := make(map[string]handling, len(worker.Handlings))
	for _, h := range worker.Handlings {
		if _, again := handled[h.ID]; again {
			f.twice++
		}
		handled[h.ID] = h
	}
	expired := make(map[string]bool, len(worker.Expired))
	for _, e := range worker.Expired {
		expired[e.ID] = true
	}
	for _, call := range c.calls {
		if !call.counted {
			continue
		}
		f.calls++
		answered := f.seen(call)
		h, reached := handled[call.id]
		switch {
		case expired[call.id]:
			f.expired++
		case !reached:
			f.unseen++
		case h.Refused:
			f.refused++
		default:
			f.handling(l, call, h, answered)
		}
	}
	slices.Sort(f.took)
	slices.Sort(f.left)
	return f
}

// seen counts what the caller saw, and reports whether that was an answer in time.
func (f *fate) seen(c call) bool {
	switch code := leveret.CodeOf(c.err); {
	case c.err == nil && c.end.Before(c.deadline.Add(time.Millisecond)): // the clock of the timer is not more precise
		f.ok++
		f.took = append(f.took, c.end.Sub(c.start))
		return true
	case c.err == nil:
		f.late++
	case leveret.IsRemote(c.err):
		f.errors["answered with the error "+code.String()]++
	case code == leveret.DeadlineExceeded && errors.Is(c.err, leveret.ErrOutcomeUnknown):
		f.errors["timed out"]++
	case code == leveret.DeadlineExceeded:
		f.errors["timed out before it was sent"]++
	default:
		f.errors["failed: "+code.String()]++
	}
	return false
}

// handling counts a request that a handler has handled.
func (f *fate) handling(l load, c call, h handling, answered bool) {
	f.handled++
	left := c.deadline.Sub(h.Begin)
	f.left = append(f.left, left)
	if left < l.Handle {
		f.tooShort++
	}
	if answered {
		f.useful++
	}
	switch {
	case h.Granted:
		f.onArrival++
	case left < 0:
		f.beforeBegin++
	case c.deadline.Before(h.End):
		f.during++
		if answered { // within the millisecond
			f.inTime++
			f.during--
		}
	default:
		f.inTime++
	}
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))].Round(100 * time.Microsecond)
}
