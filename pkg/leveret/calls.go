package leveret

import (
	"context"
	"errors"
	"sync"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// errCallerGone is the cause of a handler's context that ends because its caller has given up.
var errCallerGone = errors.New("the caller has given up")

// calls are the requests that are being handled, so that their callers can take them back.
type calls struct {
	mu      sync.Mutex
	running map[string]context.CancelCauseFunc // by message id
}

// begin returns a context that cancel ends. A message without an id cannot be taken back.
func (c *calls) begin(ctx context.Context, id string) (_ context.Context, done func()) {
	if id == "" {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil {
		c.running = make(map[string]context.CancelCauseFunc)
	}
	c.running[id] = cancel
	return ctx, func() {
		c.mu.Lock()
		delete(c.running, id)
		c.mu.Unlock()
		cancel(nil)
	}
}

func (c *calls) cancel(id string) {
	c.mu.Lock()
	cancel := c.running[id]
	c.mu.Unlock()
	if cancel != nil {
		cancel(errCallerGone)
	}
}

// control consumes what this process is told by callers, from a queue of its own.
func (w *Worker) control(requests []string) *rabbit.Consumer {
	n := w.names()
	var t topology.Topology
	t.Add(n.Control(w.service.name, w.instance(), requests...))
	return rabbit.NewConsumer(w.conn.publish, rabbit.ConsumerConfig{
		Queue: n.ControlQueue(w.service.name, w.instance()), Tag: w.tag(), NoAck: true, Exclusive: true, Logger: w.log,
		Setup: func(ctx context.Context) error { return w.conn.declareExclusive(ctx, t) },
		Handle: func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement {
			w.calls.cancel(d.MessageId)
			return rabbit.Ack
		},
	})
}
