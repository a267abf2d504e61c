package leveret

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
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
// A message that crashes its worker takes along what else that worker has in hand: all of it comes back to its queue
// with a higher delivery count, which therefore proves nothing. So a message that came back often is copied to the
// service's quarantine, and handled from there while the worker handles nothing else. There the count does prove
// something: a suspect is taken only once its worker is idle, so each return is an interrupted trial.
func (w *Worker) quarantine(ctx context.Context) {
	work, stop := contexts.Outlasting(ctx, w.config.DrainTimeout, rabbit.ErrDraining)
	defer stop()
	for {
		for more := true; more && ctx.Err() == nil && w.gate.Err() == nil; {
			more = w.tryOne(ctx, work)
		}
		select {
		case <-w.suspected:
		case <-time.After(lookEvery/2 + rand.N(lookEvery)):
		case <-ctx.Done():
			return
		}
	}
}

// turns keep the trial of a suspect apart from handlers. A handler takes one turn while it runs; a trial takes all of
// them, so it begins when no handler runs, and no handler begins until it is over, except for requests that have waited
// long enough (see waitForTrial).
type turns struct {
	*semaphore.Weighted

	leave func() // gives back the one turn of a handler
}

const all = math.MaxInt64

func newTurns() *turns {
	s := semaphore.NewWeighted(all)
	return &turns{s, func() { s.Release(1) }}
}

// takeAll takes all turns, and reports whether it got them within d. No handler begins while it waits.
func (t *turns) takeAll(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return t.Acquire(ctx, all) == nil
}

// tryOne tries the next suspect, and reports whether to look for another at once. It takes the suspect only once it has
// the turns of commands and events, and gives the turns back once the suspect is settled: a crash by any other message
// in between would count against the suspect.
func (w *Worker) tryOne(ctx, work context.Context) bool {
	browser, err := w.conn.consume.Browse(ctx, w.quarantineQueue)
	if err != nil {
		w.log.DebugContext(ctx, "cannot look into the quarantine", "queue", w.quarantineQueue, "error", err)
		return false
	}
	release := func() {}
	defer func() {
		if err := browser.Close(ctx); err != nil {
			w.log.DebugContext(ctx, "a suspect was not settled; it will be redelivered", "queue", w.quarantineQueue, "error", err)
		}
		release()
	}()
	if browser.State().Ready == 0 || !w.work.takeAll(ctx, aloneAfter) { // before the suspect is taken
		return false
	}
	quiet := w.requests.takeAll(ctx, quietAfter)
	release = sync.OnceFunc(func() {
		w.work.Release(all)
		if quiet {
			w.requests.Release(all)
		}
	})
	// Called when the suspect's handler has returned. The turns are given back once the suspect is settled, when this
	// function returns, or after settleTimeout if that takes longer.
	leave := func() { time.AfterFunc(settleTimeout, release) }
	d, ok, err := browser.Get(work)
	if err != nil || !ok {
		return false
	}
	settlement, err := browser.Handle(work, d, func(work context.Context, d *rabbit.Incoming) rabbit.Settlement {
		if ctx.Err() != nil {
			return w.move(work, d, w.quarantineQueue, d.RoutingKey)
		}
		return w.try(work, d, leave)
	})
	if err != nil || settlement != rabbit.Ack {
		w.survived[d.MessageId] = true
		return false
	}
	return true
}

// try handles a suspect.
func (w *Worker) try(ctx context.Context, d *rabbit.Incoming, leave func()) rabbit.Settlement {
	e := w.working[d.RoutingKey]
	returns, _ := d.Returns()
	if e != nil {
		e = e.of(&d.Delivery)
	}
	switch {
	case e == nil: // of a queue that this worker does not serve; if that is gone, too, it ends among the lost retries
		return w.move(ctx, d, w.conn.names.RetryReturnExchange(w.Service().name), d.RoutingKey)
	case w.survived[d.MessageId]: // its last trial was interrupted, but not by a crash: it starts over
		delete(w.survived, d.MessageId)
		return w.move(ctx, d, w.quarantineQueue, d.RoutingKey)
	case returns >= convictAfter:
		m := received(&d.Delivery, e.use, e.spec, e.queue, d.At)
		return e.conclude(ctx, d, m, Outcome{Verdict: e.spec.givenUp(e.use.name), Err: errPoison})
	}
	settlement := e.attempt(ctx, d, leave)
	if settlement == rabbit.Requeue && ctx.Err() != nil && !d.Lost() { // the drain time was over
		return w.move(ctx, d, w.quarantineQueue, d.RoutingKey)
	}
	return settlement
}

const (
	// aloneAfter is how long a trial waits for the handlers of commands and events that run. No other begins meanwhile.
	aloneAfter = time.Minute
	// quietAfter is the same for requests, whose callers have deadlines. If that is not enough, the trial begins beside
	// them, and one that crashes the worker speaks against the suspect.
	quietAfter = time.Second
	// requestsWait is how long a request waits for a trial, at most. A suspect may call its own service.
	requestsWait = 5 * time.Second
	// moveTimeout is how long a suspect may take to be moved after the drain time.
	moveTimeout = 5 * time.Second
)

// suspect moves a message that came back often to where it is less of a danger to others, and reports whether it has.
// Where orderly stops count as well, it first gets another chance, at the end of its queue: it may just have waited
// there long.
func (e *endpoint) suspect(ctx context.Context, d *rabbit.Incoming) bool {
	w := e.worker
	returns, exact := d.Returns()
	if returns < suspectAfter {
		return false
	}
	exchange := w.quarantineQueue
	if !exact && wire.Count(d.Headers, wire.Returned) == 0 {
		exchange = w.conn.names.RetryReturnExchange(w.Service().name)
	}
	if w.move(ctx, d, exchange, e.queue) != rabbit.Ack {
		return false
	}
	w.log.WarnContext(ctx, "message was returned repeatedly and may have crashed its worker; moving it",
		"queue", e.queue, "contract", e.spec.Name, "message_id", d.MessageId, "returns", returns, "exchange", exchange)
	select {
	case w.suspected <- struct{}{}:
	default:
	}
	return true
}

// move publishes a copy of a delivery that belongs to a work queue, unless the delivery is lost meanwhile, and returns
// how to settle it. A nack would count as a return before RabbitMQ 4.3; of a copy nothing has been counted.
func (w *Worker) move(ctx context.Context, d *rabbit.Incoming, exchange, queue string) rabbit.Settlement {
	ctx, stop := contexts.Outlasting(ctx, moveTimeout, nil)
	defer stop()
	ctx, leave := d.Context(ctx)
	defer leave()
	p := &rabbit.Publication{Exchange: exchange, RoutingKey: queue, Mandatory: true, Publishing: wire.CopyOf(&d.Delivery, queue)}
	if returns, _ := d.Returns(); returns > 0 {
		p.Headers[wire.Returned] = int64(returns)
	}
	if e := w.working[queue]; e != nil && len(e.mates) > 1 {
		e.of(&d.Delivery).spec.putHeaders(p.Headers) // again, where a copy has dropped what it is known by
	}
	if err := w.publisher.Publish(ctx, p); err != nil {
		w.log.WarnContext(ctx, "a message that was returned repeatedly cannot be moved", "queue", queue, "message_id", d.MessageId,
			"exchange", exchange, "error", err)
		return rabbit.Requeue
	}
	return rabbit.Ack
}
