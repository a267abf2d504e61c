package leveret

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// endpoint is one queue of a worker, and the handler of what comes from it. Where a queue has several contracts, each
// has its own endpoint, and all of them one consumer.
type endpoint struct {
	*handler

	worker    *Worker
	queue     string
	exclusive bool        // the queue belongs to this process
	mates     []*endpoint // those of the same queue, with this one, and nobody's as the last; where it is alone, only this one
	topology  topology.Topology
	expired   topology.Topology // what is declared only when its queue is missing
	signals   *signals
	verdicts  [len(verdictNames)]metric.MeasurementOption
	turns     *turns // its handlers take one each
	consumer  *rabbit.Consumer

	looking  sync.Mutex            // whether the queue is a stream
	noStream bool                  // it is none, though a message looked so; guarded by looking
	troubled atomic.Int32          // how many failed messages cannot be put aside now; see settle.go
	trouble  atomic.Pointer[error] // why the last of them cannot
}

func newEndpoint(w *Worker, h *handler) *endpoint {
	n, service := w.conn.names, h.handlers.service.name
	exchange, key := h.spec.Route(n)
	instance, name := w.conn.uniqueInstance(), QueueName(n, h.use.contract, service, h.use.name)
	e := &endpoint{
		handler: h, worker: w,
		queue: name, exclusive: h.spec.exclusive(h.use.name),
		topology: h.use.topology(n, service, instance, w.conn.config.RequestQueueType),
	}
	if h.use.name == topology.PerProcess {
		e.queue = n.ProcessQueue(service, h.spec.Name, instance)
		w.conn.declarer.MayRename(e.queue)
	}
	switch {
	case w.conn.config.NoDeclare && e.exclusive: // nobody else can declare the queue
		e.topology = e.topology.Own()
	case w.conn.config.NoDeclare && h.spec.Kind == KindRequest && !h.spec.external():
		e.topology, e.expired = topology.Topology{}, e.topology
		e.expired.Exchanges = nil
	case w.conn.config.NoDeclare:
		e.topology = topology.Topology{}
	}
	e.signals = w.conn.tel.signals(h.spec, exchange.Name, key, name)
	for v := range e.verdicts {
		e.verdicts[v] = metric.WithAttributes(
			attribute.String("messaging.destination.name", name), attribute.String("leveret.verdict", Verdict(v).String()))
	}
	e.turns = w.work
	if h.spec.Kind == KindRequest {
		e.turns = w.requests
	}
	return e
}

// consumer makes the consumer of a queue, for the endpoints that share it.
func (w *Worker) consumer(mates []*endpoint) *rabbit.Consumer {
	e := mates[0]
	conn, request := w.conn.consume, e.spec.Kind == KindRequest
	if request { // on the connection on which they are answered
		conn = w.conn.publish
	}
	var needed topology.Topology
	for _, m := range mates {
		needed.Add(m.topology)
	}
	c := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue:        e.queue,
		Name:         func() string { return w.conn.declarer.Name(e.queue) },
		DrainQueued:  request,
		Tag:          w.tag(),
		Concurrency:  w.config.Concurrency,
		Prefetch:     w.config.Prefetch,
		DrainTimeout: w.config.DrainTimeout,
		Logger:       w.log,
		Handle:       e.handle,
		Gate:         &w.gate,
		OnReady:      sync.OnceFunc(w.consuming),
		Setup:        w.setup(needed, mates...),
	})
	if len(mates) > 1 || e.spec.Address != nil && len(e.spec.Address.Headers) > 0 { // a message may belong to none of them
		mates = append(mates, e.nobody())
		w.endpoints = append(w.endpoints, mates[len(mates)-1])
	}
	for _, m := range mates {
		m.consumer, m.mates, m.topology = c, mates, needed
	}
	return c
}

// setup returns what the consumer of a queue calls before it registers: it declares t, once more if some of it is
// missing, and has the process read what it may have missed while it had no queue of its own.
func (w *Worker) setup(t topology.Topology, mates ...*endpoint) func(context.Context, bool) error {
	return func(ctx context.Context, missing bool) error {
		if missing {
			w.conn.declarer.Forget(t)
		}
		err := w.conn.declarer.Declare(ctx, t)
		for _, e := range mates {
			if !e.expired.Empty() {
				err = errors.Join(err, w.revive(ctx, e))
			}
			if err != nil || e.fresh == nil {
				continue
			}
			if err = w.conn.declarer.Missing(t); err == nil { // a binding may be, without which nothing arrives
				err = about("OnFresh of "+e.spec.Name, []error{e.fresh(ctx, nil)})
			}
		}
		return err
	}
}

// revive declares the queue of a request if it is gone, as it is soon after its last worker.
func (w *Worker) revive(ctx context.Context, e *endpoint) error {
	if _, err := w.conn.consume.Inspect(ctx, e.queue); !errors.Is(err, rabbit.ErrNotFound) {
		return nil // consuming it says what else is wrong
	}
	w.conn.declarer.Forget(e.expired)
	return errors.Join(w.conn.declarer.Declare(ctx, e.expired), w.conn.declarer.Missing(e.expired))
}

// handle takes one delivery from a consumer all the way, from its bytes to its settlement.
func (e *endpoint) handle(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
	w := e.worker
	if e.perhapsStream(ctx, d) {
		return rabbit.Requeue
	}
	request, perProcess := e.spec.Kind == KindRequest, e.use.name == topology.PerProcess
	if e = e.of(&d.Delivery); perProcess && e.nobodys() { // it is for others, who have it in queues of their own
		return rabbit.Ack
	}
	if !request {
		until := early(d)
		switch {
		case w.gate.Err() != nil:
			return rabbit.Requeue
		case e.exclusive: // it cannot wait elsewhere, and comes back from no crash
		case !until.IsZero():
			settlement, _ := e.postpone(ctx, d, until, func(rabbit.Table) {}, w.log.With("queue", e.queue, "message_id", d.MessageId))
			return settlement
		case !w.config.NoQuarantine && e.suspect(ctx, d):
			return rabbit.Ack
		}
	}
	leave := e.turns.leave
	if !e.turns.TryAcquire(1) && e.waitForTrial(ctx, d) != nil {
		if !request {
			return rabbit.Requeue
		}
		leave = func() {}
	}
	if d.Lost() { // it comes again
		leave()
		return rabbit.Requeue
	}
	return e.attempt(ctx, d, leave)
}

// perhapsStream reports whether a delivery comes from a stream, which ends the worker, or may come from one.
func (e *endpoint) perhapsStream(ctx context.Context, d *rabbit.Incoming) bool {
	if _, offset := d.Headers[wire.StreamOffset]; !offset || !e.spec.external() || e.spec.Kind == KindRequest {
		return false
	}
	e.looking.Lock()
	defer e.looking.Unlock()
	if e.noStream { // anybody can send that header
		return false
	}
	is, err := e.worker.conn.consume.IsStream(ctx, e.queue)
	switch {
	case is:
		err = Errorf(FailedPrecondition, "the queue %s is a stream: %s", e.queue, noStreams)
		e.worker.fatal.Store(&err)
		e.worker.stop()
	case err != nil:
		e.worker.log.WarnContext(ctx, "cannot see whether the queue is a stream", "queue", e.queue, "error", err)
		contexts.Sleep(ctx, time.Second)
	default:
		e.noStream = true
	}
	return !e.noStream
}

// waitForTrial waits until the trial of a suspect is over; a request only for a part of its caller's time.
func (e *endpoint) waitForTrial(ctx context.Context, d *rabbit.Incoming) error {
	if e.spec.Kind == KindRequest {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, min(time.Until(deadline(&d.Delivery, e.spec, d.At))/4, requestsWait))
		defer cancel()
	}
	return e.turns.Acquire(ctx, 1)
}

// attempt is one delivery that is being handled. It ends in one of two ways: its handler returns, or the watch over
// stuck handlers gives up on it. The side that sets taken first settles the message, and calls leave and measured; the
// other does nothing.
type attempt struct {
	*endpoint

	ctx      context.Context //nolint:containedctx // of this attempt; the handler's own ends with it, and no later than until
	until    time.Time
	delivery *rabbit.Incoming
	message  *Message
	taken    atomic.Bool       // set by the side that settles
	leave    func()            // called by that side; it gives back the handler's turn
	measured func(error, bool) // called by that side, with the error and whether the message was handled
	late     int               // how often the watch has found it after its context had ended; only the watch uses it

	settlement rabbit.Settlement // 0 if the watch has settled the message
}

// attempt handles one delivery, and returns how to settle it; 0 if the watch over stuck handlers has settled it. leave
// gives back the handler's turn, and is called once: when the handler has returned, or when the watch gives up on it.
func (e *endpoint) attempt(ctx context.Context, d *rabbit.Incoming, leave func()) rabbit.Settlement {
	w := e.worker
	m := received(&d.Delivery, e.use, e.spec, e.queue, d.At)
	if o := e.forbidden(d, m); o.Verdict != 0 {
		leave()
		return e.conclude(ctx, d, m, o)
	}
	if m.Redelivered {
		w.conn.tel.redelivered.Add(ctx, 1, e.signals.ok)
	}
	if e.spec.Kind == KindRequest {
		var done func()
		ctx, done = w.calls.begin(ctx, m.CorrelationID)
		defer done()
	}
	ctx, measured := e.signals.beginProcessing(ctx, m)
	until, _ := e.until(m)
	a := &attempt{endpoint: e, ctx: ctx, until: until, delivery: d, message: m, leave: leave, measured: measured}
	w.attempts.Store(a, nil)
	defer w.attempts.Delete(a)
	e.process(ctx, m, a.settle)
	return a.settlement
}

// settle settles the message of a handler that has returned.
func (a *attempt) settle(ctx context.Context, o Outcome) (err error) {
	if a.taken.Swap(true) {
		return errAbandoned
	}
	a.leave()
	a.measured(o.Err, o.Verdict != VerdictExpired && o.Verdict != VerdictRefused)
	a.settlement, err = a.endpoint.settle(ctx, a.delivery, a.message, o)
	return err
}

// conclude settles and reports a message whose verdict does not come from its handler.
func (e *endpoint) conclude(ctx context.Context, d *rabbit.Incoming, m *Message, o Outcome) (settlement rabbit.Settlement) {
	e.finish(ctx, m, o, func(ctx context.Context, o Outcome) (err error) {
		settlement, err = e.settle(ctx, d, m, o)
		return err
	})
	return settlement
}

// ready returns nil while the endpoint takes messages, and can put those that fail where they belong.
func (e *endpoint) ready() error {
	err, missing := e.consumer.Ready(), e.worker.conn.declarer.Missing(e.topology)
	switch first := e.mates[0] == e; { // the others would say the same
	case first && err != nil:
		return fmt.Errorf("the queue %s is not consumed: %w", e.queue, err)
	case first && missing != nil:
		return fmt.Errorf("messages for the queue %s may be lost: %w (the user needs the permission, or, where somebody else "+
			"declares it, broker.declare: false)", e.queue, missing)
	}
	if err := e.trouble.Load(); err != nil && e.troubled.Load() > 0 {
		return fmt.Errorf("a failed message of the queue %s cannot be put aside: %w", e.queue, *err)
	}
	return nil
}
