package leveret

import (
	"context"
	"fmt"
	"time"
)

// ticks is how many looks in a row must find a handler that has not returned after its context's end. They are spread
// over StuckAfter. A process that is suspended, or a machine that sleeps, misses all but one of them: the handler did
// not run meanwhile either.
const ticks = 10

// settleTimeout is how long the message of a stuck handler may take to be put aside.
const settleTimeout = 10 * time.Second

// watch looks for stuck handlers until ctx ends.
func (w *Worker) watch(ctx context.Context) {
	tick := time.NewTicker(max(w.config.StuckAfter/ticks, 1))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for a := range w.attempts.Range {
			a := a.(*attempt) //nolint:forcetypeassert // there is nothing else in it
			if a.ctx.Err() == nil && time.Now().Before(a.until) {
				continue
			}
			if a.late++; a.late > ticks { // the first look may have come at once
				w.attempts.Delete(a)
				go a.stuck()
			}
		}
	}
}

// stuck settles the message of a handler that does not return, by the retry policy as if the handler had failed: the
// next worker would only get stuck as well if it came at once. One that was lost to this worker has come again already.
// Then it ends the worker.
func (a *attempt) stuck() {
	if a.taken.Swap(true) {
		return
	}
	a.leave()
	a.measured(ErrStuck, true)
	w := a.worker
	err := fmt.Errorf("%w: it has not returned %v after its context ended, with the message %s of the queue %s",
		ErrStuck, w.config.StuckAfter, a.message.ID, a.queue)
	w.fatal.Store(&err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), settleTimeout)
	defer cancel()
	o := judge(a.ctx, a.message, fmt.Errorf("%w: %w", errHandlerTimeout, Errorf(DeadlineExceeded, "the handler is stuck")))
	a.delivery.Abandon(a.conclude(ctx, a.delivery, a.message, o))
	w.stop()
}
