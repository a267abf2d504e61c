package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// A trial is where the publishers of a lane publish what may cost the connection: one message at a time, over a
// connection that nothing else uses. It is made for the first message, and closed after the last that waits.
type trial struct {
	turn    chan struct{} // held by the one message that is published
	limit   time.Duration // how long that may take
	waiting atomic.Int32  // how many want a turn or have it

	channel *publishing // nil while there is no connection; it belongs to the holder of turn
	leave   func()      // closes the connection
}

// trialTime is how long one message may take.
const trialTime = 10 * time.Second

// alone publishes a suspect over a connection apart. What happens there, it has caused. A flight that is not settled
// when it returns, though ctx lives, has done no harm in its time: others must not wait for one whose queue does not
// answer. Or there was no such connection: then the error is an errNotApart.
func (p *Publisher) alone(ctx context.Context, f *flight) (settled bool, err error) {
	t, closing := &p.lane.trial, p.closing
	if !f.written {
		closing = nil // Close waits for it
	}
	t.waiting.Add(1)
	defer t.left(ctx)
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return false, because(ErrUnconfirmed, ended(ctx))
	case <-closing:
		return true, errUnconfirmedAtClose
	}
	defer func() {
		if err != nil { // which may have cost the connection
			t.end(ctx)
		}
	}()
	if err := p.depart(ctx); err != nil {
		if errors.Is(err, errNotApart) && ctx.Err() == nil && p.closed.Err() == nil {
			return false, err
		}
		return ctx.Err() == nil, f.interrupted(ctx, err)
	}
	ctx, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	if err := p.write(ctx, t.channel, f); err != nil {
		return ctx.Err() == nil, err
	}
	return p.follow(ctx, t.channel, f)
}

// depart makes the connection apart, unless there is one, as soon as the shared one is back.
func (p *Publisher) depart(ctx context.Context) error {
	t := &p.lane.trial
	if t.channel != nil {
		return nil
	}
	ctx, stop := either(ctx, p.closed)
	defer stop()
	if err := p.conn.Await(ctx); err != nil {
		return err
	}
	conn, leave, err := p.conn.apart(ctx)
	if err == nil {
		t.channel, t.leave = newPublishing(conn), leave
	}
	return err
}

// left is called when a message has had its turn, or wants it no more. The last one closes the connection.
func (t *trial) left(ctx context.Context) {
	if t.waiting.Add(-1) > 0 {
		return
	}
	t.turn <- struct{}{}
	if t.waiting.Load() == 0 {
		t.end(ctx)
	}
	<-t.turn
}

// end closes the connection, if there is one. Its caller holds turn.
func (t *trial) end(ctx context.Context) {
	if t.channel != nil {
		t.channel.end(ctx)
		t.leave()
		t.channel = nil
	}
}

// maxUnproven is how many replies may wait to be sent apart, and maxUnprovenSize how many bytes of them.
const maxUnproven, maxUnprovenSize = 4096, 64 << 20

// A replier sends replies that may cost the connection, over one apart.
type replier struct {
	*Publisher
	room *semaphore.Weighted // bytes that may wait
}

func newReplier(c *Conn) *replier {
	return &replier{newPublisher(c, PublisherConfig{MaxInFlight: maxUnproven}, new(pool[*lane])), semaphore.NewWeighted(maxUnprovenSize)}
}

// send sends a reply, and calls taken when the broker has taken it. It does not block: the error is why m will not be
// sent. What becomes of it later is only logged.
func (r *replier) send(m *Publication, taken func()) error {
	n := int64(len(m.Body))
	switch {
	case r.refuses.Load():
		return errPublisherClosed
	case !r.room.TryAcquire(n):
		return errManyUnproven
	case !r.tryAcquire():
		r.room.Release(n)
		return errManyUnproven
	}
	go func() {
		defer r.room.Release(n)
		ctx, cancel := context.WithTimeout(r.closed, trialTime)
		defer cancel()
		f := &flight{Publication: m}
		settled, err := r.alone(ctx, f)
		if err == nil {
			taken()
		} else {
			r.conn.config.Logger.Warn("a reply was not sent", "reply_to", fmt.Sprintf("%.60q", m.RoutingKey), "error", err)
		}
		if settled || f.confirm == nil {
			r.release()
		} else {
			r.abandon(f)
		}
	}()
	return nil
}

var errManyUnproven = fmt.Errorf("%w: too many replies wait already that may cost their connection", ErrBlocked)
