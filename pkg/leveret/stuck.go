package leveret

import (
	"context"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// ticks is how many parts StuckAfter is waited for in. A process that is suspended, or a machine that sleeps, lets one of
// them pass at most: the handler did not run meanwhile either.
const ticks = 10

// settleTimeout is how long the message of a stuck handler may take to be put aside.
const settleTimeout = 10 * time.Second

// outlasts blocks for StuckAfter, and reports whether a handler whose end closes ended has not returned by then.
func (w *Worker) outlasts(ended <-chan struct{}) bool {
	for range ticks {
		timer := time.NewTimer(w.config.StuckAfter / ticks)
		select {
		case <-timer.C:
		case <-ended:
			timer.Stop()
			return false
		}
	}
	return true
}

// stuck settles the message of a handler that does not return, by the retry policy as if the handler had failed: the next
// worker would only get stuck as well if it came at once. Then it ends the worker.
func (e *endpoint) stuck(ctx context.Context, d *rabbit.Incoming, m *Message) {
	w := e.worker
	err := fmt.Errorf("%w: it has not returned %v after its context ended, with the message %s of the queue %s", ErrStuck, w.config.StuckAfter, m.ID, e.queue)
	w.stuckNow.Store(&err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	o := judge(ctx, m, fmt.Errorf("%w: %w", errHandlerTimeout, Errorf(DeadlineExceeded, "the handler is stuck")))
	var settlement rabbit.Settlement
	e.finish(ctx, m, o, func(ctx context.Context, o Outcome) (err error) {
		settlement, err = e.settle(ctx, d, m, o)
		return err
	})
	w.conn.tel.verdicts.Add(ctx, 1, e.verdicts[o.Verdict])
	d.Abandon(settlement)
	select {
	case w.stuck <- struct{}{}:
	default:
	}
}
