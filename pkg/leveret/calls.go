package leveret

import (
	"context"
	"errors"
	"sync"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// errCallerGone is the cause of a handler's context that ends because its caller has given up.
var errCallerGone = errors.New("the caller has given up")

// calls are the requests that are being handled, so that their callers can take them back.
type calls struct {
	mu      sync.Mutex
	running map[*call]struct{}
}

// call is one request that is being handled. Several may have one id: a caller that lost its connection calls again.
type call struct {
	id     string
	cancel context.CancelCauseFunc
}

// begin returns a context that cancel ends. A message without an id cannot be taken back.
func (c *calls) begin(ctx context.Context, id string) (_ context.Context, done func()) {
	if id == "" {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	this := &call{id, cancel}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil {
		c.running = make(map[*call]struct{})
	}
	c.running[this] = struct{}{}
	return ctx, func() {
		c.mu.Lock()
		delete(c.running, this)
		c.mu.Unlock()
		cancel(nil)
	}
}

func (c *calls) cancel(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for running := range c.running {
		if running.id == id {
			running.cancel(errCallerGone)
		}
	}
}

// control returns the consumer of this process's control queue, where callers cancel requests. It is nil if the worker
// serves no requests.
func (w *Worker) control() *rabbit.Consumer {
	var requests []string
	for _, e := range w.endpoints {
		if e.spec.Kind == KindRequest {
			requests = append(requests, e.spec.Name)
		}
	}
	if len(requests) == 0 || w.conn.config.NoDeclare {
		return nil
	}
	n, instance := w.conn.names, w.conn.instanceFor("control."+w.Service().name)
	t := n.Control(w.Service().name, instance, requests...)
	return rabbit.NewConsumer(w.conn.publish, rabbit.ConsumerConfig{
		Queue: n.ControlQueue(w.Service().name, instance), Mode: rabbit.Broadcast, Tag: w.tag(), Logger: w.log,
		Setup: setup(w.conn.exclusive, t),
		Handle: func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement {
			w.calls.cancel(d.MessageId)
			return rabbit.Ack
		},
	})
}
