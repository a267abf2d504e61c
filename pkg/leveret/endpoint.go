package leveret

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// endpoint is one queue of a worker, and the handler of what comes from it.
type endpoint struct {
	worker   *Worker
	use      use
	contract Contract
	spec     *Spec
	queue    string
	topology topology.Topology
	handler  Handler // middleware, decoding, and the user's handler
	signals  *signals
	verdicts [VerdictExpired + 1]metric.MeasurementOption
	consumer *rabbit.Consumer

	// troubled counts the failed messages whose copies cannot be published now, trouble is why; see settle.go.
	troubled atomic.Int64
	trouble  atomic.Pointer[error]
}

func newEndpoint(w *Worker, u use, handler Handler) *endpoint {
	spec := u.contract.Spec()
	n := w.names()
	exchange, key := spec.Route(n)
	e := &endpoint{
		worker: w, use: u, contract: u.contract, spec: spec,
		queue:    Queue(n, u.contract, w.service.name, u.name),
		topology: u.topology(n, w.service.name, w.requestQueueType()),
	}
	e.signals = w.tel.processing(exchange.Name, key, e.queue)
	for v := VerdictAck; v <= VerdictExpired; v++ {
		e.verdicts[v] = metric.WithAttributes(
			attribute.String("messaging.destination.name", e.queue), attribute.String("leveret.verdict", v.String()))
	}
	own := []Middleware{e.signals.observed, limited(w.config.HandlerTimeout), recovered}
	e.handler = chain(handler, append(own, w.config.Middleware...))
	return e
}

// process handles one message and returns the verdict. It needs no broker.
func (e *endpoint) process(ctx context.Context, m *Message) Outcome {
	if o, ok := e.refuse(m); ok {
		e.signals.consumed.Add(ctx, 1, e.signals.with(o.Err))
		return o
	}
	err := e.handler(handlingContext{Context: ctx, handling: &handling{message: m}}, m)
	return judge(ctx, m, err)
}

// refuse finds messages that must not be handled.
func (e *endpoint) refuse(m *Message) (Outcome, bool) {
	if e.spec.Kind != KindRequest {
		return Outcome{}, false
	}
	if time.Now().After(m.Deadline) {
		return Outcome{Verdict: VerdictExpired, Err: Errorf(DeadlineExceeded, "the request expired before it was handled")}, true
	}
	if m.Redelivered && !e.spec.Idempotent {
		return Outcome{Verdict: VerdictAck, Err: Errorf(Aborted,
			"outcome unknown: a worker that had this request is gone, and %s is not idempotent", e.spec.Name)}, true
	}
	return Outcome{}, false
}

// handle is the whole way of one delivery: from bytes to its settlement.
func (e *endpoint) handle(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
	m := received(&d.Delivery, e.contract, e.queue, d.At)
	if m.Redelivered {
		e.worker.tel.redelivered.Add(ctx, 1, e.signals.ok)
	}
	watch := e.worker.watch(e.queue, m)
	if e.spec.Kind == KindRequest {
		var done func()
		ctx, done = e.worker.calls.begin(ctx, m.ID)
		defer done()
	}
	o := e.process(ctx, m)
	watch.Stop()
	settlement := e.settle(ctx, d, m, o)
	e.worker.tel.verdicts.Add(ctx, 1, e.verdicts[o.Verdict])
	return settlement
}

// external tells whether the queue belongs to somebody else.
func (e *endpoint) external() bool { return e.spec.Address != nil && e.spec.Address.External }

// ready returns nil while the endpoint takes messages, and can put those that fail where they belong.
func (e *endpoint) ready() error {
	if e.consumer == nil {
		return fmt.Errorf("the queue %s is not consumed yet", e.queue)
	}
	if err := e.consumer.Ready(); err != nil {
		return fmt.Errorf("the queue %s is not consumed: %w", e.queue, err)
	}
	if err := e.trouble.Load(); err != nil && e.troubled.Load() > 0 {
		return fmt.Errorf("a failed message of the queue %s cannot be put aside: %w", e.queue, *err)
	}
	return nil
}
