package rabbit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

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
	// Version is the broker's, from when the connection was made.
	Version string
	// Channels is how many channels the connection may have (channel_max); when it is lost, how many it had.
	Channels int
}

// A Conn is one connection to a broker, made again whenever it is lost. It is safe for concurrent use.
type Conn struct {
	config    Config
	addresses []address
	blocked   atomic.Bool
	replies   *replier
	proofs    proofs
	lanes     pool[*lane]

	mu      sync.Mutex
	session *session
	changed chan struct{} // closed and replaced when session, blocked or closed change
	state   State

	stop context.CancelFunc // ends the supervisor
	done chan struct{}      // the supervisor has ended
}

// Dial connects and returns once that has succeeded: the first address that works is used. If none does, they are tried
// again until ctx ends; but when one has refused the login, has no such virtual host, or has a certificate that is not
// trusted, and no other one works, that is an error at once. An error has a line for each of several addresses. After the
// first success the connection is made again forever, whatever the reason it was lost for; [Conn.State] has it. With
// NoWait, Dial returns at once, and the connection is made as if it had just been lost.
func Dial(ctx context.Context, config Config) (*Conn, error) {
	config = config.withDefaults()
	addresses, err := config.addresses()
	if err != nil {
		return nil, err
	}
	c := &Conn{
		config: config, addresses: addresses,
		changed: make(chan struct{}), done: make(chan struct{}),
		state: State{Since: time.Now(), Address: addresses[0].shown},
	}
	c.replies = newReplier(c)
	var s *session
	if !config.NoWait {
		if s, err = c.dial(ctx, true); err != nil {
			return nil, err
		}
		c.established(s)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	go c.supervise(life, s)
	return c, nil
}

// apart dials another connection like c, for what may cost the connection that it is done on. It tries each address
// once: the broker may allow no more connections. Its errors are an errNotApart. The function that it returns closes the
// connection; it must be called.
func (c *Conn) apart(ctx context.Context) (*Conn, func(), error) {
	config := c.config
	config.Name, config.NoWait, config.Logger = config.Name+" apart", false, config.Logger.With("apart", true)
	config.once, config.OnFailure = true, func(error) {}
	dialing, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	other, err := Dial(dialing, config)
	if err != nil {
		return nil, nil, because(errNotApart, err)
	}
	return other, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
		defer cancel()
		_ = other.Close(ctx)
	}, nil
}

var errNotApart = errors.New("there is no connection for it alone")

// State returns how the connection is.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Close closes the connection and waits until it is closed, or until ctx ends: then it is cut. What is in flight on
// it is lost; close publishers and consumers first. Close is safe to call twice.
func (c *Conn) Close(ctx context.Context) error {
	_ = c.replies.Close(ctx) // callers wait for a time only
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

// Await blocks until the connection is made, which it may be already. It returns an error when ctx ends, or the
// connection is closed.
func (c *Conn) Await(ctx context.Context) error {
	_, err := c.current(ctx)
	return err
}

// trySendable reports whether n bytes may be written on the session now: no alarm, and room in the buffer. If so they
// are reserved: see [wire.tryReserve].
func (c *Conn) trySendable(s *session, n int) bool {
	return !c.blocked.Load() && s.wire.tryReserve(n)
}

// sendable is trySendable that waits while ctx lives. It returns nil as well when the session has ended.
func (c *Conn) sendable(ctx context.Context, s *session, n int) error {
	for {
		c.mu.Lock()
		blocked, changed := c.session == s && c.state.Phase == Blocked, c.changed
		c.mu.Unlock()
		if !blocked {
			return s.wire.reserve(ctx, n)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return c.notSent(ctx)
		}
	}
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
		return fmt.Errorf("%w: %w: %w", ErrNotConnected, ended(ctx), state.Err)
	default:
		return fmt.Errorf("%w: %w", ErrNotConnected, ended(ctx))
	}
}

// unanswered is the error of what was written when ctx ends before the broker has answered.
func (c *Conn) unanswered(ctx context.Context) error {
	if s := c.State(); s.Phase == Blocked {
		return fmt.Errorf("%w (%w): %w", ErrUnconfirmed, s.Err, ended(ctx))
	}
	return because(ErrUnconfirmed, ended(ctx))
}

// supervise keeps the connection alive until life ends. A nil session means that it has not been made yet.
func (c *Conn) supervise(life context.Context, s *session) {
	defer close(c.done)
	defer func() { c.change(nil, State{Phase: Closed}) }()
	for short := 0; ; short++ {
		if s == nil {
			var err error
			if s, err = c.dial(life, false); err != nil {
				return
			}
			c.established(s)
		}
		began := time.Now()
		err := c.watch(life, s)
		if err == nil {
			return
		}
		if time.Since(began) > c.config.Backoff.limit {
			short = 0
		}
		c.config.Logger.Warn("connection lost", "address", s.address, "error", err)
		if costly(err) {
			c.proofs.forget()
		}
		c.change(nil, State{Phase: Connecting, Address: s.address, Err: err, Lost: c.State().Lost + 1, Channels: c.State().Channels})
		// Connections that are made and lost at once, again and again, must not be a hot loop: nothing cuts this wait short.
		if c.config.Backoff.wait(life, short, nil) != nil {
			return
		}
		s = nil
	}
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
				s.blocks = nil // closed along with the connection, which the other case reports
				continue
			}
			c.setBlocked(s, b)
		case <-life.Done():
			// The driver's own deadline moves with every heartbeat, which a broker under an alarm goes on sending.
			patience := s.patience(answerTimeout)
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
		next.Phase, next.Err = Blocked, fmt.Errorf("%w: %s", ErrAlarm, b.Reason)
		c.config.Logger.Warn("the broker takes no messages", "address", s.address, "reason", b.Reason)
	} else {
		c.config.Logger.Info("the broker takes messages again", "address", s.address)
	}
	c.change(s, next)
}

func (c *Conn) established(s *session) {
	version, _ := s.Properties["version"].(string)
	c.config.Logger.Info("connected", "address", s.address, "broker", version)
	c.change(s, State{Phase: Connected, Address: s.address, Lost: c.State().Lost, Version: version, Channels: int(s.Config.ChannelMax)})
	c.config.Backoff.last.Store(s.address)
	c.config.Backoff.wake()
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
}

// dial tries all addresses, round after round, until one answers or ctx ends.
func (c *Conn) dial(ctx context.Context, first bool) (*session, error) {
	failed := map[string]error{}
	for round := 0; ; round++ {
		woken := c.config.Backoff.woken() // before the attempt, which may fail just before another connection is made
		if all, err := c.config.addresses(); err == nil {
			c.addresses = all
		} else if c.config.Backoff.warns() {
			c.config.Logger.Warn("the broker's new addresses are not used", "error", err)
		}
		order := slices.Clone(c.addresses)
		if first { // beginning with the one that works for another connection, if there is one
			known := slices.IndexFunc(order, func(a address) bool { return a.shown == c.config.Backoff.last.Load() })
			order = slices.Concat(order[max(known, 0):], order[:max(known, 0)])
		} else {
			rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		refused := false
		for i, a := range order {
			left := len(order) - i
			s, err := c.open(ctx, a, left)
			if err == nil {
				return s, nil
			}
			if failed[a.shown] == nil || !over(ctx) && !outOfTime(err) { // else the reason before says more
				failed[a.shown] = fmt.Errorf("%s: %w", a.shown, err)
				c.noteFailure(a, failed)
			}
			refused = refused || fatal(err)
			switch {
			case first && refused && left == 1:
				return nil, fmt.Errorf("%w: %w", ErrRefused, c.State().Err)
			case c.config.once && left == 1:
				return nil, c.State().Err
			case ctx.Err() != nil:
				return nil, c.notSent(ctx)
			case c.config.OnFailure != nil:
				c.config.OnFailure(failed[a.shown])
			case c.config.Backoff.warns():
				c.config.Logger.Warn("cannot connect to the broker; trying again", "error", failed[a.shown])
			}
		}
		if c.config.Backoff.wait(ctx, round, woken) != nil {
			return nil, c.notSent(ctx)
		}
	}
}

// over reports whether ctx has ended, or will have in a moment: a dialer may notice its deadline first.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// outOfTime reports whether a connection took too long to be made.
func outOfTime(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// noteFailure makes the reasons why addresses cannot be connected to the connection's, one line for each of several.
func (c *Conn) noteFailure(a address, failed map[string]error) {
	c.config.Logger.Debug("cannot connect", "address", a.shown, "error", failed[a.shown])
	reason := failed[a.shown]
	if len(c.addresses) > 1 {
		reason = fmt.Errorf("none of %d addresses works", len(c.addresses))
		for _, a := range c.addresses {
			if failed[a.shown] != nil {
				reason = fmt.Errorf("%w\n  %w", reason, failed[a.shown])
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Address, c.state.Err = a.shown, reason
}
