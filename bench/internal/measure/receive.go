package measure

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/pkg/measure"
)

type worker func(ctx context.Context, s peers.Setting, ready func(), h peers.Handler) error

// consume consumes messages from a queue that was filled before. "first" is how long it took until one was handled.
func (r *run) consume(ctx context.Context) error {
	if r.peer.Work == nil {
		return errNotOffered
	}
	var handled atomic.Int64
	done := make(chan struct{})
	var broken error
	began := time.Now()
	err := r.working(ctx, r.peer.Work, done, func(ctx context.Context, p *peers.Payload) error {
		if r.Work > 0 {
			time.Sleep(r.Work)
		}
		n := handled.Add(1)
		if n == 1 {
			r.result.Extra = map[string]float64{"first": time.Since(began).Seconds()}
		}
		switch n {
		case int64(r.Skip):
			broken = r.begin()
		case int64(r.Messages):
			broken = errors.Join(broken, r.end(int64(r.Messages-r.Skip)))
			close(done)
		}
		return nil
	})
	if err := errors.Join(err, broken); err != nil || r.Leave {
		return err
	}
	return r.settled(ctx)
}

// lastAcks is how long a worker has to ack its last messages before it is stopped, since not all peers wait for that.
const lastAcks = 200 * time.Millisecond

// working runs a worker until done is closed or the child is stopped.
func (r *run) working(ctx context.Context, work worker, done <-chan struct{}, h peers.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	finished := false
	ended := make(chan error, 1)
	go func() { ended <- several(work, r.Workers)(ctx, r.Setting, sync.OnceFunc(r.ready), h) }()
	toEnd := 15*time.Second + time.Duration(r.Workers)*200*time.Millisecond
	select {
	case <-done:
		finished = true
		pause(ctx, lastAcks)
	case <-r.stop:
	case err := <-ended:
		if err == nil {
			err = errors.New("the worker ended before its time")
		}
		return err
	}
	cancel()
	select {
	case err := <-ended:
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	case <-time.After(toEnd):
		note := fmt.Sprintf("the worker did not end within %v", toEnd)
		if finished { // the measurement is valid, and the worker ends with the process
			r.result.Note = note
			return nil
		}
		return errors.New(note)
	}
}

// several returns a worker that consists of n, each with connections of its own. It is ready when all are.
func several(work worker, n int) worker {
	if n <= 1 {
		return work
	}
	return func(ctx context.Context, s peers.Setting, ready func(), h peers.Handler) error {
		var waiting atomic.Int64
		waiting.Store(int64(n))
		group, ctx := errgroup.WithContext(ctx)
		for range n {
			group.Go(func() error {
				return work(ctx, s, sync.OnceFunc(func() {
					if waiting.Add(-1) == 0 {
						ready()
					}
				}), h)
			})
		}
		return group.Wait()
	}
}

// settled checks that handled messages were acked, so that none are left in the queue.
func (r *run) settled(ctx context.Context) error {
	conn, err := amqp.Dial(r.Setting.URL)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	for until := time.Now().Add(10 * time.Second); ; pause(ctx, 10*time.Millisecond) {
		q, err := ch.QueueDeclarePassive(r.Setting.Queue, true, false, false, false, nil)
		if err != nil {
			return err
		}
		if q.Messages == 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d messages were handled, but are still in the queue", q.Messages)
		}
	}
}

// retry fails each message once and measures until all have come back.
func (r *run) retry(ctx context.Context) error {
	if r.peer.Retry == nil {
		return errNotOffered
	}
	var mu sync.Mutex
	failedAt := make(map[string]time.Time, r.Messages)
	left := r.Messages
	times := &measure.Histogram{}
	done := make(chan struct{})
	var broken error
	err := r.working(ctx, r.peer.Retry, done, func(ctx context.Context, p *peers.Payload) error {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		before, again := failedAt[p.ID]
		if !again {
			if len(failedAt) == 0 {
				broken = r.begin()
			}
			failedAt[p.ID] = now
			return errors.New("fails the first time")
		}
		times.Record(now.Sub(before) - r.Setting.RetryDelay)
		if left--; left == 0 {
			broken = errors.Join(broken, r.end(int64(r.Messages)))
			r.result.Seconds -= r.Setting.RetryDelay.Seconds()
			close(done)
		}
		return nil
	})
	if err := errors.Join(err, broken); err != nil {
		return err
	}
	if err := r.settled(ctx); err != nil {
		return err
	}
	return into(&r.result, times)
}

// serve answers requests until the child is stopped.
func (r *run) serve(ctx context.Context) error {
	if r.peer.Serve == nil {
		return errNotOffered
	}
	var answered atomic.Int64
	if err := r.begin(); err != nil {
		return err
	}
	serve := func(ctx context.Context, s peers.Setting, ready func(), _ peers.Handler) error {
		return r.peer.Serve(ctx, s, ready, func(_ context.Context, p *peers.Payload) (*peers.Payload, error) {
			answered.Add(1)
			return p, nil
		})
	}
	return errors.Join(r.working(ctx, serve, nil, nil), r.end(answered.Load()))
}

// drain holds messages until the mark, then handles them until the child is stopped. It measures from the mark to the last
// message, which may be before the stop if the queue has run empty.
func (r *run) drain(ctx context.Context) error {
	if r.peer.Work == nil {
		return errNotOffered
	}
	var handled, last atomic.Int64
	measured := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		select {
		case <-r.mark:
		case <-r.stop:
			measured <- errors.New("stopped before anything was measured")
			return
		}
		err := r.begin()
		close(begun)
		<-r.stop
		err = errors.Join(err, r.end(handled.Load()))
		r.result.Seconds = time.Duration(last.Load()).Seconds()
		measured <- err
	}()
	err := r.working(ctx, r.peer.Work, nil, func(context.Context, *peers.Payload) error {
		select {
		case <-begun:
		case <-r.stop:
			return nil
		}
		time.Sleep(r.Task.Work)
		handled.Add(1)
		last.Store(int64(time.Since(r.started)))
		return nil
	})
	if err != nil {
		return err
	}
	return <-measured
}
