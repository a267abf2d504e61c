package rabbit

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// directReplyTo is RabbitMQ's pseudo-queue: replies go straight to the channel that consumes from it.
const directReplyTo = "amq.rabbitmq.reply-to"

// RequesterConfig says how to make requests. The zero value of a field is its default.
type RequesterConfig struct {
	// ReplyQueue names an exclusive queue to collect replies in. Default: direct reply-to, which needs no queue. Where the
	// broker keeps the queue for a connection that is gone, the next one has a suffix.
	ReplyQueue string
	// Tag is the consumer tag shown in the management UI.
	Tag string
	// MaxBody is as in PublisherConfig.
	MaxBody int
	// OnLate is called with replies that no call waits for any more, or ever did. It must not block.
	OnLate func(*Delivery)
}

// A Requester publishes requests and hands replies to those who wait for them. It is safe for concurrent use.
//
// A request that still waits in its queue after three quarters of the caller's time expires: what is delivered later is
// hardly answered in time. Where a service is asked more than it can do, the head of its queue is always about to
// expire, and it would do nothing but what is too late.
type Requester struct {
	conn    *Conn
	config  RequesterConfig
	channel *reopened[*replyChannel]
	queue   atomic.Pointer[string]  // the name of the reply queue; nil before the first that was locked
	hints   atomic.Pointer[Channel] // what PublishHint publishes on; nil before the first call
	life    context.Context         //nolint:containedctx // ends with Close
	close   context.CancelCauseFunc // ends life
	closing atomic.Bool             // Close has been called
	readers sync.WaitGroup
}

// NewRequester makes a requester. It does not connect or block; Close ends it.
func NewRequester(conn *Conn, config RequesterConfig) *Requester {
	config.MaxBody = cmp.Or(max(config.MaxBody, 0), DefaultMaxBody)
	life, end := context.WithCancelCause(context.Background())
	r := &Requester{conn: conn, config: config, life: life, close: end}
	r.channel = newReopened(conn, r.prepare)
	return r
}

// Call publishes a request and blocks until its reply, or until ctx ends. The correlation id of m must be set and
// unique; reply-to is set here, and the expiration, where ctx has a deadline. Requests are not confirmed: what is lost
// on the way ends with ctx. The end of ctx after the request was written is ErrUnconfirmed, and so, at once, is a
// connection that is lost then: the request may have been handled. An m.ReplyExchange that does not exist is
// ErrNotFound, one that this user may not bind to ErrRefused; nothing was sent then.
func (r *Requester) Call(ctx context.Context, m *Publication) (*Delivery, error) {
	if err := m.check(r.config.MaxBody); err != nil {
		return nil, err
	}
	if m.CorrelationId == "" {
		return nil, fmt.Errorf("%w: a request needs a correlation id", ErrInvalid)
	}
	request := *m
	for {
		ch, err := r.channel.ready(ctx, r.life, len(m.Body))
		if err != nil {
			return nil, err
		}
		if bound, err := r.bind(ctx, ch, m.ReplyExchange); !bound {
			ch.session.wire.release(len(m.Body))
			if err != nil {
				return nil, err
			}
			continue // the queue was lost
		}
		if deadline, ok := ctx.Deadline(); ok {
			request.Expiration = expiration(time.Until(deadline))
		}
		waiting, err := ch.publish(&request)
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
			ch.end(m.CorrelationId, answer{}) // which nobody reads
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				ch.route(m.ReplyExchange).doubt()
			}
			return nil, r.conn.unanswered(ctx)
		}
	}
}

// maxReserved bounds the part of a caller's time in which its request may not wait in its queue any more.
const maxReserved = 5 * time.Second

// expiration is how long a request may wait in its queue if its caller waits for left.
func expiration(left time.Duration) string {
	left -= min(left/4, maxReserved)
	return strconv.FormatInt(max(left.Milliseconds(), 1), 10)
}

// PublishHint publishes m if that is possible at once, and forgets it: for hints that nobody relies on. Hints have
// their own channel, which lasts as long as the connection: where one may not be published, or its exchange does not
// exist, the broker closes that channel, and no call suffers.
func (r *Requester) PublishHint(m *Publication) {
	ch := r.hints.Load()
	if ch == nil || !ch.alive() || m.check(r.config.MaxBody) != nil || !r.conn.trySendable(ch.session, len(m.Body)) {
		return
	}
	defer ch.session.wire.release(len(m.Body))
	_, _ = ch.write(context.Background(), m) // nobody looks at what comes back
}

var errRequesterClosed = fmt.Errorf("the client is %w", ErrClosed)

// prepare makes a channel ready for requests and replies, and another for hints, which lasts as long as the connection:
// closed or not, since what the broker closed it for has not changed.
func (r *Requester) prepare(ctx context.Context, ch *Channel) (*replyChannel, error) {
	c, err := callOn(ctx, ch, func() (*replyChannel, error) { return newReplyChannel(ch, r.config, r.replyQueue()) })
	if last := r.hints.Load(); err == nil && (last == nil || last.session != ch.session) {
		var hints *Channel
		if hints, err = r.conn.Channel(ctx); err == nil {
			r.hints.Store(hints)
		}
	}
	if err != nil {
		switch e, ok := errors.AsType[*amqp.Error](err); {
		case ok && e.Code == amqp.AccessRefused:
			err = fmt.Errorf("%w: %s", ErrRefused, lacking("configure or read", e.Reason))
		case ok && e.Code == amqp.ResourceLocked:
			// The queue of a connection to a node that has crashed is locked until that node is back (RabbitMQ 4.3).
			queue := suffixed(r.config.ReplyQueue)
			r.queue.Store(&queue)
		}
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

// replyQueue is the name of the next reply queue.
func (r *Requester) replyQueue() string {
	if queue := r.queue.Load(); queue != nil {
		return *queue
	}
	return r.config.ReplyQueue
}

// read hands the replies on until there will be no more.
func (r *Requester) read(c *replyChannel) {
	for d := range c.deliveries {
		if waited := c.end(d.CorrelationId, answer{reply: &d}); !waited && r.config.OnLate != nil {
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
	if r.closing.Swap(true) {
		return nil
	}
	r.close(errRequesterClosed)
	ch := r.channel.shut()
	if ch == nil {
		return nil
	}
	ch.fail(func(*Publication) error {
		return fmt.Errorf("%w: the client was closed before the reply came", ErrUnconfirmed)
	})
	_, err := await(ctx, func() (struct{}, error) {
		closing := context.WithoutCancel(ctx)
		ch.close(closing)
		r.hints.Load().close(closing)
		r.readers.Wait() // until the connection ends, where the broker does not answer
		return struct{}{}, nil
	}, func(struct{}) {})
	return err
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

	routes  sync.Map      // of replies, by exchange: *replyRoute
	binding chan struct{} // held by the caller that binds the queue

	mu      sync.Mutex
	waiting map[string]waiter // by correlation id; nil when the channel has ended
}

// replyRoute is how replies come through one exchange.
type replyRoute struct {
	address string       // the routing key under which the queue is bound, and the reply-to of requests
	bound   atomic.Int64 // when it was, in nanoseconds since 1970; 0 before
	suspect atomic.Bool  // the exchange, or the binding, may have been deleted since
}

// sure reports whether the queue was bound, and nothing speaks against it.
func (r *replyRoute) sure() bool { return r.bound.Load() != 0 && !r.suspect.Load() }

// recheckAfter is how long a binding is not doubted.
const recheckAfter = 5 * time.Second

// doubt has the queue bound again with the next call, unless it was a moment ago.
func (r *replyRoute) doubt() {
	if time.Since(time.Unix(0, r.bound.Load())) > recheckAfter {
		r.suspect.Store(true)
	}
}

type waiter struct {
	*Publication
	answers chan answer
}

func newReplyChannel(ch *Channel, config RequesterConfig, queue string) (*replyChannel, error) {
	c := &replyChannel{
		Channel: ch, replyTo: cmp.Or(queue, directReplyTo), binding: make(chan struct{}, 1), waiting: make(map[string]waiter, 64),
	}
	c.routes.Store("", &replyRoute{address: c.replyTo}) // to the default exchange every queue is bound under its name
	if queue != "" {
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

// route returns how replies come through an exchange. Each exchange has an address of its own, which cannot be guessed:
// a service that is called learns it, and could otherwise bind a queue to get what other services answer.
func (c *replyChannel) route(exchange string) *replyRoute {
	if r, ok := c.routes.Load(exchange); ok {
		return r.(*replyRoute) //nolint:forcetypeassert // nothing else is in there
	}
	secret := "." + strings.ToLower(rand.Text())
	r, _ := c.routes.LoadOrStore(exchange, &replyRoute{address: c.replyTo[:min(len(c.replyTo), 255-len(secret))] + secret})
	return r.(*replyRoute) //nolint:forcetypeassert // as above
}

// bind has the reply queue receive what is published to an exchange under its address there. While one caller binds it
// again, in case the binding was deleted, others use the one that should be there. The queue may be gone; then it is
// not bound, and there is no error.
func (r *Requester) bind(ctx context.Context, c *replyChannel, exchange string) (bound bool, err error) {
	if exchange == "" { // to which every queue is bound
		return true, nil
	}
	route := c.route(exchange)
	if route.sure() {
		return true, nil
	}
	living, stop := either(ctx, r.life)
	defer stop()
	select {
	case c.binding <- struct{}{}:
	default:
		if route.bound.Load() != 0 {
			return true, nil
		}
		select {
		case c.binding <- struct{}{}:
		case <-living.Done():
			return false, r.notBound(ctx, nil)
		}
	}
	defer func() { <-c.binding }()
	if route.sure() {
		return true, nil
	}
	if bound, err = r.bindNow(living, c, route, exchange); err != nil {
		err = r.notBound(ctx, err)
	}
	return bound, err
}

// notBound is why a call could not be made ready for its reply: its context has ended, the requester, or for a reason.
func (r *Requester) notBound(ctx context.Context, reason error) error {
	switch {
	case ctx.Err() != nil:
		return r.conn.notSent(ctx)
	case r.life.Err() != nil:
		return context.Cause(r.life)
	default:
		return fmt.Errorf("cannot receive replies: %w", reason)
	}
}

// bindNow binds on a channel of its own, which a refusal closes.
func (r *Requester) bindNow(ctx context.Context, c *replyChannel, route *replyRoute, exchange string) (bound bool, err error) {
	ch, err := r.conn.Channel(ctx)
	if err != nil {
		return false, err
	}
	defer func() { go ch.close(context.Background()) }() // nobody waits for it
	route.suspect.Store(false)
	err = doOn(ctx, ch, func() error { return ch.QueueBind(c.replyTo, route.address, exchange, false, nil) })
	e, ok := errors.AsType[*amqp.Error](err)
	switch {
	case err == nil && ch.session == c.session:
		route.bound.Store(time.Now().UnixNano())
		return true, nil
	case !c.alive():
		return false, nil
	case ok && e.Code == amqp.NotFound && strings.Contains(e.Reason, "no queue "):
		c.retired.Store(true) // it is consumed no more, and the channel closed
		return false, nil
	case ok && e.Code == amqp.NotFound:
		route.bound.Store(0)
		return false, fmt.Errorf("%w: the exchange of replies %q: %w", ErrNotFound, exchange, err)
	case ok && e.Code == amqp.AccessRefused:
		return false, fmt.Errorf("%w: %s", ErrRefused, lacking("read", e.Reason))
	}
	return false, err
}

// publish writes the request, for which room was reserved. It never blocks on the network. The error is amqp.ErrClosed
// where nothing was written.
func (c *replyChannel) publish(m *Publication) (<-chan answer, error) {
	defer c.session.wire.release(len(m.Body))
	m.ReplyTo = c.route(m.ReplyExchange).address
	answers, err := c.expect(m)
	if err != nil {
		return nil, err
	}
	_, err = c.write(context.Background(), m) // there is no call here to wait for
	if err == nil {
		return answers, nil
	}
	c.end(m.CorrelationId, answer{})
	if errors.Is(err, amqp.ErrClosed) || errors.Is(err, ErrInvalid) {
		return nil, err
	}
	return nil, because(ErrUnconfirmed, err)
}

// expect notes that m waits for an answer.
func (c *replyChannel) expect(m *Publication) (<-chan answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return nil, amqp.ErrClosed
	}
	if _, taken := c.waiting[m.CorrelationId]; taken {
		return nil, fmt.Errorf("%w: the correlation id %q is in use", ErrInvalid, m.CorrelationId)
	}
	answers := make(chan answer, 1)
	c.waiting[m.CorrelationId] = waiter{m, answers}
	return answers, nil
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

// fail ends all calls that wait, each for its reason, and lets no more in: the channel is about to be closed.
func (c *replyChannel) fail(why func(*Publication) error) {
	c.retired.Store(true)
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, w := range waiting {
		w.answers <- answer{err: why(w.Publication)}
	}
}
