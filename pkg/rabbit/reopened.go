package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"
)

// reopened is a channel that is opened when it is first needed, and again when it is gone. C is built on a [Channel].
type reopened[C any, P builtOn[C]] struct {
	conn *Conn
	life context.Context //nolint:containedctx // of the owner: there are no more channels after it
	over error           // what ready returns then
	// open makes a channel ready. The one before is nil the first time. A channel that it fails on is closed.
	open func(ctx context.Context, ch *Channel, last P) (P, error)

	current atomic.Pointer[C]
	turn    chan struct{} // held by the caller that opens
}

type builtOn[C any] interface {
	*C
	usable() bool
	base() *Channel
}

// usable reports whether the channel can be written to.
func (ch *Channel) usable() bool { return ch.alive() }

func (ch *Channel) base() *Channel { return ch }

// ready returns an open channel on which n bytes may be written now. They are reserved: see [wire.reserve].
func (r *reopened[C, P]) ready(ctx context.Context, n int) (P, error) {
	if ctx.Err() != nil {
		return nil, r.conn.notSent(ctx)
	}
	if ch := P(r.current.Load()); ch != nil && ch.usable() && r.conn.trySendable(ch.base().session, n) {
		return ch, nil
	}
	living, stop := either(ctx, r.life)
	defer stop()
	ch, err := r.get(living)
	if err == nil {
		err = r.conn.sendable(living, ch.base().session, n)
	}
	if err != nil && living.Err() != nil && ctx.Err() == nil {
		err = r.over
	}
	return ch, err
}

// get returns the open channel, or opens one.
func (r *reopened[C, P]) get(ctx context.Context) (P, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, r.conn.notSent(ctx)
	}
	last := P(r.current.Load())
	if last != nil && last.usable() {
		return last, nil
	}
	for failures := 0; ; failures++ {
		ch, err := r.conn.Channel(ctx)
		if err != nil {
			return nil, err
		}
		opened, err := r.open(ctx, ch, last)
		if err == nil {
			r.current.Store(opened)
			return opened, nil
		}
		ch.close(ctx)
		switch e, ok := errors.AsType[*amqp.Error](err); {
		case ctx.Err() != nil:
			return nil, r.conn.notSent(ctx)
		case ok && e.Code == amqp.ResourceLocked:
			// A queue still belongs to the connection that was lost, for as long as the broker does not know it.
			if r.conn.pause(ctx, failures) != nil {
				return nil, fmt.Errorf("%w: %w: %w", ErrNotConnected, ended(ctx), err)
			}
		case ch.session.alive():
			return nil, err
		}
	}
}

// shut keeps everybody from opening another channel, and returns the last one; nil if there was none.
func (r *reopened[C, P]) shut() P {
	r.turn <- struct{}{}
	return r.current.Load()
}
