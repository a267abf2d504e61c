package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The driver's types that carry messages.
type (
	Publishing = amqp.Publishing
	Delivery   = amqp.Delivery
	Table      = amqp.Table
)

// A Publication is a message and where it goes.
type Publication struct {
	Exchange, RoutingKey string
	// Mandatory makes it an error, ErrUnroutable, if no queue is bound for the message.
	Mandatory bool
	Publishing
}

// PublisherConfig says how to publish. The zero value of a field is its default.
type PublisherConfig struct {
	// MaxInFlight bounds the publishes that wait for their confirm; further ones wait before they are written.
	// Default 512. The driver looks at every one of them when the broker confirms several at once.
	MaxInFlight int
	// MaxBody is the size in bytes over which a message is refused without being sent. Default 16 MiB, which is what
	// RabbitMQ 4 accepts; over the broker's own limit it closes the channel.
	MaxBody int
	// Setup is called on every new connection before anything is published on it: to declare what is needed. If it
	// fails, the publish that caused it fails.
	Setup func(ctx context.Context) error
}

// DefaultMaxBody is the largest message that RabbitMQ 4 accepts by default.
const DefaultMaxBody = 16 << 20

// A Publisher publishes with confirms: many publishes are in flight at once, on one channel. It has no goroutine of its
// own. It is safe for concurrent use.
type Publisher struct {
	conn   *Conn
	config PublisherConfig

	slots   chan struct{} // one for each publish in flight
	channel atomic.Pointer[confirmChannel]
	opening chan struct{} // held by whoever opens the channel
	closing chan struct{}
	once    sync.Once
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
		slots:   make(chan struct{}, config.MaxInFlight),
		opening: make(chan struct{}, 1),
		closing: make(chan struct{}),
	}
}

// Publish sends m and blocks until the broker has confirmed it, or until ctx ends. It returns nil if and only if the
// broker took responsibility for the message and, where that is mandatory, routed it to a queue. While ctx lives,
// Publish waits through lost connections and publishes again: a receiver may then get it twice, under one message id.
func (p *Publisher) Publish(ctx context.Context, m *Publication) error {
	if err := p.check(m); err != nil {
		return err
	}
	if err := p.acquire(ctx); err != nil {
		return err
	}
	f := &flight{Publication: m}
	if err := p.start(ctx, f); err != nil {
		p.release()
		return err
	}
	return p.finish(ctx, f)
}

// check finds what would break the channel, or the protocol.
func (p *Publisher) check(m *Publication) error {
	if len(m.Body) > p.config.MaxBody {
		return fmt.Errorf("%w: %d bytes; the limit is %d", ErrTooLarge, len(m.Body), p.config.MaxBody)
	}
	return checkStrings(m)
}

// checkStrings holds AMQP's short strings to their limit: the driver would fail in the middle of a frame.
func checkStrings(m *Publication) error {
	for _, s := range [...]struct{ what, value string }{
		{"exchange", m.Exchange}, {"routing key", m.RoutingKey}, {"message id", m.MessageId}, {"correlation id", m.CorrelationId},
		{"reply-to", m.ReplyTo}, {"type", m.Type}, {"app id", m.AppId}, {"user id", m.UserId}, {"content type", m.ContentType},
		{"content encoding", m.ContentEncoding}, {"expiration", m.Expiration},
	} {
		if len(s.value) > 255 {
			return fmt.Errorf("%w: the %s has %d bytes; AMQP allows 255", ErrInvalid, s.what, len(s.value))
		}
	}
	for name := range m.Headers {
		if len(name) > 255 {
			return fmt.Errorf("%w: a header's name has %d bytes; AMQP allows 255", ErrInvalid, len(name))
		}
	}
	return nil
}

// acquire takes a slot.
func (p *Publisher) acquire(ctx context.Context) error {
	select {
	case <-p.closing:
		return fmt.Errorf("the publisher is %w", ErrClosed)
	default:
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
		return fmt.Errorf("the publisher is %w", ErrClosed)
	case <-ctx.Done():
		return p.conn.notSent(ctx)
	}
}

func (p *Publisher) release() { <-p.slots }

// maxTrouble is how many channel exceptions of unknown cause one publish may live through before it is suspected.
const maxTrouble = 3

// start writes the message, waiting through lost connections. An error is the end of the publish.
func (p *Publisher) start(ctx context.Context, f *flight) error {
	for {
		if ctx.Err() != nil {
			return f.interrupted(ctx, p.conn.notSent(ctx))
		}
		ch, err := p.current(ctx)
		if err != nil {
			return f.interrupted(ctx, err)
		}
		if err := p.conn.sendable(ctx, ch.session); err != nil {
			return f.interrupted(ctx, err)
		}
		err = ch.publish(f)
		switch {
		case err == nil:
			f.written = true
			return nil
		case ch.IsClosed():
			f.written = f.written || !errors.Is(err, amqp.ErrClosed)
		default:
			return because(ErrInvalid, err) // such as a header of a type that AMQP does not know
		}
	}
}

// finish waits for the outcome of what start has written, and frees its slot.
func (p *Publisher) finish(ctx context.Context, f *flight) error {
	for {
		select {
		case <-f.confirm.Done():
		case <-ctx.Done():
			p.abandon(f)
			return because(ErrUnconfirmed, ended(ctx))
		}
		again, err := p.outcome(ctx, f)
		if !again {
			p.release()
			return err
		}
		if err := p.start(ctx, f); err != nil {
			p.release()
			return err
		}
	}
}

// outcome judges a flight whose confirm has come, or whose channel has closed.
func (p *Publisher) outcome(ctx context.Context, f *flight) (again bool, err error) {
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
	reason := f.channel.exception()
	if reason == nil {
		return p.again(ctx, f)
	}
	if err := exception(reason, f.Publication); err != nil {
		return false, err
	}
	if f.trouble++; f.trouble >= maxTrouble {
		return false, because(ErrUnconfirmed, reason)
	}
	return p.again(ctx, f)
}

func (p *Publisher) again(ctx context.Context, f *flight) (bool, error) {
	select {
	case <-p.closing:
		return false, fmt.Errorf("%w: the publisher was closed", ErrUnconfirmed)
	default:
	}
	if ctx.Err() != nil {
		return false, because(ErrUnconfirmed, ended(ctx))
	}
	return true, nil
}

// abandon leaves a flight whose caller has given up. Its slot stays taken until the broker has answered or the channel
// is gone, so that no more returns can come than there is room for.
func (p *Publisher) abandon(f *flight) {
	go func() {
		<-f.confirm.Done()
		f.channel.settle(f)
		p.release()
	}()
}

// current returns the open channel, or opens one.
func (p *Publisher) current(ctx context.Context) (*confirmChannel, error) {
	if ch := p.channel.Load(); ch != nil && !ch.IsClosed() {
		return ch, nil
	}
	select {
	case p.opening <- struct{}{}:
		defer func() { <-p.opening }()
	case <-p.closing:
		return nil, fmt.Errorf("the publisher is %w", ErrClosed)
	case <-ctx.Done():
		return nil, p.conn.notSent(ctx)
	}
	select {
	case <-p.closing:
		return nil, fmt.Errorf("the publisher is %w", ErrClosed)
	default:
	}
	last := p.channel.Load()
	if last != nil && !last.IsClosed() {
		return last, nil
	}
	for {
		ch, err := p.conn.Channel(ctx)
		if err != nil {
			return nil, err
		}
		if p.config.Setup != nil && (last == nil || last.session != ch.session) {
			if err := p.config.Setup(ctx); err != nil {
				_ = ch.Close()
				return nil, err
			}
		}
		opened, err := await(ctx, func() (*confirmChannel, error) { return newConfirmChannel(ch, p.config.MaxInFlight) },
			func(late *confirmChannel) { _ = late.Close() })
		if err == nil {
			p.channel.Store(opened)
			return opened, nil
		}
		if ctx.Err() != nil {
			return nil, p.conn.notSent(ctx)
		}
		if !ch.IsClosed() {
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
	var err error
	for range cap(p.slots) {
		select {
		case p.slots <- struct{}{}:
			continue
		case <-ctx.Done():
			err = because(ErrUnconfirmed, ended(ctx))
		}
		break
	}
	p.opening <- struct{}{} // nobody opens another from here on
	if ch := p.channel.Load(); ch != nil {
		closeChannel(ch.Channel)
	}
	return err
}

// closeChannel closes a channel without waiting for a broker that does not answer.
func closeChannel(ch *Channel) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _ = await(ctx, func() (struct{}, error) { return struct{}{}, ch.Channel.Close() }, func(struct{}) {})
}

// unroutable describes a returned message.
func unroutable(r *amqp.Return) error {
	if r.ReplyCode != amqp.NoRoute {
		return fmt.Errorf("%w: %d %s", ErrUnroutable, r.ReplyCode, r.ReplyText)
	}
	return fmt.Errorf("%w: no queue is bound to the exchange %q for the routing key %q", ErrUnroutable, r.Exchange, r.RoutingKey)
}
