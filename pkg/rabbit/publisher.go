package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
// use.
//
// The broker closes the channel because of one message that it refuses to look at, and does not say which. The others
// that were in flight are published again. Where it is not clear which message it was, those that may have been are
// published one at a time, on another channel: so one bad message is nobody else's error.
type Publisher struct {
	conn   *Conn
	config PublisherConfig

	slots    chan struct{} // one for each publish in flight
	shared   lane
	suspects lane
	trial    chan struct{} // held by the one suspect that is in flight

	closing chan struct{} // closed when Close begins
	closed  chan struct{} // closed when Close stops waiting
	once    sync.Once
}

// lane is a channel, opened again when it is gone.
type lane struct {
	channel atomic.Pointer[confirmChannel]
	opening chan struct{} // held by whoever opens the channel
}

// NewPublisher makes a publisher. It does not connect or block; Close ends it.
func NewPublisher(conn *Conn, config PublisherConfig) *Publisher {
	if config.MaxInFlight <= 0 {
		config.MaxInFlight = 512
	}
	if config.MaxBody <= 0 {
		config.MaxBody = DefaultMaxBody
	}
	return &Publisher{
		conn: conn, config: config,
		slots:    make(chan struct{}, config.MaxInFlight),
		shared:   lane{opening: make(chan struct{}, 1)},
		suspects: lane{opening: make(chan struct{}, 1)},
		trial:    make(chan struct{}, 1),
		closing:  make(chan struct{}),
		closed:   make(chan struct{}),
	}
}

// Publish sends m and blocks until the broker has confirmed it, or until ctx ends. It returns nil if and only if the
// broker took responsibility for the message and, where that is mandatory, routed it to a queue. While ctx lives,
// Publish waits through lost connections and publishes again: a receiver may then get it twice, under one message id.
func (p *Publisher) Publish(ctx context.Context, m *Publication) error {
	if err := m.check(p.config.MaxBody); err != nil {
		return err
	}
	if err := p.acquire(ctx); err != nil {
		return err
	}
	f := &flight{Publication: m, lane: &p.shared}
	if err := p.start(ctx, f); err != nil {
		p.release(f)
		return err
	}
	return p.finish(ctx, f)
}

// InFlight returns how many publishes have begun and have no outcome yet.
func (p *Publisher) InFlight() int { return len(p.slots) }

// acquire takes a slot.
func (p *Publisher) acquire(ctx context.Context) error {
	if ended := p.refuses(); ended != nil {
		return ended
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
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

// errPublisherClosed is an [ErrClosed].
var errPublisherClosed = fmt.Errorf("the publisher is %w", ErrClosed)

// refuses returns an error once Close has been called.
func (p *Publisher) refuses() error {
	select {
	case <-p.closing:
		return errPublisherClosed
	default:
		return nil
	}
}

// release frees what the flight holds.
func (p *Publisher) release(f *flight) {
	p.leaveTrial(f)
	<-p.slots
}

// leaveTrial lets the next suspect have its turn.
func (p *Publisher) leaveTrial(f *flight) {
	if f.onTrial {
		f.onTrial = false
		<-p.trial
	}
}

// start writes the message, waiting through lost connections. An error is the end of the publish.
func (p *Publisher) start(ctx context.Context, f *flight) error {
	for {
		if ctx.Err() != nil {
			return f.interrupted(ctx, p.conn.notSent(ctx))
		}
		ch, err := p.ready(ctx, f)
		if err != nil {
			return f.interrupted(ctx, err)
		}
		if err = ch.fits(f.Publication); err != nil {
			ch.session.wire.release(len(f.Body))
			return f.interrupted(ctx, err)
		}
		err = ch.publish(f)
		ch.session.wire.release(len(f.Body))
		switch {
		case err == nil:
			f.written = true
			return nil
		case ch.alive():
			return f.interrupted(ctx, because(ErrInvalid, err))
		}
		// The channel is gone, and with it what may have been written of the message.
		f.written = f.written || !errors.Is(err, amqp.ErrClosed)
	}
}

// ready returns an open channel on which the flight may be written now.
func (p *Publisher) ready(ctx context.Context, f *flight) (*confirmChannel, error) {
	if ch := f.lane.channel.Load(); ch != nil && ch.alive() && p.conn.trySendable(ch.session, len(f.Body)) {
		return ch, nil
	}
	living, stop := until(ctx, p.closed)
	defer stop()
	ch, err := p.current(living, f.lane)
	if err == nil {
		err = p.conn.sendable(living, ch.session, len(f.Body))
	}
	if err != nil && living.Err() != nil && ctx.Err() == nil {
		err = errPublisherClosed
	}
	return ch, err
}

// until returns a context that ends with ctx, or when closed is closed. The function that it returns must be called.
func until(ctx context.Context, closed <-chan struct{}) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	select {
	case <-closed:
		cancel() // before anybody uses it
	default:
	}
	go func() {
		defer close(ended)
		select {
		case <-closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(); <-ended }
}

// finish waits for the outcome of what start has written, and frees what the flight holds.
func (p *Publisher) finish(ctx context.Context, f *flight) error {
	settled, err := p.follow(ctx, f)
	if settled {
		p.release(f)
	} else {
		p.abandon(f)
	}
	return err
}

// follow waits for the outcome of what start has written, and starts it again where that is needed. A flight that is not
// settled when it returns, because ctx has ended or the publisher was closed, can be followed again.
func (p *Publisher) follow(ctx context.Context, f *flight) (settled bool, err error) {
	for {
		if err := p.await(ctx, f); err != nil {
			return false, err
		}
		again, err := p.outcome(f)
		if !again {
			return true, err
		}
		if err := p.again(ctx, f); err != nil {
			if ctx.Err() == nil {
				return true, err
			}
			p.leaveTrial(f)
			return false, err
		}
	}
}

// await waits for the confirm, or the end of the channel.
func (p *Publisher) await(ctx context.Context, f *flight) error {
	select {
	case <-f.confirm.Done():
		return nil
	default:
	}
	select {
	case <-f.confirm.Done():
		return nil
	case <-ctx.Done():
		return because(ErrUnconfirmed, ended(ctx))
	case <-p.closed:
		return errUnconfirmedAtClose
	}
}

var errUnconfirmedAtClose = fmt.Errorf("%w when the publisher was closed", ErrUnconfirmed)

// outcome judges a flight whose confirm has come, or whose channel has closed.
func (p *Publisher) outcome(f *flight) (again bool, err error) {
	confirmed := f.confirm.Acked()
	returned := f.channel.settle(f)
	switch {
	case confirmed && returned != nil:
		return false, unroutable(returned)
	case confirmed:
		return false, nil
	case !f.channel.IsClosed():
		return false, fmt.Errorf("%w: it was nacked, as a full queue does, or one without a majority of its nodes", ErrNacked)
	}
	if reason := f.channel.exception(); reason != nil {
		if err := exception(reason, f.Publication); err != nil {
			return false, err
		}
		if f.onTrial {
			return false, blamed(reason)
		}
		f.suspect = true
	}
	return true, nil
}

// again starts a flight once more, a suspect one when it is its turn.
func (p *Publisher) again(ctx context.Context, f *flight) error {
	if ctx.Err() != nil {
		return because(ErrUnconfirmed, ended(ctx))
	}
	if p.refuses() != nil {
		return errUnconfirmedAtClose
	}
	if f.suspect && !f.onTrial {
		select {
		case p.trial <- struct{}{}:
			f.onTrial, f.lane = true, &p.suspects
		case <-ctx.Done():
			return because(ErrUnconfirmed, ended(ctx))
		case <-p.closing:
			return errUnconfirmedAtClose
		}
	}
	return p.start(ctx, f)
}

// abandon leaves a flight whose caller has given up. Its slot stays taken until the broker has answered or the channel
// is gone, so that no more returns can come than there is room for.
func (p *Publisher) abandon(f *flight) {
	go func() {
		<-f.confirm.Done()
		f.channel.settle(f)
		p.release(f)
	}()
}

// current returns the open channel of a lane, or opens one.
func (p *Publisher) current(ctx context.Context, l *lane) (*confirmChannel, error) {
	if ch := l.channel.Load(); ch != nil && ch.alive() {
		return ch, nil
	}
	select {
	case l.opening <- struct{}{}:
		defer func() { <-l.opening }()
	case <-ctx.Done():
		return nil, p.conn.notSent(ctx)
	}
	if ch := l.channel.Load(); ch != nil && ch.alive() {
		return ch, nil
	}
	for {
		ch, err := p.conn.Channel(ctx)
		if err != nil {
			return nil, err
		}
		opened, err := callOn(ctx, ch, func() (*confirmChannel, error) { return newConfirmChannel(ch, p.config.MaxInFlight) })
		if err == nil {
			l.channel.Store(opened)
			return opened, nil
		}
		ch.close(ctx)
		if ctx.Err() != nil {
			return nil, p.conn.notSent(ctx)
		}
		if ch.session.alive() {
			return nil, err
		}
	}
}

// Close refuses further publishes, waits for those in flight while ctx lives, and closes the channel: what was not
// confirmed by then is ErrUnconfirmed to whoever waits for it. Close is safe to call twice.
func (p *Publisher) Close(ctx context.Context) error {
	first := false
	p.once.Do(func() { first = true; close(p.closing) })
	if !first {
		return nil
	}
	err := p.drain(ctx)
	close(p.closed)
	for _, l := range []*lane{&p.shared, &p.suspects} {
		l.opening <- struct{}{} // nobody opens another from here on
		if ch := l.channel.Load(); ch != nil {
			ch.close(ctx)
		}
	}
	return err
}

// drain takes all slots, for ever, as they become free.
func (p *Publisher) drain(ctx context.Context) error {
	for range cap(p.slots) {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return because(ErrUnconfirmed, ended(ctx))
		}
	}
	return nil
}
