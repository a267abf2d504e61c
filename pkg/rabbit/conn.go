package rabbit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/semaphore"
)

// answerTimeout is how long closing something waits for a broker that may not answer any more: see [session.patience].
const answerTimeout = 5 * time.Second

// A Phase is what a connection is doing.
type Phase uint8

// The phases of a connection.
const (
	Connecting Phase = iota // no connection; it is being made (again)
	Connected
	Blocked // connected, but the broker reads nothing: an alarm for memory or disk
	Closed
)

// String returns "connecting", "connected", "blocked" or "closed".
func (p Phase) String() string {
	return [...]string{"connecting", "connected", "blocked", "closed"}[p]
}

// State is what is known of a connection at one moment.
type State struct {
	Phase Phase
	// Since is when the phase began.
	Since time.Time
	// Address is the broker connected to, or last tried, without its password.
	Address string
	// Err is why there is no connection, or why it is blocked; nil when all is well.
	Err error
	// Lost counts how often the connection was lost.
	Lost int
	// Version is the broker's, as it told when the connection was made.
	Version string
	// Channels is how many channels the connection may have (channel_max).
	Channels int
}

// A Conn is one connection to a broker, made again whenever it is lost. It is safe for concurrent use.
type Conn struct {
	config    Config
	addresses []address
	backoff   *Backoff
	blocked   atomic.Bool

	mu      sync.Mutex
	session *session
	changed chan struct{} // closed and replaced when session, blocked or closed change
	state   State

	stop context.CancelFunc // ends the supervisor
	done chan struct{}      // the supervisor has ended
}

// session is one life of the connection.
type session struct {
	*amqp.Connection
	wire    *wire
	address string
	closed  chan *amqp.Error
	blocks  chan amqp.Blocking
	silent  atomic.Bool // the broker has not answered in time, and not since
}

// alive tells whether the session can be written to, as far as anybody knows. The driver learns of a write that failed a
// moment after the wire does.
func (s *session) alive() bool { return !s.IsClosed() && !s.wire.failed.Load() }

// patience is how long closing something may wait for the broker's answer: hardly, where one did not come in time. So a
// process that ends piece by piece waits once for a broker that hangs, not for every piece.
func (s *session) patience() time.Duration {
	if s.silent.Load() {
		return 100 * time.Millisecond
	}
	return answerTimeout
}

// Dial connects and returns once that has succeeded. An unreachable broker is tried again until ctx ends; a refused
// login, a missing virtual host or an untrusted certificate is an error at once. After the first success the
// connection is made again for ever, whatever the reason it was lost for; [Conn.State] tells.
func Dial(ctx context.Context, config Config) (*Conn, error) {
	config = config.withDefaults()
	addresses, err := config.addresses()
	if err != nil {
		return nil, err
	}
	c := &Conn{
		config: config, addresses: addresses, backoff: config.Backoff,
		changed: make(chan struct{}), done: make(chan struct{}),
		state: State{Since: time.Now()},
	}
	s, err := c.dial(ctx, true)
	if err != nil {
		return nil, err
	}
	c.established(s)
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	go c.supervise(life, s)
	return c, nil
}

// State tells how the connection is.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Close closes the connection and waits until it is closed, or until ctx ends: then it is cut. What is in flight on
// it is lost; close publishers and consumers first. Close is safe to call twice.
func (c *Conn) Close(ctx context.Context) error {
	c.stop()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s != nil {
		_ = s.wire.Conn.Close()
	}
	<-c.done
	return because(errors.New("the connection was cut"), ended(ctx))
}

// A Channel is one channel of the connection, with all that the driver lets one do with it. It lives as long as the
// connection does; there is no other after it but the next that Conn.Channel opens.
type Channel struct {
	*amqp.Channel
	session *session
	closes  chan *amqp.Error

	once   sync.Once
	reason *amqp.Error

	// turns keeps methods out of messages: who publishes takes one, and who calls or closes all of them. The driver writes a
	// message frame by frame, and a method in between costs the whole connection (505, UNEXPECTED_FRAME).
	turns   *semaphore.Weighted
	retired atomic.Bool // nothing may be written any more: it is about to be closed

	calls   sync.WaitGroup // those of callOn that are not answered yet
	closing sync.Once
	ended   chan struct{} // closed when Close has returned
}

// Channel opens a channel, waiting for the connection while ctx lives. Whoever asked for it closes it.
func (c *Conn) Channel(ctx context.Context) (*Channel, error) {
	for {
		s, err := c.current(ctx)
		if err != nil {
			return nil, err
		}
		ch, err := await(ctx, s.Connection.Channel, func(late *amqp.Channel) { _ = late.Close() })
		if err == nil {
			return &Channel{
				Channel: ch, session: s, closes: ch.NotifyClose(make(chan *amqp.Error, 1)),
				turns: semaphore.NewWeighted(allTurns), ended: make(chan struct{}),
			}, nil
		}
		if ctx.Err() != nil {
			return nil, c.notSent(ctx)
		}
		if s.alive() {
			return nil, fmt.Errorf("open a channel: %w", err)
		}
	}
}

// alive tells whether the channel can be used, as far as anybody knows.
func (ch *Channel) alive() bool { return !ch.IsClosed() && !ch.retired.Load() && ch.session.alive() }

// exception returns why the broker closed the channel; nil if it did not, or if it was the connection that ended.
func (ch *Channel) exception() *amqp.Error {
	if !ch.IsClosed() {
		return nil
	}
	ch.once.Do(func() {
		if e := <-ch.closes; e != nil && e.Server && e.Recover && !ch.session.IsClosed() {
			ch.reason = e
		}
	})
	return ch.reason
}

// current returns the living session, waiting for one while ctx lives.
func (c *Conn) current(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, changed, phase := c.session, c.changed, c.state.Phase
		c.mu.Unlock()
		if phase == Closed {
			return nil, fmt.Errorf("the connection is %w", ErrClosed)
		}
		if s != nil && s.alive() {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, c.notSent(ctx)
		}
	}
}

// trySendable tells whether n bytes may be written on the session now: no alarm, and room in the buffer. If so they are
// reserved: see [wire.tryReserve].
func (c *Conn) trySendable(s *session, n int) bool {
	return !c.blocked.Load() && s.wire.tryReserve(n)
}

// sendable is trySendable that waits while ctx lives. It returns nil as well when the session has ended.
func (c *Conn) sendable(ctx context.Context, s *session, n int) error {
	for c.blocked.Load() && s.alive() {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if !c.blocked.Load() {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return c.notSent(ctx)
		}
	}
	return s.wire.reserve(ctx, n)
}

// notSent is the error of a publish that ctx ended before anything was written.
func (c *Conn) notSent(ctx context.Context) error {
	c.mu.Lock()
	state, s := c.state, c.session
	c.mu.Unlock()
	switch {
	case state.Phase == Blocked:
		return fmt.Errorf("%w (%w): %w", ErrBlocked, state.Err, ended(ctx))
	case state.Phase == Connected && s.alive(): // and not lost a moment ago
		return fmt.Errorf("%w in time: %w", ErrBlocked, ended(ctx))
	case state.Err != nil:
		return fmt.Errorf("%w: %w (last: %w)", ErrNotConnected, ended(ctx), state.Err)
	default:
		return fmt.Errorf("%w: %w", ErrNotConnected, ended(ctx))
	}
}

// supervise keeps the connection alive until life ends.
func (c *Conn) supervise(life context.Context, s *session) {
	defer close(c.done)
	defer func() { c.change(nil, State{Phase: Closed}) }()
	for short := 0; ; short++ {
		began := time.Now()
		err := c.watch(life, s)
		if err == nil {
			return
		}
		if time.Since(began) > c.config.MaxBackoff {
			short = 0
		}
		c.config.Logger.Warn("connection lost", "address", s.address, "error", err)
		c.change(nil, State{Phase: Connecting, Address: s.address, Err: err, Lost: c.State().Lost + 1})
		// Connections that are made and lost at once, again and again, must not be a hot loop: nothing cuts this wait short.
		if c.pause(life, short) != nil {
			return
		}
		if s, err = c.dial(life, false); err != nil {
			return
		}
		c.established(s)
	}
}

// pause waits before the next try after a number of failures in a row, or until ctx ends: see [Backoff].
func (c *Conn) pause(ctx context.Context, failures int) error {
	return c.backoff.wait(ctx, failures, nil)
}

// watch returns nil when the connection was closed as asked, and else why it was lost.
func (c *Conn) watch(life context.Context, s *session) error {
	for {
		select {
		case e, ok := <-s.closed:
			if !ok || e == nil {
				return errors.New("closed by the other side")
			}
			return e
		case b, ok := <-s.blocks:
			if !ok {
				s.blocks = nil // closed along with the connection, which the other case tells
				continue
			}
			c.setBlocked(s, b)
		case <-life.Done():
			// The driver's own deadline moves with every heartbeat, which a broker under an alarm goes on sending.
			patience := s.patience()
			cut := time.AfterFunc(patience, func() { _ = s.wire.Conn.Close() })
			_ = s.CloseDeadline(time.Now().Add(patience))
			cut.Stop()
			return nil
		}
	}
}

func (c *Conn) setBlocked(s *session, b amqp.Blocking) {
	c.blocked.Store(b.Active)
	next := c.State()
	next.Phase, next.Err = Connected, nil
	if b.Active {
		next.Phase, next.Err = Blocked, fmt.Errorf("resource alarm: %s", b.Reason)
		c.config.Logger.Warn("the broker takes no messages", "address", s.address, "reason", b.Reason)
	} else {
		c.config.Logger.Info("the broker takes messages again", "address", s.address)
	}
	c.change(s, next)
}

func (c *Conn) established(s *session) {
	c.config.Logger.Info("connected", "address", s.address, "broker", s.version())
	c.change(s, State{Phase: Connected, Address: s.address, Lost: c.State().Lost, Version: s.version(), Channels: int(s.Config.ChannelMax)})
	c.backoff.wake()
}

// change sets session and state, and wakes all who wait for a change.
func (c *Conn) change(s *session, next State) {
	next.Since = time.Now()
	c.mu.Lock()
	c.session, c.state = s, next
	if next.Phase != Blocked {
		c.blocked.Store(false)
	}
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if c.config.OnState != nil {
		c.config.OnState(next)
	}
}

// dial tries all addresses, round after round, until one answers or ctx ends.
func (c *Conn) dial(ctx context.Context, first bool) (*session, error) {
	order := slices.Clone(c.addresses)
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	if first {
		order = slices.Clone(c.addresses)
	}
	for round := 0; ; round++ {
		woken := c.backoff.woken() // before the attempt, which may fail just before another connection is made
		for _, a := range order {
			s, err := c.open(ctx, a)
			if err == nil {
				return s, nil
			}
			if ctx.Err() == nil || c.State().Err == nil {
				err = fmt.Errorf("%s: %w", a.shown, err)
				c.noteFailure(a, err)
			}
			if first && fatal(err) {
				return nil, fmt.Errorf("%w: %w", ErrRefused, err)
			}
			if ctx.Err() != nil {
				return nil, c.notSent(ctx)
			}
			if c.config.OnFailure != nil {
				c.config.OnFailure(err)
			} else if c.backoff.warns() {
				c.config.Logger.Warn("cannot connect to the broker; trying again", "error", err)
			}
		}
		if c.backoff.wait(ctx, round, woken) != nil {
			return nil, c.notSent(ctx)
		}
	}
}

func (c *Conn) noteFailure(a address, err error) {
	c.config.Logger.Debug("cannot connect", "address", a.shown, "error", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Address, c.state.Err = a.shown, err
}

// open makes one attempt at one address.
func (c *Conn) open(ctx context.Context, a address) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.DialTimeout)
	defer cancel()
	s := &session{address: a.shown}
	stop := func() bool { return true }
	defer func() { stop() }() // before cancel
	properties := amqp.NewConnectionProperties()
	maps.Copy(properties, c.config.Properties)
	properties.SetClientConnectionName(c.config.Name)
	plain, err := a.plainURL()
	if err != nil {
		return nil, err
	}
	blocked := &c.blocked
	var in *inbound
	conn, err := amqp.DialConfig(plain, amqp.Config{
		SASL:       candid(a.logins(), properties),
		Heartbeat:  c.config.Heartbeat,
		Properties: properties,
		Locale:     "en_US",
		Dial: func(network, host string) (net.Conn, error) {
			var d net.Dialer
			n, err := d.DialContext(ctx, network, host)
			if err != nil {
				return nil, err
			}
			deadline, _ := ctx.Deadline()
			s.wire = newWire(n, blocked)
			// The driver lifts the deadline when it has logged in.
			if err := n.SetDeadline(deadline); err != nil {
				return s.wire, err
			}
			// A peer that accepts and says nothing must not hold up the end of ctx.
			stop = context.AfterFunc(ctx, func() { _ = n.SetDeadline(time.Unix(1, 0)) })
			secured, err := a.secure(ctx, s.wire, c.config.TLS)
			if err != nil {
				return s.wire, err
			}
			in = newInbound(secured)
			return readableConn{secured, in}, nil
		},
	})
	if err != nil {
		if s.wire != nil {
			_ = s.wire.Close()
		}
		if in != nil {
			return nil, explain(err, in.failure())
		}
		return nil, err
	}
	s.Connection = conn
	s.closed = conn.NotifyClose(make(chan *amqp.Error, 1))
	s.blocks = conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	return s, nil
}

func (s *session) version() string {
	v, _ := s.Properties["version"].(string)
	return v
}

// allTurns is what a call takes of a channel's turns.
const allTurns = math.MaxInt64

// write publishes m. It does not block on the network, but it waits, while ctx lives, for a call on the same channel to be
// answered. Once the channel is closed, or about to be, it is amqp.ErrClosed.
func (ch *Channel) write(ctx context.Context, m *Publication) (*amqp.DeferredConfirmation, error) {
	if !ch.turns.TryAcquire(1) { // else ctx is of no account: Acquire refuses one that has ended
		if err := ch.turns.Acquire(ctx, 1); err != nil {
			return nil, ended(ctx)
		}
	}
	defer ch.turns.Release(1)
	if ch.retired.Load() {
		return nil, amqp.ErrClosed
	}
	return ch.PublishWithDeferredConfirm(m.Exchange, m.RoutingKey, m.Mandatory, false, m.Publishing)
}

// leftBehind is how long a call that nobody waits for any more keeps the turns, unless it is answered: nobody knows whether
// it has been written yet.
const leftBehind = time.Second

// callOn makes one call on a channel that blocks until the broker has answered, while ctx lives. Nothing is published on
// the channel meanwhile. A channel whose call was left behind may only be closed, by [Channel.close].
func callOn[T any](ctx context.Context, ch *Channel, call func() (T, error)) (T, error) {
	var none T
	if err := ch.turns.Acquire(ctx, allTurns); err != nil {
		return none, ended(ctx)
	}
	release := sync.OnceFunc(func() { ch.turns.Release(allTurns) })
	if ch.retired.Load() {
		release()
		return none, amqp.ErrClosed
	}
	ch.calls.Add(1)
	v, err := await(ctx, func() (T, error) {
		defer ch.calls.Done()
		defer release()
		v, err := call()
		if err == nil {
			ch.session.silent.Store(false)
		}
		return v, err
	}, func(T) {})
	if ctx.Err() != nil {
		time.AfterFunc(leftBehind, release)
	}
	return v, err
}

// doOn is callOn for a call without a result.
func doOn(ctx context.Context, ch *Channel, call func() error) error {
	_, err := callOn(ctx, ch, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// close closes the channel, and waits for that, for some seconds at most, while ctx lives. Calls that were left behind
// are answered first: what is written behind the closing of its channel costs the whole connection, since to the broker
// it belongs to a channel that was never opened. May be called again.
func (ch *Channel) close(ctx context.Context) {
	ch.closing.Do(func() {
		go func() {
			defer close(ch.ended)
			_ = ch.turns.Acquire(context.Background(), allTurns)
			ch.retired.Store(true)
			ch.turns.Release(allTurns)
			ch.calls.Wait()
			if open := !ch.IsClosed(); ch.Channel.Close() == nil && open {
				ch.session.silent.Store(false)
			}
		}()
	})
	timer := time.NewTimer(ch.session.patience())
	defer timer.Stop()
	select {
	case <-ch.ended:
	case <-timer.C:
		ch.session.silent.Store(true)
	case <-ctx.Done():
	}
}

// await runs a call of the driver that knows no context. A result that comes too late goes to discard.
func await[T any](ctx context.Context, call func() (T, error), discard func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		v, err := call()
		results <- result{v, err}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		go func() {
			if r := <-results; r.err == nil {
				discard(r.value)
			}
		}()
		var none T
		return none, ended(ctx)
	}
}
