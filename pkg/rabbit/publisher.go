package rabbit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"
)

// PublisherConfig says how to publish. The zero value of a field is its default.
type PublisherConfig struct {
	// MaxInFlight bounds the publishes that wait for their confirm; further ones wait before they are written.
	// Default 512. The driver looks at every one of them when the broker confirms several at once.
	MaxInFlight int
	// MaxBody is the size in bytes over which a message is refused without being sent. Default 16 MiB, which is what
	// RabbitMQ 4 accepts; over the broker's own limit it closes the channel.
	MaxBody int
}

// A Publisher publishes with confirms: many publishes are in flight at once, on one channel. It is safe for concurrent
// use. A connection has four channels for publishers at most: more publishers share them.
//
// The broker closes the channel, or the connection, because of one message that it refuses to look at, and does not say
// which. The others that were in flight are published again. Where it is not clear which message it was, those that may
// have been are published one at a time, over a connection apart: so one bad message fails no other publish, and costs
// the connection that is shared no more than once.
type Publisher struct {
	conn   *Conn
	config PublisherConfig
	lane   *lane
	leave  func() (last bool) // the lane

	slots chan struct{} // one for each publish in flight

	refuses atomic.Bool             // set first by Close: no publish begins, and none is written again
	closing chan struct{}           // closed next: wakes callers that wait for a slot or for the trial
	closed  context.Context         //nolint:containedctx // ends when Close stops waiting: what is unconfirmed then fails
	close   context.CancelCauseFunc // ends closed
}

// publishing is the channel that flights go over.
type publishing = reopened[*confirmChannel]

// NewPublisher makes a publisher. It does not connect or block; Close ends it.
func NewPublisher(conn *Conn, config PublisherConfig) *Publisher {
	return newPublisher(conn, config, &conn.lanes)
}

func newPublisher(conn *Conn, config PublisherConfig, lanes *pool[*lane]) *Publisher {
	config.MaxInFlight = cmp.Or(max(config.MaxInFlight, 0), 512)
	config.MaxBody = cmp.Or(max(config.MaxBody, 0), DefaultMaxBody)
	p := &Publisher{
		conn: conn, config: config,
		slots:   make(chan struct{}, config.MaxInFlight),
		closing: make(chan struct{}),
	}
	p.closed, p.close = context.WithCancelCause(context.Background())
	p.lane, p.leave = lanes.take(maxLanes, func() *lane {
		return &lane{newPublishing(conn), trial{turn: make(chan struct{}, 1), limit: trialTime}}
	})
	return p
}

// A lane is what publishers share: a channel, and the connection apart for what may cost it.
type lane struct {
	channel *publishing
	trial   trial
}

// maxLanes is how many lanes the publishers of a connection have.
const maxLanes = 4

func newPublishing(conn *Conn) *publishing {
	var p *publishing
	p = newReopened(conn, func(ctx context.Context, ch *Channel) (*confirmChannel, error) {
		c, err := newConfirmChannel(ctx, ch)
		if err == nil {
			c.replace = func() { p.drop(ch) }
		}
		return c, err
	})
	return p
}

// Publish sends m and blocks until the broker has confirmed it, or until ctx ends. It returns nil if and only if the
// broker took responsibility for the message and, where that is mandatory, routed it to a queue. While ctx lives,
// Publish waits through lost connections and publishes again: a receiver may then get it twice, under one message id.
func (p *Publisher) Publish(ctx context.Context, m *Publication) error {
	f := &flight{Publication: m}
	if err := p.begin(ctx, f, p.acquire); err != nil {
		return err
	}
	settled, err := p.follow(ctx, p.lane.channel, f)
	if settled {
		p.release()
	} else {
		p.abandon(f)
	}
	return err
}

// begin checks a message, takes a slot for it with acquire, and writes it. An error is the end of the publish.
func (p *Publisher) begin(ctx context.Context, f *flight, acquire func(context.Context) error) error {
	err := f.check(p.config.MaxBody)
	if err == nil {
		err = acquire(ctx)
	}
	if err != nil {
		return err
	}
	if err = p.write(ctx, p.lane.channel, f); err != nil {
		p.release()
	}
	return err
}

// acquire takes a slot.
func (p *Publisher) acquire(ctx context.Context) error {
	if p.refuses.Load() {
		return errPublisherClosed
	}
	if p.tryAcquire() { // a select of one channel is cheaper
		return nil
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-p.closing:
		return errPublisherClosed
	case <-ctx.Done():
		return p.conn.notSent(ctx)
	}
}

// tryAcquire takes a slot if there is one.
func (p *Publisher) tryAcquire() bool {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// errPublisherClosed is an [ErrClosed].
var errPublisherClosed = fmt.Errorf("the publisher is %w", ErrClosed)

// release frees a slot.
func (p *Publisher) release() { <-p.slots }

// write writes the message, waiting through lost connections. An error is the end of the publish.
func (p *Publisher) write(ctx context.Context, channel *publishing, f *flight) error {
	for {
		if f.written && p.refuses.Load() { // Close waits for what is in flight, not for it to be published again
			return errUnconfirmedAtClose
		}
		ch, err := channel.ready(ctx, p.closed, len(f.Body))
		if err != nil {
			return f.interrupted(ctx, err)
		}
		err = ch.publish(f)
		switch {
		case err == nil:
			f.written = true
			return nil
		case errors.Is(err, ErrInvalid):
			return f.interrupted(ctx, err)
		}
		// The channel is gone, and with it what may have been written of the message.
		f.written = f.written || !errors.Is(err, amqp.ErrClosed)
	}
}

// follow waits for the outcome of what was written, and writes it again where that is needed. A flight that is not
// settled when it returns, because ctx has ended or Close has stopped waiting, can be followed again.
func (p *Publisher) follow(ctx context.Context, channel *publishing, f *flight) (settled bool, err error) {
	for {
		if err := p.await(ctx, f); err != nil {
			return false, err
		}
		shared := channel == p.lane.channel
		if again, err := f.outcome(shared); !again {
			return true, err
		}
		if f.suspect && shared {
			settled, err := p.alone(ctx, f)
			if settled || ctx.Err() != nil {
				return settled, err
			}
			f.suspect = errors.Is(err, errNotApart) // else it has done no harm in all its time
		}
		if err := p.write(ctx, channel, f); err != nil {
			return ctx.Err() == nil, err
		}
	}
}

// await waits for the confirm, or the end of the channel.
func (p *Publisher) await(ctx context.Context, f *flight) error {
	if f.answered() {
		return nil
	}
	select {
	case <-f.confirm.Done():
		return nil
	case <-ctx.Done():
		return p.conn.unanswered(ctx)
	case <-p.closed.Done():
		return errUnconfirmedAtClose
	}
}

var errUnconfirmedAtClose = fmt.Errorf("%w when the publisher was closed", ErrUnconfirmed)

// abandon leaves a flight whose caller has given up. Its slot stays taken until the broker has answered or the channel
// is gone, so that no more returns can come than there is room for.
func (p *Publisher) abandon(f *flight) {
	go func() {
		<-f.confirm.Done()
		f.channel.settle(f)
		p.release()
	}()
}

// Close refuses further publishes, waits for those in flight while ctx lives, and closes the channel, unless others use
// it: what was not confirmed by then ends as ErrUnconfirmed. Close is safe to call twice.
func (p *Publisher) Close(ctx context.Context) error {
	if p.refuses.Swap(true) {
		return nil
	}
	close(p.closing)
	var err error
	for taken := 0; taken < cap(p.slots) && err == nil; taken++ { // all of them, forever, as they become free
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			err = p.conn.unanswered(ctx)
		}
	}
	p.close(errPublisherClosed)
	if p.leave() {
		p.lane.channel.end(ctx)
	}
	return err
}
