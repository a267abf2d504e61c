package rabbit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

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
	// OnLate is called with replies that nobody waits for any more, or ever did. It must not block.
	OnLate func(*Delivery)
}

// A Requester publishes requests and hands replies to those who wait for them. It is safe for concurrent use.
type Requester struct {
	conn    *Conn
	config  RequesterConfig
	channel reopened[replyChannel, *replyChannel]
	close   context.CancelFunc // ends the life of channel
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
	life, end := context.WithCancel(context.Background())
	r := &Requester{conn: conn, config: config, close: end}
	r.channel = reopened[replyChannel, *replyChannel]{conn: conn, life: life, over: errRequesterClosed, turn: make(chan struct{}, 1), open: r.open}
	return r
}

// Call publishes a request and blocks until its reply, or until ctx ends. The correlation id of m must be set and
// unique; reply-to is set here, and the expiration, where there is one, to what is left of ctx's time. Requests are not
// confirmed: what is lost on the way ends with ctx. The end of ctx after the request was written is ErrUnconfirmed, and so,
// at once, is a connection that is lost then: the request may have been handled.
func (r *Requester) Call(ctx context.Context, m *Publication) (*Delivery, error) {
	if err := m.check(r.config.MaxBody); err != nil {
		return nil, err
	}
	if m.CorrelationId == "" {
		return nil, fmt.Errorf("%w: a request needs a correlation id", ErrInvalid)
	}
	request := *m
	for {
		ch, err := r.channel.ready(ctx, len(m.Body))
		if err != nil {
			return nil, err
		}
		if deadline, ok := ctx.Deadline(); ok && m.Expiration != "" {
			request.Expiration = strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10)
		}
		waiting, err := ch.publish(&request)
		ch.session.wire.release(len(m.Body))
		if errors.Is(err, amqp.ErrClosed) {
			continue // nothing was written
		}
		if err != nil {
			return nil, err
		}
		select {
		case a := <-waiting:
			return a.reply, a.err
		case <-ctx.Done():
			ch.forget(m.CorrelationId)
			return nil, fmt.Errorf("%w: %w", ErrUnconfirmed, ended(ctx))
		}
	}
}

var errRequesterClosed = fmt.Errorf("the client is %w", ErrClosed)

// open makes a channel ready for requests and replies.
func (r *Requester) open(ctx context.Context, ch *Channel, last *replyChannel) (*replyChannel, error) {
	c, err := callOn(ctx, ch, func() (*replyChannel, error) { return newReplyChannel(ch, r.config) })
	if err == nil && last != nil && last.session == ch.session {
		c.hints = last.hints // closed or not: what the broker closed it for has not changed
	} else if err == nil {
		c.hints, err = r.conn.Channel(ctx)
	}
	if err == nil && !ch.alive() { // a connection lost meanwhile leaves the two on different ones
		c.hints.close(ctx)
		err = amqp.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("cannot receive replies: %w", err)
	}
	r.readers.Go(func() {
		for ret := range c.returns {
			c.end(ret.CorrelationId, answer{err: unroutable(&ret)})
		}
	})
	r.readers.Go(func() { r.read(c) })
	return c, nil
}

// read hands the replies on until there will be no more.
func (r *Requester) read(c *replyChannel) {
	for d := range c.deliveries {
		if !c.end(d.CorrelationId, answer{reply: &d}) {
			r.config.OnLate(&d)
		}
	}
	reason := c.exception()
	c.fail(func(m *Publication) error {
		if reason == nil {
			return fmt.Errorf("%w: the connection or the reply queue was lost before the reply came", ErrUnconfirmed)
		}
		if err := exception(reason, m); err != nil {
			return err
		}
		return fmt.Errorf("%w: %w: %w", ErrUnconfirmed, ErrException, reason)
	})
	c.close(context.Background()) // open still, where somebody deleted the reply queue
}

// Close fails the calls that wait, with ErrUnconfirmed where the request was written and ErrClosed where not, and waits
// until all has ended, while ctx lives. Close is safe to call twice.
func (r *Requester) Close(ctx context.Context) error {
	first := false
	r.once.Do(func() { first = true; r.close() })
	if !first {
		return nil
	}
	ch := r.channel.shut()
	if ch == nil {
		return nil
	}
	ch.fail(func(*Publication) error {
		return fmt.Errorf("%w: the client was closed before the reply came", ErrUnconfirmed)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		closing := context.WithoutCancel(ctx)
		ch.close(closing)
		ch.hints.close(closing)
		r.readers.Wait() // until the connection ends, where the broker does not answer
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// answer is what a call ends with.
type answer struct {
	reply *Delivery
	err   error
}

// replyChannel is a channel that publishes requests and receives the replies to them.
type replyChannel struct {
	*Channel
	replyTo    string
	returns    chan amqp.Return
	deliveries <-chan Delivery
	hints      *Channel // what PublishHint publishes on

	mu      sync.Mutex
	waiting map[string]waiter // by correlation id; nil when the channel has ended
}

type waiter struct {
	*Publication
	answers chan answer
}

func newReplyChannel(ch *Channel, config RequesterConfig) (*replyChannel, error) {
	c := &replyChannel{Channel: ch, replyTo: directReplyTo, waiting: make(map[string]waiter, 64)}
	if config.ReplyQueue != "" {
		c.replyTo = config.ReplyQueue
		if err := checkShort("name of the reply queue", c.replyTo); err != nil {
			return nil, err
		}
		if _, err := ch.QueueDeclare(c.replyTo, false, true, true, false, nil); err != nil {
			return nil, err
		}
	}
	c.returns = ch.NotifyReturn(make(chan amqp.Return, 64))
	var err error
	c.deliveries, err = ch.Consume(c.replyTo, config.Tag[:min(len(config.Tag), maxTag)], true, true, false, false, nil)
	return c, err
}

// usable reports whether replies can come over the channel.
func (c *replyChannel) usable() bool {
	if !c.alive() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting != nil
}

// publish writes the request. It never blocks on the network. The error is amqp.ErrClosed where nothing was written.
func (c *replyChannel) publish(m *Publication) (<-chan answer, error) {
	m.ReplyTo = c.replyTo
	if err := c.fits(m); err != nil {
		return nil, err
	}
	answers := make(chan answer, 1)
	c.mu.Lock()
	_, taken := c.waiting[m.CorrelationId]
	switch {
	case c.waiting == nil:
		c.mu.Unlock()
		return nil, amqp.ErrClosed
	case taken:
		c.mu.Unlock()
		return nil, fmt.Errorf("%w: the correlation id %q is in use", ErrInvalid, m.CorrelationId)
	}
	c.waiting[m.CorrelationId] = waiter{m, answers}
	c.mu.Unlock()

	_, err := c.write(context.Background(), m) // there is no call here to wait for
	if err == nil {
		return answers, nil
	}
	c.forget(m.CorrelationId)
	switch {
	case errors.Is(err, amqp.ErrClosed):
		return nil, err
	case c.alive():
		return nil, because(ErrInvalid, err)
	default:
		return nil, because(ErrUnconfirmed, err)
	}
}

func (c *replyChannel) forget(correlationID string) {
	c.mu.Lock()
	delete(c.waiting, correlationID)
	c.mu.Unlock()
}

// end gives a waiting call its answer, and reports whether there was one.
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

// fail ends all calls that wait, each for its reason, and lets no more in.
func (c *replyChannel) fail(why func(*Publication) error) {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, w := range waiting {
		w.answers <- answer{err: why(w.Publication)}
	}
}
