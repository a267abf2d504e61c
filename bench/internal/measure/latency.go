package measure

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/bench/internal/peers"
)

// latencySenders is how many publishes can wait for their confirms at once.
const latencySenders = 256

// latency sends at a fixed rate and measures until each message is handled, from the moment at which it should have
// been sent: a sender that falls behind is charged for that (coordinated omission).
func (r *run) latency(ctx context.Context) (err error) {
	if r.peer.Sender == nil || r.peer.Work == nil {
		return errNotOffered
	}
	r.Setting.Senders = latencySenders
	warm := int64(r.Warm.Seconds() * float64(r.Rate))
	total := warm + int64(r.Duration.Seconds()*float64(r.Rate))
	times := newHistogram()
	var handled atomic.Int64
	done, consuming, sent := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var broken error
	r.ready = sync.OnceFunc(func() { close(consuming) })
	go func() {
		select {
		case <-consuming:
			sent <- r.sendAtRate(ctx, total)
		case <-ctx.Done():
			sent <- ctx.Err()
		}
	}()
	overdue := time.AfterFunc(r.Warm+3*r.Duration+30*time.Second, func() { close(done) })
	err = r.working(ctx, r.peer.Work, done, func(_ context.Context, p *peers.Payload) error {
		late := time.Since(time.Unix(0, p.At))
		if p.ID == firstID {
			return nil
		}
		n := handled.Add(1)
		switch {
		case n < warm:
		case n == warm:
			broken = r.begin()
		default:
			times.record(late)
		}
		if n == total {
			broken = errors.Join(broken, r.end(total-warm))
			if overdue.Stop() {
				close(done)
			}
		}
		return nil
	})
	if n := handled.Load(); err == nil && n < total {
		err = fmt.Errorf("only %d of %d messages arrived in time", n, total)
	}
	if err := errors.Join(err, broken, <-sent); err != nil {
		return err
	}
	return times.into(&r.result)
}

// sendAtRate hands messages to senders, each at its time. When all of them wait, messages are sent late, with the time
// at which they should have been.
func (r *run) sendAtRate(ctx context.Context, total int64) (err error) {
	s, err := r.peer.Sender(ctx, r.Setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	if err := s.Send(ctx, first(r.Body)); err != nil {
		return fmt.Errorf("the first message: %w", err)
	}
	due := make(chan *peers.Payload, total)
	errs := make([]error, latencySenders)
	var senders sync.WaitGroup
	for i := range errs {
		senders.Go(func() {
			for p := range due {
				if errs[i] == nil {
					errs[i] = s.Send(ctx, p)
				}
			}
		})
	}
	payload := peers.Payloads(r.Body)
	every := time.Second / time.Duration(r.Rate)
	start := time.Now()
	runtime.LockOSThread()
	for n := range total {
		at := start.Add(time.Duration(n) * every)
		for wait := time.Until(at); wait > 0; wait = time.Until(at) {
			exactly(wait)
		}
		p := payload(int(n))
		p.At = at.UnixNano()
		due <- p
	}
	runtime.UnlockOSThread()
	close(due)
	senders.Wait()
	return errors.Join(errs...)
}
