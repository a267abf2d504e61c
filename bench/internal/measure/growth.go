package measure

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

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
			if r.tap != nil && which == "first" {
				r.result.Start = r.tap.Count()
			}
			close(ready)
		}
		var held <-chan struct{} = ready
		if r.tap != nil {
			held = r.holding(ctx, ready)
		}
		err := r.working(ctx, r.peer.Work, held, func(context.Context, *peers.Payload) error { return nil })
		if err != nil {
			return err
		}
	}
	return r.end(1)
}

// holding notes what the workers hold when they have been ready for a moment: what they opened to begin with is closed. Then
// it closes what it has returned.
func (r *run) holding(ctx context.Context, ready <-chan struct{}) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !wait(ctx, ready) {
			return
		}
		before := r.tap.Count()
		for same := 0; same < 5 && ctx.Err() == nil; same++ {
			pause(ctx, 100*time.Millisecond)
			now := r.tap.Count()
			if now.Connections != before.Connections || now.Channels != before.Channels {
				same = 0
			}
			before = now
		}
		r.result.Start.Connections, r.result.Start.Channels = before.Connections, before.Channels
		r.holds(r.workers() + 1)
	}()
	return done
}

// workers returns how many goroutines run workers.
func (r *run) workers() int {
	if r.Workers <= 1 {
		return 1
	}
	return r.Workers + 1
}

// sends measures how long a client takes from nothing until it has sent a message to each queue, and what it holds then;
// and sending from N goroutines.
func (r *run) sends(ctx context.Context) (err error) {
	if r.peer.Sender == nil {
		return errNotOffered
	}
	r.Setting.Senders = r.N
	began := time.Now()
	s, err := r.peer.Sender(ctx, r.Setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	payload := peers.Payloads(r.Body)
	for n := range max(1, len(r.Setting.Queues)) {
		if err := s.Send(ctx, payload(n)); err != nil {
			return err
		}
	}
	r.result.Extra = map[string]float64{"first": time.Since(began).Seconds()}
	r.begun(0)
	if err := r.begin(); err != nil {
		return err
	}
	var next atomic.Int64
	senders, sending := errgroup.WithContext(ctx)
	for range r.N {
		senders.Go(func() error {
			for {
				n := int(next.Add(1)) - 1
				if n >= r.Messages {
					return nil
				}
				if err := s.Send(sending, payload(n)); err != nil {
					return err
				}
			}
		})
	}
	return errors.Join(senders.Wait(), r.end(int64(r.Messages)))
}

// through sends messages from 64 goroutines and handles them in the same process, over as many queues as the setting has.
// If it is tapped, it sends one message to each queue before it counts, so that each message that is counted is counted
// whole: the queues may grow while it sends.
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
	if r.tap != nil {
		r.Skip = max(1, len(r.Setting.Queues))
	}
	payload := peers.Payloads(r.Body)
	var next, handled atomic.Int64
	done, consuming, begun := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var broken error
	r.ready = sync.OnceFunc(func() { close(consuming) })
	errs := make([]error, r.Setting.Senders)
	send := func(i, most int) {
		for errs[i] == nil {
			n := int(next.Add(1)) - 1
			if n >= most {
				return
			}
			errs[i] = s.Send(ctx, payload(n))
		}
	}
	var senders sync.WaitGroup
	for i := range errs {
		senders.Go(func() {
			if !wait(ctx, consuming) {
				return
			}
			if r.tap != nil {
				if i == 0 {
					send(i, r.Skip)
					next.Store(int64(r.Skip))
				}
				if !wait(ctx, begun) {
					return
				}
			}
			send(i, r.Messages)
		})
	}
	err = r.working(ctx, r.peer.Work, done, func(context.Context, *peers.Payload) error {
		switch handled.Add(1) {
		case int64(r.Skip):
			broken = r.begin()
			close(begun)
		case int64(r.Messages):
			broken = errors.Join(broken, r.end(int64(r.Messages-r.Skip)))
			close(done)
		}
		return nil
	})
	senders.Wait()
	return errors.Join(append(errs, err, broken)...)
}

// wait waits for something, and reports whether it happened before ctx ended.
func wait(ctx context.Context, what <-chan struct{}) bool {
	select {
	case <-what:
		return true
	case <-ctx.Done():
		return false
	}
}
