package leveret

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// errCallerGone is the cause of a handler's context that ends because its caller has given up.
var errCallerGone = errors.New("the caller has given up")

// calls are the requests that are here, so that their callers can call them off. They are known by their correlation
// ids, since a later call under the same message id is another one.
type calls struct {
	mu sync.Mutex
	// By correlation id. Several may have the same one: a caller that lost its connection calls again.
	running map[string][]*call
	// When the latest calls were called off, which may have been before they were begun. By correlation id, too.
	gone map[string]time.Time
}

// Calls that were called off are remembered for goneFor, and no more than maxGone of them.
const (
	goneFor = time.Minute
	maxGone = 20_000
)

// call is one request that is being handled.
type call struct{ cancel context.CancelCauseFunc }

// begin returns a context that cancel ends, or has ended. A message without an id cannot be called off.
func (c *calls) begin(ctx context.Context, id string) (_ context.Context, done func()) {
	if id == "" {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	this := &call{cancel}
	c.mu.Lock()
	defer c.mu.Unlock()
	if since, gone := c.gone[id]; gone && time.Since(since) < goneFor {
		cancel(errCallerGone)
	}
	c.running[id] = append(c.running[id], this)
	return ctx, func() {
		c.mu.Lock()
		others := slices.DeleteFunc(c.running[id], func(other *call) bool { return other == this })
		if c.running[id] = others; len(others) == 0 {
			delete(c.running, id)
		}
		c.mu.Unlock()
		cancel(nil)
	}
}

func (c *calls) cancel(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, running := range c.running[id] {
		running.cancel(errCallerGone)
	}
	if len(c.gone) == maxGone {
		clear(c.gone)
	}
	c.gone[id] = time.Now()
}

// control returns what this process's control queue needs, where callers cancel requests. It is empty if the worker
// serves no requests but those of somebody else's queues, which nobody calls off.
func (w *Worker) control() topology.Topology {
	var requests []string
	for _, c := range w.Service().Contracts(RoleAnswers) {
		if spec := c.Spec(); !spec.external() {
			requests = append(requests, spec.Name)
		}
	}
	if len(requests) == 0 {
		return topology.Topology{}
	}
	t := w.conn.names.Control(w.Service().name, w.conn.uniqueInstance(), requests...)
	w.conn.declarer.MayRename(t.Queues[0].Name)
	if w.conn.config.NoDeclare {
		t = t.Own()
	}
	return t
}

// listen hears what comes to the control queue until ctx ends. It gives up at once where others declare everything and
// have not given this user the right to such a queue: then a request is handled although its caller has gone.
func (w *Worker) listen(ctx context.Context, t topology.Topology) {
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	declare := w.setup(t)
	c := rabbit.NewConsumer(w.conn.consume, rabbit.ConsumerConfig{
		Queue: t.Queues[0].Name, Name: func() string { return w.conn.declarer.Name(t.Queues[0].Name) }, Tag: w.tag(), Logger: w.log,
		Setup: func(ctx context.Context, missing bool) error {
			err := declare(ctx, missing)
			if refused := errors.Join(err, w.conn.declarer.Missing(t)); w.conn.config.NoDeclare && errors.Is(refused, rabbit.ErrRefused) {
				w.log.InfoContext(ctx, "requests go on when their callers have gone: no control queue", "reason", refused)
				giveUp()
			}
			return err
		},
		Handle: func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement {
			w.calls.cancel(d.CorrelationId)
			return rabbit.Ack
		},
	})
	_ = c.Run(ctx)
}
