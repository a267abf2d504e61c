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
	times := &measure.Histogram{}
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
			times.Record(late)
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
	return into(&r.result, times)
}

// sendAtRate sends messages, each at its time. When as many as may wait for their confirms do, messages are sent late,
// with the time at which they should have been.
func (r *run) sendAtRate(ctx context.Context, total int64) (err error) {
	s, err := r.peer.Sender(ctx, r.Setting)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	if err := s.Send(ctx, first(r.Body)); err != nil {
		return fmt.Errorf("the first message: %w", err)
	}
	var once sync.Once
	var failed error // the first
	payload := peers.Payloads(r.Body)
	loop := measure.OpenLoop{Rate: float64(r.Rate), Operations: int(total), MaxInFlight: latencySenders}
	err = loop.Run(ctx, func(n int, due time.Time) {
		p := payload(n)
		p.At = due.UnixNano()
		if err := s.Send(ctx, p); err != nil {
			once.Do(func() { failed = err })
		}
	})
	return errors.Join(failed, err, ctx.Err())
}
