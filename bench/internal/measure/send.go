package measure

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/pkg/measure"
)

// firstID is the id of the message sent before the measurement. Receivers do not count it.
const firstID = "first"

// first is sent before the measurement, so that it does not include what a peer opens or declares with its first
// message.
func first(size int) *peers.Payload {
	p := peers.Payloads(size)(0)
	p.ID = firstID
	return p
}

// publish sends from one goroutine, without waiting for each confirm.
func (r *run) publish(ctx context.Context) (err error) {
	if r.peer.Pipeline == nil {
		return errNotOffered
	}
	p, err := r.peer.Pipeline(ctx, r.Setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	payload := peers.Payloads(r.Body)
	if err := errors.Join(p.Send(ctx, payload(0)), p.Flush(ctx)); err != nil {
		return fmt.Errorf("the first message: %w", err)
	}
	send := func(d time.Duration) (n int64, err error) {
		for until := time.Now().Add(d); err == nil && time.Now().Before(until); n++ {
			err = p.Send(ctx, payload(int(n)))
		}
		return n, errors.Join(err, p.Flush(ctx))
	}
	if _, err := send(r.Warm); err != nil {
		return err
	}
	if err := r.begin(); err != nil {
		return err
	}
	n, err := send(r.Duration)
	return errors.Join(err, r.end(n))
}

// waiters sends from N goroutines, each waiting for its confirm.
func (r *run) waiters(ctx context.Context) (err error) {
	if r.peer.Sender == nil {
		return errNotOffered
	}
	r.Setting.Senders = r.N
	s, err := r.peer.Sender(ctx, r.Setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	if err := s.Send(ctx, first(r.Body)); err != nil {
		return fmt.Errorf("the first message: %w", err)
	}
	return r.closedLoop(ctx, s.Send)
}

// call makes requests from N goroutines, each waiting for its reply.
func (r *run) call(ctx context.Context) (err error) {
	if r.peer.Caller == nil {
		return errNotOffered
	}
	r.Setting.Senders = r.N
	c, err := r.peer.Caller(ctx, r.Setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	if _, err := c.Call(ctx, first(r.Body)); err != nil {
		return fmt.Errorf("the first request: %w", err)
	}
	r.begun(0)
	if r.tap != nil {
		sampling := time.AfterFunc(r.Warm+r.Duration/2, func() { r.holds(r.N + 1) })
		defer sampling.Stop()
	}
	return r.closedLoop(ctx, func(ctx context.Context, p *peers.Payload) error {
		reply, err := c.Call(ctx, p)
		if err == nil && reply.ID != p.ID {
			err = fmt.Errorf("asked %s, answered %s", p.ID, reply.ID)
		}
		return err
	})
}

// closedLoop has N goroutines repeat an operation, and measures after the warm-up.
func (r *run) closedLoop(ctx context.Context, do func(context.Context, *peers.Payload) error) error {
	payload := peers.Payloads(r.Body)
	loop := measure.ClosedLoop{InFlight: r.N, Warm: r.Warm, For: r.Duration, Begin: r.begin, End: r.end}
	window, err := loop.Run(ctx, func(ctx context.Context, n int64) error { return do(ctx, payload(int(n))) })
	if err != nil {
		return err
	}
	return into(&r.result, window.Times)
}

// fill fills the queue by the peer's fastest method. All messages but the first are measured.
func (r *run) fill(ctx context.Context) (err error) {
	payload := peers.Payloads(r.Body)
	if r.Setting.RetryDelay > 0 && r.peer.PrepareRetry != nil {
		if err := r.peer.PrepareRetry(r.Setting); err != nil {
			return err
		}
		r.Setting.Declared = true
	}
	if r.peer.Pipeline != nil {
		p, err := r.peer.Pipeline(ctx, r.Setting)
		if err != nil {
			return err
		}
		err = errors.Join(p.Send(ctx, payload(0)), p.Flush(ctx), r.begin())
		for n := 1; err == nil && n < r.Messages; n++ {
			err = p.Send(ctx, payload(n))
		}
		if err == nil {
			err = errors.Join(p.Flush(ctx), r.end(int64(r.Messages-1)))
		}
		return errors.Join(err, p.Close(ctx))
	}
	if r.peer.Sender == nil {
		return errNotOffered
	}
	r.Setting.Senders = 64
	s, err := r.peer.Sender(ctx, r.Setting)
	if err != nil {
		return err
	}
	if err := errors.Join(s.Send(ctx, payload(0)), r.begin()); err != nil {
		return errors.Join(err, s.Close(ctx))
	}
	var next atomic.Int64
	errs := make([]error, r.Setting.Senders)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1))
				if n >= r.Messages {
					return
				}
				errs[i] = s.Send(ctx, payload(n))
			}
		})
	}
	all.Wait()
	return errors.Join(append(errs, r.end(int64(r.Messages-1)), s.Close(ctx))...)
}

// pause waits until the time is over or ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
