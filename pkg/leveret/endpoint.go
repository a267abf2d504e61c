package leveret

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// endpoint is one queue of a worker, and the handler of what comes from it.
type endpoint struct {
	*handler

	worker   *Worker
	queue    string
	topology topology.Topology
	signals  *signals
	verdicts [len(verdictNames)]metric.MeasurementOption
	consumer *rabbit.Consumer

	// troubled counts the failed messages whose copies cannot be published now, trouble is why; see settle.go.
	troubled atomic.Int64
	trouble  atomic.Pointer[error]
}

func newEndpoint(w *Worker, h *handler) *endpoint {
	n, service := w.conn.names, h.handlers.service.name
	exchange, key := h.spec.Route(n)
	e := &endpoint{
		handler: h, worker: w,
		queue:    Queue(n, h.use.contract, service, h.use.name),
		topology: h.use.topology(n, service, w.conn.config.RequestQueueType),
	}
	e.signals = w.conn.tel.processing(exchange.Name, key, e.queue)
	for v := range e.verdicts {
		e.verdicts[v] = metric.WithAttributes(
			attribute.String("messaging.destination.name", e.queue), attribute.String("leveret.verdict", Verdict(v).String()))
	}
	e.consumer = w.consumer(e)
	return e
}

// consumer makes the consumer of an endpoint. Requests come over the publishing connection, on which they are answered.
func (w *Worker) consumer(e *endpoint) *rabbit.Consumer {
	request := e.spec.Kind == KindRequest
	conn := w.conn.consume
	if request {
		conn = w.conn.publish
	}
	mode := rabbit.Work
	if request {
		mode = rabbit.Requests
	}
	return rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue:        e.queue,
		Mode:         mode,
		Tag:          w.tag(),
		Concurrency:  w.config.Concurrency,
		Prefetch:     w.config.Prefetch,
		DrainTimeout: w.config.DrainTimeout,
		StopTimeout:  w.config.StuckAfter + settleTimeout, // a stuck handler is abandoned before
		Logger:       w.log,
		Handle:       e.handle,
		OnReady:      sync.OnceFunc(w.consuming),
		Setup:        w.conn.setup(w.conn.declarer, e.topology),
	})
}

// handle takes one delivery from a consumer all the way, from its bytes to its settlement.
func (e *endpoint) handle(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
	w := e.worker
	if e.spec.Kind == KindRequest {
		return e.attempt(ctx, d, func() {})
	}
	if d.Returns() >= suspectAfter && !w.config.NoQuarantine && e.suspect(ctx, d) {
		return rabbit.Ack
	}
	if w.alone.Acquire(ctx, 1) != nil {
		return rabbit.Requeue
	}
	leave := sync.OnceFunc(func() { w.alone.Release(1) })
	defer leave()
	if d.Lost() {
		return rabbit.Requeue // it comes again
	}
	return e.attempt(ctx, d, leave)
}

// attempt handles one delivery. It calls leave once the handler has returned or is stuck: it cannot crash the process
// any more, or nobody waits for it.
func (e *endpoint) attempt(ctx context.Context, d *rabbit.Incoming, leave func()) (settlement rabbit.Settlement) {
	tel := e.worker.conn.tel
	m := received(&d.Delivery, e.use, e.spec, e.queue, d.At)
	if m.Redelivered {
		tel.redelivered.Add(ctx, 1, e.signals.ok)
	}
	if e.spec.Kind == KindRequest {
		var done func()
		ctx, done = e.worker.calls.begin(ctx, m.ID)
		defer done()
	}
	ctx, done := e.signals.beginProcessing(ctx, m)
	var taken atomic.Bool // by the one of two that settles: the handler that returned, or the watch over a stuck one
	ended := make(chan struct{})
	defer close(ended)
	stuck := func() {
		if e.worker.outlasts(ended) && taken.CompareAndSwap(false, true) {
			leave()
			done(ErrStuck, true)
			e.stuck(ctx, d, m)
		}
	}
	o := e.process(ctx, m, stuck, func(ctx context.Context, o Outcome) (err error) {
		if !taken.CompareAndSwap(false, true) {
			return errAbandoned
		}
		leave()
		done(o.Err, o.Verdict != VerdictExpired && o.Verdict != VerdictRefused)
		settlement, err = e.settle(ctx, d, m, o)
		return err
	})
	if !errors.Is(o.SettleErr, errAbandoned) {
		tel.verdicts.Add(ctx, 1, e.verdicts[o.Verdict])
	}
	return settlement
}

// ready returns nil while the endpoint takes messages, and can put those that fail where they belong.
func (e *endpoint) ready() error {
	if err := e.consumer.Ready(); err != nil {
		return fmt.Errorf("the queue %s is not consumed: %w", e.queue, err)
	}
	if err := e.trouble.Load(); err != nil && e.troubled.Load() > 0 {
		return fmt.Errorf("a failed message of the queue %s cannot be put aside: %w", e.queue, *err)
	}
	return nil
}
