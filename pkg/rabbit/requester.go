package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"
)

// directReplyTo is RabbitMQ's pseudo-queue: replies go straight to the channel that consumes from it.
const directReplyTo = "amq.rabbitmq.reply-to"

// RequesterConfig says how to make requests. The zero value of a field is its default.
type RequesterConfig struct {
	// ReplyQueue names an exclusive queue to collect replies in. Default: direct reply-to, which needs no queue.
	ReplyQueue string
	// Tag is the consumer tag shown in the management UI.
	Tag string
	// MaxBody is as in PublisherConfig.
	MaxBody int
	// Setup is as in PublisherConfig.
	Setup func(ctx context.Context) error
	// OnLate is called with replies that nobody waits for any more, or ever did. It must not block.
	OnLate func(*Delivery)
}

// A Requester publishes requests and hands replies to those who wait for them. It is safe for concurrent use.
type Requester struct {
	conn   *Conn
	config RequesterConfig

	channel atomic.Pointer[replyChannel]
	opening chan struct{} // held by whoever opens the channel
	closing chan struct{}
	once    sync.Once
	readers sync.WaitGroup
}

// NewRequester makes a requester. It does not connect or block; Close ends it.
func NewRequester(conn *Conn, config RequesterConfig) *Requester {
	if config.MaxBody <= 0 {
		config.MaxBody = DefaultMaxBody
	}
	if config.OnLate == nil {
		config.OnLate = func(*Delivery) {}
	}
	return &Requester{conn: conn, config: config, opening: make(chan struct{}, 1), closing: make(chan struct{})}
}

// Call publishes a request and blocks until its reply, or until ctx ends. The correlation id of m must be set and
// unique; reply-to is set here. Requests are not confirmed: what is lost on the way ends with ctx. A connection that is
// lost after the request was written is ErrUnconfirmed at once: it may have been handled.
func (r *Requester) Call(ctx context.Context, m *Publication) (*Delivery, error) {
	if len(m.Body) > r.config.MaxBody {
		return nil, fmt.Errorf("%w: %d bytes; the limit is %d", ErrTooLarge, len(m.Body), r.config.MaxBody)
	}
	if err := checkStrings(m); err != nil {
		return nil, err
	}
	if m.CorrelationId == "" {
		return nil, fmt.Errorf("%w: a request needs a correlation id", ErrInvalid)
	}
	for {
		ch, err := r.current(ctx)
		if err != nil {
			return nil, err
		}
		if err := r.conn.sendable(ctx, ch.session); err != nil {
			return nil, err
		}
		waiting, err := ch.publish(m)
		if errors.Is(err, amqp.ErrClosed) {
			continue // nothing was written
		}
		if err != nil {
			if ch.IsClosed() {
				return nil, because(ErrUnconfirmed, err)
			}
			return nil, because(ErrInvalid, err)
		}
		select {
		case a := <-waiting:
			return a.reply, a.err
		case <-ctx.Done():
			ch.forget(m.CorrelationId)
			return nil, ended(ctx)
		}
	}
}

// current returns the open channel, or opens one.
func (r *Requester) current(ctx context.Context) (*replyChannel, error) {
	if ch := r.channel.Load(); ch != nil && !ch.IsClosed() {
		return ch, nil
	}
	closed := fmt.Errorf("the client is %w", ErrClosed)
	select {
	case <-r.closing:
		return nil, closed
	default:
	}
	select {
	case r.opening <- struct{}{}:
		defer func() { <-r.opening }()
	case <-r.closing:
		return nil, closed
	case <-ctx.Done():
		return nil, r.conn.notSent(ctx)
	}
	last := r.channel.Load()
	if last != nil && !last.IsClosed() {
		return last, nil
	}
	for {
		ch, err := r.conn.Channel(ctx)
		if err != nil {
			return nil, err
		}
		if r.config.Setup != nil && (last == nil || last.session != ch.session) {
			if err := r.config.Setup(ctx); err != nil {
				closeChannel(ch)
				return nil, err
			}
		}
		opened, err := await(ctx, func() (*replyChannel, error) { return r.newReplyChannel(ch) },
			func(late *replyChannel) { _ = late.Close() })
		if err == nil {
			r.channel.Store(opened)
			return opened, nil
		}
		if ctx.Err() != nil {
			return nil, r.conn.notSent(ctx)
		}
		if !ch.session.IsClosed() {
			return nil, fmt.Errorf("cannot receive replies: %w", err)
		}
	}
}

// Close fails the calls that still wait, with ErrClosed, and waits until all has ended.
func (r *Requester) Close(ctx context.Context) error {
	r.once.Do(func() { close(r.closing) })
	select {
	case r.opening <- struct{}{}: // nobody opens another from here on
	default:
		select {
		case r.opening <- struct{}{}:
		case <-ctx.Done():
			return ended(ctx)
		}
	}
	defer func() { <-r.opening }()
	if ch := r.channel.Load(); ch != nil {
		closeChannel(ch.Channel)
	}
	r.readers.Wait()
	return nil
}

// answer is what a call ends with.
type answer struct {
	reply *Delivery
	err   error
}

// replyChannel is a channel that publishes requests and receives the replies to them.
type replyChannel struct {
	*Channel
	replyTo string

	mu      sync.Mutex
	waiting map[string]waiter // by correlation id; nil when the channel has ended
}

type waiter struct {
	*Publication
	answers chan answer
}

func (r *Requester) newReplyChannel(ch *Channel) (*replyChannel, error) {
	c := &replyChannel{Channel: ch, replyTo: directReplyTo, waiting: make(map[string]waiter, 64)}
	if r.config.ReplyQueue != "" {
		c.replyTo = r.config.ReplyQueue
		if _, err := ch.QueueDeclare(c.replyTo, false, true, true, false, nil); err != nil {
			return nil, err
		}
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, 64))
	deliveries, err := ch.Consume(c.replyTo, r.config.Tag, true, true, false, false, nil)
	if err != nil {
		_ = ch.Channel.Close()
		return nil, err
	}
	r.readers.Go(func() {
		for ret := range returns {
			c.end(ret.CorrelationId, answer{err: unroutable(&ret)})
		}
	})
	r.readers.Go(func() {
		for d := range deliveries {
			if !c.end(d.CorrelationId, answer{reply: &d}) {
				r.config.OnLate(&d)
			}
		}
		c.fail()
	})
	return c, nil
}

func (c *replyChannel) publish(m *Publication) (<-chan answer, error) {
	answers := make(chan answer, 1)
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return nil, amqp.ErrClosed
	}
	if _, taken := c.waiting[m.CorrelationId]; taken {
		c.mu.Unlock()
		return nil, fmt.Errorf("the correlation id %q is in use", m.CorrelationId)
	}
	c.waiting[m.CorrelationId] = waiter{m, answers}
	c.mu.Unlock()

	m.ReplyTo = c.replyTo
	if err := c.Publish(m.Exchange, m.RoutingKey, m.Mandatory, false, m.Publishing); err != nil {
		c.forget(m.CorrelationId)
		return nil, err
	}
	return answers, nil
}

func (c *replyChannel) forget(correlationID string) {
	c.mu.Lock()
	delete(c.waiting, correlationID)
	c.mu.Unlock()
}

// end gives a waiting call its answer, and tells whether there was one.
func (c *replyChannel) end(correlationID string, a answer) bool {
	c.mu.Lock()
	w, ok := c.waiting[correlationID]
	delete(c.waiting, correlationID)
	c.mu.Unlock()
	if ok {
		w.answers <- a
	}
	return ok
}

// fail ends all calls that wait when the channel has ended.
func (c *replyChannel) fail() {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	reason := c.exception()
	for _, w := range waiting {
		err := exception(reason, w.Publication)
		switch {
		case err != nil:
		case reason != nil:
			err = because(ErrUnconfirmed, reason)
		default:
			err = fmt.Errorf("%w: the connection was lost before the reply came", ErrUnconfirmed)
		}
		w.answers <- answer{err: err}
	}
}
