package rabbit

import (
	"context"
	"errors"
	"fmt"
	mathbits "math/bits"
	"sync"
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
	if len(queue) > 255 {
		return nil, QueueState{}, fmt.Errorf("the queue %.20s…: %w: the name has %d bytes; AMQP allows 255", queue, ErrInvalid, len(queue))
	}
	channel, err := c.Channel(ctx)
	if err != nil {
		return nil, QueueState{}, err
	}
	state, err := callOn(ctx, channel, func() (QueueState, error) { return channel.stateOf(queue) })
	if err != nil {
		channel.close(ctx)
		return nil, QueueState{}, denied(err, queue)
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
		switch e.Code {
		case amqp.NotFound:
			return fmt.Errorf("the queue %s: %w", queue, ErrNotFound)
		case amqp.AccessRefused, amqp.ResourceLocked: // the latter: exclusive to another connection
			return fmt.Errorf("the queue %s: %w: %s", queue, ErrRefused, lacking("read", e.Reason))
		}
	}
	return fmt.Errorf("the queue %s: %w", queue, err)
}

// A Browser takes messages of one queue one at a time, as a person looks at them: with basic.get, over its own channel.
// What it took and did not ack goes back to its place when it is closed, or when its connection is lost. It is not safe
// for concurrent use.
type Browser struct {
	channel *Channel
	queue   string
	first   QueueState

	mu    sync.Mutex
	held  []uint64      // a bit for each delivery tag, set while its message is taken and not acked
	busy  chan struct{} // closed when the last Get has ended, though its caller may have gone
	fresh int           // acks sent since the last Get
	acked []uint64      // acks that wait for the next Get
}

// ackAhead is how many acks are sent without a Get between them. Each is a separate command to a quorum queue. A
// channel sends some 32 commands ahead; those that it keeps beyond them are lost when the channel is closed
// (rabbit_fifo_client, 3.10 to 4.3). A Get is answered once the queue has taken in what was sent before.
const ackAhead = 16

// returnTogether is how many messages are given back at once: each is a command, see ackAhead, and those that a channel
// keeps lose their order.
const returnTogether = 16

// Browse begins to take messages of a queue. Its errors are those of [Conn.Inspect]. The caller closes it.
func (c *Conn) Browse(ctx context.Context, queue string) (*Browser, error) {
	channel, state, err := c.inspect(ctx, queue)
	if err != nil {
		return nil, err
	}
	return &Browser{channel: channel, queue: queue, first: state}, nil
}

// State is how the queue was when the Browser began.
func (b *Browser) State() QueueState { return b.first }

// Get takes the next message; ok is false where there is none.
func (b *Browser) Get(ctx context.Context) (d Delivery, ok bool, err error) {
	type got struct {
		delivery Delivery
		ok       bool
	}
	busy := make(chan struct{})
	b.busy = busy
	r, err := await(ctx, func() (got, error) {
		defer close(busy)
		d, ok, err := b.channel.Get(b.queue, false)
		if ok {
			b.hold(d.DeliveryTag)
		}
		return got{d, ok}, err
	}, func(got) {})
	switch {
	case err != nil && ctx.Err() == nil && !b.channel.session.alive():
		return Delivery{}, false, fmt.Errorf("the queue %s: %w: %w", b.queue, ErrNotConnected, err)
	case err != nil:
		return Delivery{}, false, denied(err, b.queue)
	}
	b.fresh = 0
	return r.delivery, r.ok, b.ack()
}

func (b *Browser) hold(tag uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for uint64(len(b.held)) <= tag/64 {
		b.held = append(b.held, 0)
	}
	b.held[tag/64] |= 1 << (tag % 64)
}

// Ack removes a message that Get returned from the queue. It is certain once Close has succeeded; before that, a lost
// connection may bring the message back.
func (b *Browser) Ack(d Delivery) error {
	b.mu.Lock()
	b.held[d.DeliveryTag/64] &^= 1 << (d.DeliveryTag % 64)
	b.mu.Unlock()
	b.acked = append(b.acked, d.DeliveryTag)
	return b.ack()
}

// ack sends acks that wait, as many as may be sent now.
func (b *Browser) ack() error {
	for ; len(b.acked) > 0 && b.fresh < ackAhead; b.fresh++ {
		if err := b.channel.Ack(b.acked[0], false); err != nil {
			return fmt.Errorf("ack a message of the queue %s: %w", b.queue, err)
		}
		b.acked = b.acked[1:]
	}
	return nil
}

// Unsure returns how many acks the queue may not have taken in yet: they are lost if the connection is, or if Close
// fails.
func (b *Browser) Unsure() int { return b.fresh + len(b.acked) }

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
	return settlement, b.Ack(d)
}

// Context returns a context that ends with ctx, and with the Browser's channel: from then on nothing can be acked. Its
// cause is [ErrNotConnected] then. The function that it returns must be called.
func (b *Browser) Context(ctx context.Context) (context.Context, func()) {
	return either(ctx, b.channel.life)
}

// Close gives back what was taken and not acked, and returns when the broker has seen that, and all acks, too: within
// some seconds, though ctx has ended. The next look at the queue finds what was given back.
//
// It is [ErrNotConnected] where the connection was lost before, and [ErrNotFound] where Get found the queue gone: what
// was not acked is back by then, if there is a queue, and acks since the last Get may be lost. Giving back counts as a
// return before RabbitMQ 4.3, against the delivery limit of the queue; closing the channel without it would count on
// 4.3, too.
func (b *Browser) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := await(ctx, func() (struct{}, error) {
		if b.busy != nil {
			<-b.busy
		}
		if b.channel.IsClosed() {
			if e := b.channel.exception(); e != nil {
				return struct{}{}, denied(e, b.queue)
			}
			return struct{}{}, ErrNotConnected
		}
		err := errors.Join(b.ackAll(), b.giveBack())
		return struct{}{}, errors.Join(err, b.channel.Close())
	}, func(struct{}) {})
	if err != nil {
		return fmt.Errorf("give back messages of the queue %s: %w", b.queue, err)
	}
	return nil
}

// ackAll sends the acks that wait. What it has to take for that goes back with the rest.
func (b *Browser) ackAll() error {
	for len(b.acked) > 0 {
		d, ok, err := b.channel.Get(b.queue, false)
		if err != nil {
			return err
		}
		if ok {
			b.hold(d.DeliveryTag)
		}
		b.fresh = 0
		if err := b.ack(); err != nil {
			return err
		}
	}
	return nil
}

// giveBack returns the messages that were taken and not acked, and waits until they are ready again. A quorum queue
// writes that to its log first; until then a look at the queue, by a script's next command for instance, would miss
// them, and closing the channel could forget returns that it still keeps (see [ackAhead]). It waits for a second at
// most: another consumer may take them meanwhile.
func (b *Browser) giveBack() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	held, last := 0, []uint64(nil) // of each return
	for i, bits := range b.held {
		for ; bits != 0; bits &= bits - 1 {
			if held++; held%returnTogether == 1 {
				last = append(last, 0)
			}
			last[len(last)-1] = uint64(i*64 + mathbits.TrailingZeros64(bits))
		}
	}
	if held == 0 {
		return nil
	}
	others, err := b.channel.stateOf(b.queue)
	if err != nil {
		return err
	}
	for i, tag := range last {
		if err := b.channel.Nack(tag, true, true); err != nil {
			return err
		}
		back := min((i+1)*returnTogether, held)
		for began := time.Now(); time.Since(began) < time.Second; time.Sleep(2 * time.Millisecond) {
			all, err := b.channel.stateOf(b.queue)
			if err != nil {
				return err
			}
			if all.Ready >= others.Ready+back {
				break
			}
		}
	}
	return nil
}
