package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"
)

// reopened is a channel that is opened when it is first needed, and again when it is gone. T is what its owner makes of
// it to publish with: a pointer to what embeds it.
type reopened[T interface{ base() *Channel }] struct {
	conn *Conn
	// prepare makes a channel ready. One that it fails on is closed.
	prepare func(context.Context, *Channel) (T, error)

	current atomic.Pointer[T]
	turn    chan struct{} // held by the caller that opens
}

func newReopened[T interface{ base() *Channel }](conn *Conn, prepare func(context.Context, *Channel) (T, error)) *reopened[T] {
	return &reopened[T]{conn: conn, prepare: prepare, turn: make(chan struct{}, 1)}
}

// ready returns an open channel on which a message with a body of n bytes may be written now. Room for it is reserved:
// see [wire.reserve]. When the life of the owner who asks has ended, the error is the cause of that.
func (r *reopened[T]) ready(ctx, life context.Context, n int) (made T, err error) {
	if ctx.Err() != nil {
		return made, r.conn.notSent(ctx)
	}
	if last := r.current.Load(); last != nil {
		if ch := (*last).base(); ch.alive() && r.conn.trySendable(ch.session, n) {
			return *last, nil
		}
	}
	living, stop := either(ctx, life)
	defer stop()
	made, err = r.get(living)
	if err == nil {
		err = r.conn.sendable(living, made.base().session, n)
	}
	if err != nil && life.Err() != nil && ctx.Err() == nil {
		err = context.Cause(life)
	}
	return made, err
}

// get returns the open channel, or opens one.
func (r *reopened[T]) get(ctx context.Context) (made T, _ error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return made, r.conn.notSent(ctx)
	}
	if last := r.current.Load(); last != nil && (*last).base().alive() {
		return *last, nil
	}
	for failures := 0; ; failures++ {
		ch, err := r.conn.Channel(ctx)
		if err != nil {
			return made, err
		}
		if made, err = r.prepare(ctx, ch); err == nil {
			r.current.Store(&made)
			return made, nil
		}
		ch.close(ctx)
		switch e, ok := errors.AsType[*amqp.Error](err); {
		case ctx.Err() != nil:
			return made, r.conn.notSent(ctx)
		case ok && e.Code == amqp.ResourceLocked:
			// A queue still belongs to the connection that was lost, for as long as the broker does not know it.
			if r.conn.config.Backoff.wait(ctx, failures, nil) != nil {
				return made, fmt.Errorf("%w: %w: %w", ErrNotConnected, ended(ctx), err)
			}
		case ch.session.alive():
			return made, err
		}
	}
}

// drop has the next caller open another channel, if this is the last one. It does not close it.
func (r *reopened[T]) drop(ch *Channel) {
	if last := r.current.Load(); last != nil && (*last).base() == ch {
		r.current.CompareAndSwap(last, nil)
	}
}

// end shuts r, and closes the last channel.
func (r *reopened[T]) end(ctx context.Context) {
	r.shut()
	if last := r.current.Load(); last != nil {
		(*last).base().close(ctx)
	}
}

// shut keeps everybody from opening another channel, and returns what was made of the last one, if there was one.
func (r *reopened[T]) shut() (last T) {
	r.turn <- struct{}{}
	if p := r.current.Load(); p != nil {
		last = *p
	}
	return last
}
