package leveret

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// ClientConfig says how a client sends. The zero value of a field is its default.
type ClientConfig struct {
	// Middleware is put around every message that is sent and every call, the first outermost.
	Middleware []Middleware
	// MaxInFlight bounds the messages that wait for their confirm; further ones wait before they are written. Default 512.
	MaxInFlight int
	// MaxBody is the size in bytes over which a message is refused, with [ErrTooLarge]. Default 16 MiB: over the broker's
	// own limit, which is that for RabbitMQ 4, it closes the channel.
	MaxBody int
	// ReplyQueue collects replies in an exclusive queue, reply.<service>.<instance>-<random>, instead of RabbitMQ's direct
	// reply-to: visible in the management UI, and about as quick. In the isolated layout it is always so, since direct
	// reply-to needs the default exchange.
	ReplyQueue bool
}

// A Client sends the commands, publishes the events and makes the requests that its service declared. It is safe for
// concurrent use, and meant to be shared: a program needs one.
type Client struct {
	conn      *Conn
	service   *Service
	routes    map[Contract]*sending
	publisher *rabbit.Publisher
	requester *rabbit.Requester
	config    ClientConfig
	send      Handler
	call      Handler
}

// sending is what is known of a contract before its first message.
type sending struct {
	spec       Spec
	exchange   topology.Exchange
	routingKey string
	signals    *signals
	topology   topology.Topology // what this service declares for it

	declared atomic.Bool // and none of it was missing since
}

// NewClient makes a client. It does not block; what a contract needs is declared with its first message. Mistakes
// in the service and its contracts are errors here. Close ends the client.
func NewClient(conn *Conn, service *Service, config ClientConfig) (*Client, error) {
	if conn == nil || service == nil {
		return nil, Errorf(InvalidArgument, "a client needs a connection and a service")
	}
	if err := errors.Join(service.Err(), service.checkNames(conn.names)); err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	c := &Client{conn: conn, service: service, config: config, routes: make(map[Contract]*sending)}
	for _, u := range service.uses {
		if !u.role.sends() {
			continue
		}
		spec := u.contract.Spec()
		exchange, key := spec.Route(conn.names)
		c.routes[u.contract] = &sending{
			spec: spec, exchange: exchange, routingKey: key, signals: conn.tel.signals(spec, exchange.Name, key, ""),
			topology: u.topology(conn.names, service.name, "", conn.config.RequestQueueType),
		}
	}
	c.publisher = rabbit.NewPublisher(conn.publish, rabbit.PublisherConfig{MaxInFlight: config.MaxInFlight, MaxBody: config.MaxBody})
	requests := rabbit.RequesterConfig{
		Tag: service.name + "@" + conn.config.Instance, MaxBody: config.MaxBody, OnLate: conn.tel.lateReply,
	}
	if config.ReplyQueue || conn.names.Layout == topology.Isolated {
		requests.ReplyQueue = conn.names.ReplyQueue(service.name, conn.uniqueInstance())
	}
	c.requester = rabbit.NewRequester(conn.publish, requests)
	c.send = chain(c.observed(c.publish), config.Middleware)
	c.call = chain(c.observed(c.request), config.Middleware)
	return c, nil
}

// Send publishes a command or an event and blocks until the broker has confirmed it: see the errors of this package for
// what else it may end in. While ctx lives, it waits through lost connections, and publishes again under the same id.
func (c *Client) Send(ctx context.Context, m *Message) error {
	if _, err := c.route(m, false); err != nil {
		return err
	}
	return c.send(ctx, m)
}

// Call makes a request and blocks until its reply, which it sets in m, a coded error from the other side, or the end of
// ctx. A ctx without a deadline is given the contract's timeout.
func (c *Client) Call(ctx context.Context, m *Message) error {
	r, err := c.route(m, true)
	if err != nil {
		return err
	}
	if m.Body, err = m.Encode(); err != nil {
		return fmt.Errorf("%s: %w", r.spec.Name, err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.spec.Timeout)
		defer cancel()
	}
	m.Deadline, _ = ctx.Deadline()
	return c.call(ctx, m)
}

// Ready returns nil while the broker can be reached and takes messages, and else what is wrong.
func (c *Client) Ready() error { return c.conn.Ready() }

// Close refuses further messages, waits for those that are not confirmed yet while ctx lives, and fails the calls that
// still wait.
func (c *Client) Close(ctx context.Context) error {
	calls := make(chan error, 1)
	go func() { calls <- c.requester.Close(ctx) }()
	return errors.Join(c.publisher.Close(ctx), <-calls)
}

// route returns what is known of the contract of a message that is to be called, or else sent or published.
func (c *Client) route(m *Message, call bool) (*sending, error) {
	r := c.routes[m.Contract]
	switch {
	case r == nil:
		role := RoleSends
		if !isNil(m.Contract) {
			role = m.Contract.Spec().Kind.SenderRole()
		}
		return nil, c.service.Undeclared(m.Contract, role)
	case call != (r.spec.Kind == KindRequest):
		return nil, Errorf(InvalidArgument, "%s is %s: requests are called, commands sent, events published",
			r.spec.Name, article(r.spec.Kind.String()))
	case !m.SendAt.IsZero():
		return nil, Errorf(InvalidArgument, "%s: a client sends at once; use an outbox for a message that is sent later", r.spec.Name)
	}
	return r, nil
}

func nameOf(c Contract) string {
	if isNil(c) {
		return "a message without a contract"
	}
	return fmt.Sprintf("the %s %q", c.Spec().Kind, c.Spec().Name)
}

// publication is a message with its destination.
func (c *Client) publication(ctx context.Context, m *Message) (*rabbit.Publication, error) {
	r := c.routes[m.Contract]
	key := r.routingKey
	if r.spec.RoutingKey != nil {
		var err error
		if key, err = r.spec.RoutingKey(m); err != nil {
			return nil, err
		}
	}
	p := &rabbit.Publication{
		Exchange:   r.exchange.Name,
		RoutingKey: key,
		// An event may have no subscriber; and a delayed message has reached no queue when the broker looks.
		Mandatory:  r.spec.Kind != KindEvent && r.exchange.Type != "x-delayed-message",
		Publishing: m.publishing(r.spec, c.service.name),
	}
	if r.spec.Kind == KindRequest {
		p.ReplyExchange = r.spec.replyExchange(c.conn.names)
	}
	if !m.foreign(ctx).IsValid() {
		w3c.Inject(ctx, carrier(p.Headers))
	}
	return p, nil
}

// declared calls publish once what the contract of m needs has been declared, and once more where publish finds some of
// it missing.
func (c *Client) declared(ctx context.Context, m *Message, publish func(*rabbit.Publication) error) error {
	if err := m.CheckHeaders(); err != nil { // now that middleware has had its way
		return err
	}
	p, err := c.publication(ctx, m)
	if err != nil {
		return err
	}
	r := c.routes[m.Contract]
	for again := false; ; again = true {
		if !r.declared.Load() {
			if err := c.conn.Declare(ctx, r.topology); err != nil {
				return err
			}
			r.declared.Store(true)
		}
		if err := publish(p); !c.missed(r, err) || again {
			return err
		}
	}
}

// missed reports whether err says that something is missing that is declared before the next message.
func (c *Client) missed(r *sending, err error) bool {
	missing := rabbit.ErrUnroutable
	if r.spec.Kind == KindRequest { // its queue is for others to declare
		missing = rabbit.ErrNotFound
	}
	if c.conn.config.NoDeclare || r.topology.Empty() || !errors.Is(err, missing) {
		return false
	}
	if r.declared.CompareAndSwap(true, false) {
		c.conn.declarer.Forget(r.topology)
	}
	return true
}

func (c *Client) publish(ctx context.Context, m *Message) error {
	err := c.declared(ctx, m, func(p *rabbit.Publication) error { return c.publisher.Publish(ctx, p) })
	if err != nil {
		return withCode("%s %s: %w", m.Contract.Spec().Name, m.ID, err)
	}
	return nil
}

// request makes one call, and makes it again after a lost connection where that is harmless.
func (c *Client) request(ctx context.Context, m *Message) error {
	spec := m.Contract.Spec()
	m.CorrelationID = newCorrelationID()                     // middleware may make a call again that it has called off
	if d, ok := ctx.Deadline(); ok && d.Before(m.Deadline) { // middleware may have made it sooner
		m.Deadline = d
	}
	var lost error // an earlier try that may have been handled
	for exceptions := 0; ; {
		var d *rabbit.Delivery
		err := c.declared(ctx, m, func(p *rabbit.Publication) (err error) {
			d, err = c.requester.Call(ctx, p)
			return err
		})
		if errors.Is(err, rabbit.ErrException) {
			exceptions++
		}
		switch {
		case err == nil:
			err = c.reply(m, d)
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			err = c.unanswered(ctx, m, err, lost != nil)
		case errors.Is(err, ErrUnconfirmed) && spec.Idempotent && exceptions < 2: // a second is likely its own fault
			c.conn.config.Logger.InfoContext(ctx, "the connection was lost during a call; calling again", "contract", spec.Name, "message_id", m.ID)
			lost = err
			continue
		case errors.Is(err, ErrUnroutable):
			err = withCode("%s: no service answers it now: %w", spec.Name, err)
		default:
			err = withCode("%s %s: %w", spec.Name, m.ID, err)
		}
		if err != nil && lost != nil && !errors.Is(err, ErrOutcomeUnknown) {
			err = fmt.Errorf("%w (an earlier try: %w)", err, lost)
		}
		return err
	}
}

// unanswered is the error of a call whose context ended. One that was cancelled after it was written is called off, in
// case it is being handled; but not over somebody else's queue, where nobody listens.
func (c *Client) unanswered(ctx context.Context, m *Message, err error, writtenBefore bool) error {
	spec := m.Contract.Spec()
	code, what := DeadlineExceeded, "no reply in time"
	canceled, written := errors.Is(ctx.Err(), context.Canceled), writtenBefore || errors.Is(err, ErrUnconfirmed)
	if canceled {
		code, what = Canceled, "the call was cancelled"
	}
	switch {
	case !written:
		what += ", before it was sent"
	case canceled && !spec.external():
		c.requester.PublishHint(&rabbit.Publication{
			Exchange: c.conn.names.ControlExchange(spec.Owner()), RoutingKey: c.conn.names.CancelKey(spec.Name),
			Publishing: rabbit.Publishing{CorrelationId: m.CorrelationID, AppId: c.service.name, DeliveryMode: wire.Transient},
		})
	}
	return Errorf(code, "%s %s: %s: %w", spec.Name, m.ID, what, err)
}

func (c *Client) reply(m *Message, d *rabbit.Delivery) error {
	m.AnsweredBy = d.AppId
	if instance := wire.Text(d.Headers, wire.Instance); instance != "" {
		m.AnsweredBy += "@" + instance
	}
	if isProblem(d.ContentType) {
		return DecodeProblem(d.Body)
	}
	m.Reply = d.Body
	return nil
}

// A Pipeline writes many messages from one goroutine without waiting for each one's confirm. It is no [Sender], since a
// message that was only written may yet be lost. It is not safe for concurrent use.
type Pipeline struct {
	client    *Client
	rabbit    *rabbit.Pipeline
	write     Handler
	onOutcome func(*Message, error)
}

// Pipeline makes a pipeline, which shares the client's limit of messages in flight. Each message that Write has taken
// is handed to onOutcome, which may be nil, with what became of it: nil if it was confirmed. The calls come from a
// later Write or from Flush.
func (c *Client) Pipeline(onOutcome func(m *Message, err error)) *Pipeline {
	if onOutcome == nil {
		onOutcome = func(*Message, error) {}
	}
	p := &Pipeline{client: c, rabbit: c.publisher.Pipeline(), onOutcome: onOutcome}
	p.write = chain(p.publish, c.config.Middleware)
	return p
}

// Write writes a message and returns. It blocks while the connection is down, or too many messages wait for their
// confirm. An error means that this message was not sent; onOutcome and Flush report what becomes of one that was.
// Middleware sees the writing only.
func (p *Pipeline) Write(ctx context.Context, m *Message) error {
	if _, err := p.client.route(m, false); err != nil {
		return err
	}
	return p.write(ctx, m)
}

func (p *Pipeline) publish(ctx context.Context, m *Message) error {
	r := p.client.routes[m.Contract]
	ctx, done := r.signals.begin(ctx, m, m.foreign(ctx))
	outcome := func(err error) error {
		if err != nil {
			err = withCode("%s %s: %w", m.Contract.Spec().Name, m.ID, err)
		}
		done(err, true)
		return err
	}
	if err := p.client.declared(ctx, m, func(publication *rabbit.Publication) error {
		return p.rabbit.Publish(ctx, publication, func(err error) error {
			p.client.missed(r, err) // a later message declares it again
			err = outcome(err)
			p.onOutcome(m, err)
			return err
		})
	}); err != nil {
		return outcome(err)
	}
	return nil
}

// Flush blocks until every message has its outcome, or ctx ends. It returns nil if and only if all that were written
// since the last Flush are confirmed; else the errors of the others, joined: of the first hundred, and how many more
// there are.
func (p *Pipeline) Flush(ctx context.Context) error { return p.rabbit.Flush(ctx) }
