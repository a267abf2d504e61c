package leveret

import (
	"context"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A queue can belong to one process, and go with its connection: see [SubscribesPerProcess] and [Address].

// anew returns what the consumer of such a queue calls before it registers: it declares the queue, as nobody else can, and
// has the process read what it may have missed while it had none.
func (w *Worker) anew(mates []*endpoint, needed topology.Topology) func(context.Context, bool) error {
	return func(ctx context.Context, missing bool) error {
		if missing {
			w.conn.declarer.Forget(needed)
		}
		if err := w.conn.declarer.Declare(ctx, needed); err != nil {
			return err
		}
		for _, e := range mates {
			if e.fresh == nil {
				continue
			}
			reload := recovered(func(ctx context.Context, _ *Message) error { return e.fresh(ctx) })
			if err := reload(ctx, nil); err != nil {
				return fmt.Errorf("OnFresh of %s: %w", e.spec.Name, err)
			}
		}
		return nil
	}
}

// deleteTimeout is how long deleting a queue may take.
const deleteTimeout = 5 * time.Second

// deleteOwn deletes the queues of this process's own when nobody takes from them any more: the connection may live on.
func (w *Worker) deleteOwn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	for _, e := range w.endpoints {
		if !e.exclusive || w.conn.consume.State().Phase != rabbit.Connected { // they went with the connection
			continue
		}
		ch, err := w.conn.consume.Channel(ctx)
		if err == nil {
			err = ch.Do(ctx, e.queue, func() error {
				_, err := ch.QueueDelete(e.queue, false, false, false)
				return err
			})
			_ = ch.Close()
		}
		if err != nil {
			w.log.DebugContext(ctx, "a queue of this process's own was not deleted; it goes with the connection", "queue", e.queue, "error", err)
		}
	}
}
