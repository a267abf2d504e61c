package rabbit

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// flight is one publish on its way.
type flight struct {
	*Publication
	channel *confirmChannel
	number  uint64 // among the channel's mandatory ones
	confirm *amqp.DeferredConfirmation
	// returned is set, under the channel's lock, when the broker could not route the message.
	returned *amqp.Return
	// written says that bytes may have reached the broker, on this channel or an earlier one.
	written bool
	// suspect says that the flight was there when the broker closed its channel or connection because of some message, and
	// spared counts how often that was because of an exchange that is not its own.
	suspect bool
	spared  int
	counted bool // among those in flight on its channel
	// done is a pipeline's, and may be nil.
	done func(error) error
}

// interrupted is the error of a flight that did not get to be written (again).
func (f *flight) interrupted(ctx context.Context, err error) error {
	if !f.written {
		return err
	}
	if ctx.Err() != nil {
		return because(ErrUnconfirmed, ended(ctx))
	}
	return fmt.Errorf("%w: %v", ErrUnconfirmed, err) //nolint:errorlint // err says that nothing was sent
}

// answered reports whether the confirm of what was written last has come, or its channel has closed.
func (f *flight) answered() bool {
	select {
	case <-f.confirm.Done():
		return true
	default:
		return false
	}
}

// outcome judges a flight that was answered; one that shared its connection, or was alone there.
func (f *flight) outcome(shared bool) (again bool, err error) {
	confirmed := f.confirm.Acked()
	returned := f.channel.settle(f)
	switch {
	case confirmed && returned != nil:
		return false, unroutable(returned)
	case confirmed:
		return false, nil
	case !f.channel.IsClosed():
		f.channel.nacked()
		return false, fmt.Errorf("%w: it was nacked, as a full queue does, or one without a majority of its nodes", ErrNacked)
	}
	if reason := f.channel.exception(); reason != nil {
		if err := exception(reason, f.Publication); err != nil {
			return false, err
		}
		switch {
		case !shared:
			return false, blamed(reason)
		case f.spared < maxSpared && namesExchange(reason): // which exception knows not to be this one
			f.spared++
			return true, nil
		case f.suspect: // it could not be published alone, and may be innocent
			return false, because(ErrUnconfirmed, reason)
		}
		f.suspect = true
	}
	return true, nil
}

// renewed is how long a channel is kept at least before a nack has it replaced. A full queue nacks each message.
const renewed = time.Second

// confirmChannel is a channel in confirm mode that finds out which messages were returned.
type confirmChannel struct {
	*Channel
	opened  time.Time
	replace func() // has the next publish open another channel

	flights atomic.Int64 // that are not settled
	leaving atomic.Bool  // nothing more is published on it

	mu      sync.Mutex
	pending map[uint64]*flight // the mandatory ones, by number
	last    uint64             // number
}

// newConfirmChannel makes a channel ready. On the wire a return comes before its confirm, and the driver hands them on in
// that order. It hands each return to both Go channels in turn, and waits: so before it goes on to the confirm, the return
// has found its flight.
func newConfirmChannel(ctx context.Context, ch *Channel) (*confirmChannel, error) {
	if err := doOn(ctx, ch, func() error { return ch.Confirm(false) }); err != nil {
		return nil, err
	}
	c := &confirmChannel{Channel: ch, opened: time.Now(), replace: func() {}, pending: make(map[uint64]*flight, 64)}
	returns, matched := ch.NotifyReturn(make(chan amqp.Return)), ch.NotifyReturn(make(chan amqp.Return))
	go func() {
		for r := range returns {
			for again := true; again; { // the driver waits for five seconds, not longer
				c.match(&r)
				select {
				case <-matched:
					again = false
				case r, again = <-returns:
				}
			}
		}
	}()
	return c, nil
}

// publish writes the message, for which room was reserved. It never blocks on the network. Its errors are those of
// [Channel.write].
func (c *confirmChannel) publish(f *flight) error {
	defer c.session.wire.release(len(f.Body))
	f.channel, f.returned, f.counted = c, nil, true
	c.flights.Add(1)
	if c.leaving.Load() {
		c.settle(f)
		return amqp.ErrClosed
	}
	if f.Mandatory { // its return may come at any time from now on
		c.mu.Lock()
		c.last++
		f.number = c.last
		c.pending[f.number] = f
		c.mu.Unlock()
	}
	confirm, err := c.write(context.Background(), f.Publication) // there is no call here to wait for
	if err != nil {
		c.settle(f)
		return err
	}
	f.confirm = confirm
	return nil
}

// settle forgets a flight whose confirm has come, and returns the return of its message, if there was one.
func (c *confirmChannel) settle(f *flight) *amqp.Return {
	if f.counted {
		f.counted = false
		c.flights.Add(-1)
		c.leave()
	}
	if !f.Mandatory {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, f.number)
	return f.returned
}

// nacked has another channel take over. What a channel of RabbitMQ 3.10 knows of a queue can be wrong for ever: one that
// was opened while the queue's leader was lost nacks each message for it.
func (c *confirmChannel) nacked() {
	if time.Since(c.opened) >= renewed && !c.leaving.Swap(true) {
		c.replace()
		c.leave()
	}
}

// leave closes a channel that was replaced, once all that was published on it has its outcome.
func (c *confirmChannel) leave() {
	if c.leaving.Load() && c.flights.Load() == 0 {
		go c.close(context.Background())
	}
}

// match marks the flight of a message that has come back. Of several that look alike it takes the oldest, since returns
// come in order.
func (c *confirmChannel) match(r *amqp.Return) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var oldest *flight
	for _, f := range c.pending {
		if f.returned == nil && f.MessageId == r.MessageId && f.Exchange == r.Exchange && f.RoutingKey == r.RoutingKey &&
			(oldest == nil || f.number < oldest.number) && bytes.Equal(f.Body, r.Body) {
			oldest = f
		}
	}
	if oldest != nil {
		oldest.returned = r
	}
}

// unroutable describes a returned message.
func unroutable(r *amqp.Return) error {
	if r.ReplyCode != amqp.NoRoute {
		return fmt.Errorf("%w: %d %s", ErrUnroutable, r.ReplyCode, r.ReplyText)
	}
	return fmt.Errorf("%w: no queue is bound to the exchange %q for the routing key %q", ErrUnroutable, r.Exchange, r.RoutingKey)
}
