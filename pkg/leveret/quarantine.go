package leveret

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// suspectAfter is how often a message may come back to its queue unsettled before it is suspected of crashing its
	// workers. One lost connection, one restart of the broker or one crash brings back all that a worker has in hand.
	suspectAfter = 3
	// convictAfter is how many lone trials of a suspect may be interrupted before it is a dead letter.
	convictAfter = 3
	// lookEvery is how often a worker looks for suspects that others have left.
	lookEvery = 10 * time.Second
)

// errPoison is why a message is dead-lettered that was alone each time its worker crashed.
var errPoison = &Error{Code: Internal, Reason: ReasonCrashedWorker, Message: fmt.Sprintf(
	"%d workers were lost while this was the only message that they handled", convictAfter)}

// quarantine tries the suspects of the worker's service, one at a time, until ctx ends. See docs/decisions/0017.
//
// A message that crashes its worker takes along what else that worker has in hand: all of it comes back to its queue with
// a higher delivery count, which therefore proves nothing. So a message that came back often is copied to the service's
// quarantine, and handled from there while the worker handles no other command or event. There the count does prove
// something: a suspect is taken only once its worker is idle, so each return is an interrupted trial.
func (w *Worker) quarantine(ctx context.Context) {
	work, stop := w.outlasting(ctx)
	defer stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			more = w.tryOne(ctx, work)
		}
		timer := time.NewTimer(lookEvery/2 + rand.N(lookEvery))
		select {
		case <-w.suspected:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// outlasting returns the context of handlers that may finish within the drain time after ctx has ended.
func (w *Worker) outlasting(ctx context.Context) (context.Context, func()) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(w.config.DrainTimeout, func() { cancel(rabbit.ErrDraining) })
		context.AfterFunc(work, func() { timer.Stop() })
	})
	return work, func() { stop(); cancel(nil) }
}

// tryOne tries the next suspect, and reports whether to look for another at once.
func (w *Worker) tryOne(ctx, work context.Context) bool {
	browser, err := w.conn.consume.Browse(ctx, w.quarantineQueue)
	if err != nil {
		w.log.DebugContext(ctx, "cannot look into the quarantine", "queue", w.quarantineQueue, "error", err)
		return false
	}
	defer func() {
		if err := browser.Close(ctx); err != nil {
			w.log.DebugContext(ctx, "a suspect was not settled; it comes again", "queue", w.quarantineQueue, "error", err)
		}
	}()
	if browser.State().Ready == 0 {
		return false
	}
	leave, ok := w.isAlone(ctx) // before the suspect is taken
	if !ok {
		return false
	}
	defer leave()
	d, ok, err := browser.Get(work)
	if err != nil || !ok {
		return false
	}
	if ctx.Err() != nil {
		_ = w.postpone(ctx, browser, d)
		return false
	}
	if w.survived[d.MessageId] { // its last trial was interrupted, but not by a crash: it starts over
		delete(w.survived, d.MessageId)
		return w.postpone(ctx, browser, d) == nil
	}
	e := w.endpointOf(d.RoutingKey)
	settlement, err := browser.Handle(work, d, func(ctx context.Context, in *rabbit.Incoming) rabbit.Settlement {
		switch {
		case e == nil:
			return w.release(ctx, in)
		case in.Returns() >= convictAfter:
			return e.convict(ctx, in)
		default:
			return e.attempt(ctx, in, leave)
		}
	})
	switch {
	case err != nil || settlement != rabbit.Ack && work.Err() == nil:
		w.survived[d.MessageId] = true
	case settlement != rabbit.Ack:
		_ = w.postpone(ctx, browser, d) // if it fails, the message counts one return
	}
	return err == nil && settlement == rabbit.Ack // else not at once again
}

const (
	// everybody is what a trial takes of [Worker.alone].
	everybody = math.MaxInt64
	// aloneAfter is how long a trial waits for the handlers that run. No other begins meanwhile.
	aloneAfter = time.Minute
)

// isAlone waits until none of the worker's commands and events is being handled, and keeps others from beginning until
// leave is called.
func (w *Worker) isAlone(ctx context.Context) (leave func(), ok bool) {
	ctx, cancel := context.WithTimeout(ctx, aloneAfter)
	defer cancel()
	if w.alone.Acquire(ctx, everybody) != nil {
		return nil, false
	}
	return sync.OnceFunc(func() { w.alone.Release(everybody) }), true
}

// endpointOf returns the endpoint of a work queue; nil if the worker has none.
func (w *Worker) endpointOf(queue string) *endpoint {
	i := slices.IndexFunc(w.endpoints, func(e *endpoint) bool { return e.queue == queue && e.spec.Kind != KindRequest })
	if i < 0 {
		return nil
	}
	return w.endpoints[i]
}

// suspect puts a message into quarantine, and reports whether that has succeeded.
func (e *endpoint) suspect(ctx context.Context, d *rabbit.Incoming) bool {
	w := e.worker
	log := w.log.With("queue", e.queue, "contract", e.spec.Name, "message_id", d.MessageId, "returns", d.Returns())
	if err := w.isolate(ctx, d, &d.Delivery, e.queue); err != nil {
		log.WarnContext(ctx, "message came back often, but cannot be put into quarantine; handling it beside others", "error", err)
		return false
	}
	log.WarnContext(ctx, "message came back often; it may have crashed its worker, and is handled alone", "quarantine", w.quarantineQueue)
	select {
	case w.suspected <- struct{}{}:
	default:
	}
	return true
}

// held is what a delivery is settled on: a context of it ends when it cannot be settled any more.
type held interface {
	Context(ctx context.Context) (context.Context, func())
}

// isolate publishes a copy of a delivery of a work queue to the quarantine, unless the delivery is lost meanwhile.
func (w *Worker) isolate(ctx context.Context, d held, delivery *rabbit.Delivery, queue string) error {
	ctx, stop := d.Context(ctx)
	defer stop()
	return w.publisher.Publish(ctx, &rabbit.Publication{
		Exchange: w.quarantineQueue, RoutingKey: queue, Mandatory: true, Publishing: wire.Copy(delivery),
	})
}

// postpone gives a suspect back whose trial was cut short though it did not crash the worker. A nack would count as a
// return before RabbitMQ 4.3, so a copy takes its place, which nothing has been counted of.
func (w *Worker) postpone(ctx context.Context, browser *rabbit.Browser, d rabbit.Delivery) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := w.isolate(ctx, browser, &d, d.RoutingKey); err != nil {
		return err
	}
	return browser.Ack(d) // if that is lost, the message is there twice
}

// convict dead-letters a suspect.
func (e *endpoint) convict(ctx context.Context, d *rabbit.Incoming) (settlement rabbit.Settlement) {
	m := received(&d.Delivery, e.use, e.spec, e.queue, d.At)
	e.finish(ctx, m, Outcome{Verdict: VerdictDeadLetter, Err: errPoison}, func(ctx context.Context, o Outcome) (err error) {
		settlement, err = e.settle(ctx, d, m, o)
		return err
	})
	e.worker.conn.tel.verdicts.Add(ctx, 1, e.verdicts[VerdictDeadLetter])
	return settlement
}

// release sends a suspect of a queue that the worker does not serve back there; if that queue is gone, to the lost retries.
func (w *Worker) release(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
	ctx, stop := d.Context(ctx)
	defer stop()
	err := w.publisher.Publish(ctx, &rabbit.Publication{
		Exchange: w.conn.names.RetryReturnExchange(w.Service().name), RoutingKey: d.RoutingKey, Mandatory: true,
		Publishing: wire.Copy(&d.Delivery),
	})
	if err != nil {
		w.log.WarnContext(ctx, "a suspect of another queue cannot go back there", "queue", d.RoutingKey, "message_id", d.MessageId, "error", err)
		return rabbit.Requeue
	}
	return rabbit.Ack
}
