package measure

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/bench/internal/peers"
)

// startup measures how long a worker takes from nothing to consuming all its queues: the first time, when everything is
// declared, and the second time, when it exists.
func (r *run) startup(ctx context.Context) error {
	if r.peer.Work == nil {
		return errNotOffered
	}
	if err := r.begin(); err != nil {
		return err
	}
	r.result.Extra = make(map[string]float64)
	for _, which := range []string{"first", "again"} {
		began := time.Now()
		ready := make(chan struct{})
		r.ready = func() {
			r.result.Extra[which] = time.Since(began).Seconds()
			close(ready)
		}
		err := r.working(ctx, r.peer.Work, ready, func(context.Context, *peers.Payload) error { return nil })
		if err != nil {
			return err
		}
	}
	return r.end(1)
}

// through sends messages from 64 goroutines and handles them in the same process, over as many queues as the setting
// has.
func (r *run) through(ctx context.Context) (err error) {
	if r.peer.Sender == nil || r.peer.Work == nil {
		return errNotOffered
	}
	r.Setting.Senders = 64
	s, err := r.peer.Sender(ctx, r.Setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	payload := peers.Payloads(r.Body)
	var next, handled atomic.Int64
	done, consuming := make(chan struct{}), make(chan struct{})
	var broken error
	r.ready = sync.OnceFunc(func() { close(consuming) })
	errs := make([]error, r.Setting.Senders)
	var senders sync.WaitGroup
	for i := range errs {
		senders.Go(func() {
			select {
			case <-consuming:
			case <-ctx.Done():
				return
			}
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= r.Messages {
					return
				}
				errs[i] = s.Send(ctx, payload(n))
			}
		})
	}
	err = r.working(ctx, r.peer.Work, done, func(context.Context, *peers.Payload) error {
		switch handled.Add(1) {
		case int64(r.Skip):
			broken = r.begin()
		case int64(r.Messages):
			broken = errors.Join(broken, r.end(int64(r.Messages-r.Skip)))
			close(done)
		}
		return nil
	})
	senders.Wait()
	return errors.Join(append(errs, err, broken)...)
}
