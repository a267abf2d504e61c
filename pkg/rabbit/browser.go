package rabbit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A QueueState is what a broker knows of a queue at one moment.
type QueueState struct {
	// Ready is how many messages wait to be delivered; those that were delivered and are not settled do not count.
	Ready     int
	Consumers int
}

// Inspect asks for a queue, and changes nothing. It is [ErrNotFound] where there is none, and [ErrRefused] where this
// user may not ask, since RabbitMQ 4.3 wants the right to configure the queue for it, or where the queue is exclusive
// to another connection.
func (c *Conn) Inspect(ctx context.Context, queue string) (QueueState, error) {
	channel, state, err := c.inspect(ctx, queue)
	if err == nil {
		channel.close(ctx)
	}
	return state, err
}

// inspect returns the channel that it asked on, too.
func (c *Conn) inspect(ctx context.Context, queue string) (*Channel, QueueState, error) {
	channel, err := c.Channel(ctx)
	if err != nil {
		return nil, QueueState{}, err
	}
	state, err := channel.Inspect(ctx, queue)
	if err != nil {
		channel.close(ctx)
		return nil, QueueState{}, err
	}
	return channel, state, nil
}

func (ch *Channel) stateOf(queue string) (QueueState, error) {
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	return QueueState{Ready: q.Messages, Consumers: q.Consumers}, err
}

// denied gives a broker's refusal a name.
func denied(err error, queue string) error {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		switch {
		case notStarted(e):
			err = because(ErrNotConnected, err)
		case e.Code == amqp.NotFound:
			return fmt.Errorf("the queue %s: %w", queue, ErrNotFound)
		case e.Code == amqp.AccessRefused, e.Code == amqp.ResourceLocked: // the latter: exclusive to another connection
			return fmt.Errorf("the queue %s: %w: %s", queue, ErrRefused, lacking("read", e.Reason))
		}
	}
	return fmt.Errorf("the queue %s: %w", queue, err)
}

// notStarted reports whether the broker says that a queue is not there yet, or its node is down: a stream starts after its
// node. The texts are those of 3.10 to 4.3.
func notStarted(e *amqp.Error) bool {
	return slices.ContainsFunc([]string{"is down or inaccessible", "replica on the local node", "running local replica"},
		func(text string) bool { return strings.Contains(e.Reason, text) })
}

// Do makes a call of the driver that blocks until the broker has answered, while ctx lives. Its errors are those of
// [Conn.Inspect], about the queue, and [ErrNotConnected] where the channel was lost.
func (ch *Channel) Do(ctx context.Context, queue string, call func() error) error {
	_, err := ask(ctx, ch, queue, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// ask is Do for a call with a result.
func ask[T any](ctx context.Context, ch *Channel, queue string, call func() (T, error)) (T, error) {
	v, err := callOn(ctx, ch, call)
	switch {
	case err == nil:
		return v, nil
	case ctx.Err() == nil && errors.Is(err, amqp.ErrClosed):
		<-ch.life.Done() // in a moment
		err = context.Cause(ch.life)
	case ctx.Err() == nil && !ch.session.alive():
		err = because(ErrNotConnected, err)
	}
	return v, denied(err, queue)
}

const (
	// silentQueue is how long RabbitMQ waits for a quorum queue to say what it has. If the queue does not answer, as on a busy
	// disk, RabbitMQ says that it has no messages and no consumers (rabbit_quorum_queue:stat, 3.10 to 4.3).
	silentQueue = 250 * time.Millisecond
	// mostAsked is how often a queue is asked before such an answer is believed, which takes ten seconds.
	mostAsked = 40
)

// Inspect is [Conn.Inspect] on this channel, which an error closes.
func (ch *Channel) Inspect(ctx context.Context, queue string) (QueueState, error) {
	if len(queue) > 255 {
		return QueueState{}, fmt.Errorf("the queue %.20s…: %w: the name has %d bytes; AMQP allows 255", queue, ErrInvalid, len(queue))
	}
	for asked := 1; ; asked++ {
		began := time.Now()
		state, err := ask(ctx, ch, queue, func() (QueueState, error) { return ch.stateOf(queue) })
		quick := time.Since(began) < max(silentQueue, 2*time.Duration(ch.session.roundTrip.Load()))
		if err != nil || state != (QueueState{}) || quick || asked == mostAsked {
			return state, err
		}
	}
}

// Context returns a context that ends with ctx, and with the channel: from then on nothing can be acked. Its cause is
// [ErrNotConnected] then, and [ErrTookBack] where that is why. The function that it returns must be called.
func (ch *Channel) Context(ctx context.Context) (context.Context, func()) {
	return either(ctx, ch.life)
}

// A Browser takes the first message of a queue, and gives it back when it is closed, unless it was acked. It is not
// safe for concurrent use.
type Browser struct {
	channel *Channel
	queue   string
	first   QueueState
	taken   atomic.Bool
}

// Browse begins to take a message of a queue. Its errors are those of [Conn.Inspect]. The caller closes it.
func (c *Conn) Browse(ctx context.Context, queue string) (*Browser, error) {
	channel, state, err := c.inspect(ctx, queue)
	if err != nil {
		return nil, err
	}
	return &Browser{channel: channel, queue: queue, first: state}, nil
}

// State is how the queue was when the Browser began.
func (b *Browser) State() QueueState { return b.first }

// Get takes the next message; ok is false where there is none. It is called once.
func (b *Browser) Get(ctx context.Context) (d Delivery, ok bool, err error) {
	type got struct {
		delivery Delivery
		ok       bool
	}
	r, err := ask(ctx, b.channel, b.queue, func() (got, error) {
		d, ok, err := b.channel.Get(b.queue, false)
		if ok {
			b.taken.Store(true)
		}
		return got{d, ok}, err
	})
	return r.delivery, r.ok, err
}

// Handle calls handle with a delivery that Get returned, as a [Consumer] does, and blocks until it has returned or the
// delivery was abandoned. Ack is carried out; whatever else it returns leaves the delivery to Close.
func (b *Browser) Handle(ctx context.Context, d Delivery, handle func(context.Context, *Incoming) Settlement) (Settlement, error) {
	settled := make(chan Settlement, 2)
	in := &Incoming{
		Delivery: d, At: time.Now(), channel: b.channel, life: b.channel.life, abandon: func(*Incoming) {},
		settle: func(_ uint64, s Settlement) { settled <- s },
	}
	ctx, stop := in.Context(ctx)
	defer stop()
	go func() {
		if s := handle(ctx, in); s != 0 {
			settled <- s
		}
	}()
	settlement := <-settled
	if settlement != Ack {
		return settlement, nil
	}
	if err := b.channel.Ack(d.DeliveryTag, false); err != nil {
		return settlement, fmt.Errorf("ack a message of the queue %s: %w", b.queue, err)
	}
	b.taken.Store(false)
	return settlement, nil
}

// Close gives back what was taken and not acked, within some seconds, though ctx has ended. It is [ErrNotConnected]
// where the connection was lost before: the message is back by then.
//
// Giving back counts as a return before RabbitMQ 4.3, against the delivery limit of the queue; closing the channel
// without it would count on 4.3, too.
func (b *Browser) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := b.channel.Do(ctx, b.queue, func() error { // behind a Get whose caller has gone
		if b.channel.IsClosed() {
			return amqp.ErrClosed
		}
		if !b.taken.Load() {
			return nil
		}
		return b.channel.Nack(0, true, true) // 0: all that are not settled
	})
	b.channel.close(ctx)
	if err != nil {
		return fmt.Errorf("give back messages of the queue %s: %w", b.queue, err)
	}
	return nil
}

// IsStream reports whether a queue is a stream, as far as the broker lets one look: it has no answer to that, but closes a
// connection that gets a message of a stream. So it is tried over a connection apart, from which other queues have their
// message back at once.
func (c *Conn) IsStream(ctx context.Context, queue string) (bool, error) {
	conn, leave, err := c.apart(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	b, err := conn.Browse(ctx, queue)
	if err == nil {
		_, _, err = b.Get(ctx)
	}
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Code == amqp.NotImplemented {
		return true, nil
	}
	return false, err
}
