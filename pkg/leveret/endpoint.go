package leveret

import (
	"context"
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
		StopTimeout:  w.config.StuckAfter,
		Logger:       w.log,
		Handle:       e.handle,
		OnReady:      sync.OnceFunc(w.consuming),
		Setup:        w.conn.setup(w.conn.declarer, e.topology),
	})
}

// handle takes one delivery all the way, from its bytes to its settlement.
func (e *endpoint) handle(ctx context.Context, d *rabbit.Incoming) (settlement rabbit.Settlement) {
	tel := e.worker.conn.tel
	m := received(&d.Delivery, e.use, e.spec, e.queue, d.At)
	if m.Redelivered {
		tel.redelivered.Add(ctx, 1, e.signals.ok)
	}
	watch := e.worker.watch(e, m)
	if e.spec.Kind == KindRequest {
		var done func()
		ctx, done = e.worker.calls.begin(ctx, m.ID)
		defer done()
	}
	ctx, done := e.signals.beginProcessing(ctx, m)
	o := e.process(ctx, m, func(ctx context.Context, o Outcome) (err error) {
		watch.Stop()
		done(o.Err, o.Verdict != VerdictExpired && o.Verdict != VerdictRefused)
		settlement, err = e.settle(ctx, d, m, o)
		return err
	})
	tel.verdicts.Add(ctx, 1, e.verdicts[o.Verdict])
	return settlement
}

// external reports whether the queue belongs to somebody else.
func (e *endpoint) external() bool { return e.spec.Address != nil && e.spec.Address.External }

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
