package rabbit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/semaphore"
)

// A Channel is one channel of the connection, with all that the driver lets one do with it. It lives as long as the
// connection does; there is no other after it but the next that Conn.Channel opens.
type Channel struct {
	*amqp.Channel
	session *session
	life    context.Context //nolint:containedctx // it ends with the channel; its cause is an ErrNotConnected, and the driver's reason

	// turns keeps methods out of messages: publishing takes one, calling or closing takes all. The driver writes a message
	// frame by frame, and a method in between costs the whole connection (505, UNEXPECTED_FRAME).
	turns   *semaphore.Weighted
	retired atomic.Bool // nothing may be written any more: it is about to be closed

	calls   sync.WaitGroup // those of callOn that are not answered yet
	closing sync.Once
	ended   chan struct{} // closed when Close has returned
	endErr  error         // what it has returned
}

// Channel opens a channel, waiting for the connection while ctx lives. The caller closes it.
func (c *Conn) Channel(ctx context.Context) (*Channel, error) {
	for {
		s, err := c.current(ctx)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		ch, err := await(ctx, s.Connection.Channel, func(late *amqp.Channel) { _ = late.Close() })
		if err == nil {
			s.took(time.Since(began))
			return newChannel(s, ch), nil
		}
		if ctx.Err() != nil {
			return nil, c.notSent(ctx)
		}
		if s.alive() {
			return nil, fmt.Errorf("open a channel: %w", err)
		}
	}
}

func newChannel(s *session, ch *amqp.Channel) *Channel {
	life, end := context.WithCancelCause(context.Background())
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	go func() {
		lost := fmt.Errorf("the channel was lost: %w", ErrNotConnected)
		if reason := <-closed; reason != nil {
			lost = because(lost, reason)
			if reason.Code == amqp.PreconditionFailed && strings.Contains(reason.Reason, " timed out") { // the texts differ
				lost = because(ErrTookBack, lost)
			}
		}
		end(lost)
	}()
	return &Channel{Channel: ch, session: s, life: life, turns: semaphore.NewWeighted(allTurns), ended: make(chan struct{})}
}

// Gone returns a channel that is closed when this one has ended, whoever ended it.
func (ch *Channel) Gone() <-chan struct{} { return ch.life.Done() }

// base lets what is made of a channel be used as one: see [reopened].
func (ch *Channel) base() *Channel { return ch }

// alive reports whether the channel can be used, as far as anybody knows.
func (ch *Channel) alive() bool { return !ch.IsClosed() && !ch.retired.Load() && ch.session.alive() }

// exception returns why the broker closed the channel, or the whole connection, over something that it was sent; nil if
// it did not. An operator who closes connections, and a broker that stops, blame no message.
func (ch *Channel) exception() *amqp.Error {
	if !ch.IsClosed() {
		return nil
	}
	<-ch.life.Done() // in a moment
	if e, ok := errors.AsType[*amqp.Error](context.Cause(ch.life)); ok && e.Server && e.Code != amqp.ConnectionForced {
		return e
	}
	return nil
}

// allTurns is what a call takes of a channel's turns.
const allTurns = math.MaxInt64

// write publishes m. It does not block on the network, but it waits, while ctx lives, for a call on the same channel to
// be answered. It returns amqp.ErrClosed once the channel is closed, or about to be, and ErrInvalid for a message that
// cannot be sent; after any other error some of m may have been written.
func (ch *Channel) write(ctx context.Context, m *Publication) (*amqp.DeferredConfirmation, error) {
	if !ch.turns.TryAcquire(1) { // Acquire alone would refuse a ctx that has ended
		if err := ch.turns.Acquire(ctx, 1); err != nil {
			return nil, ended(ctx)
		}
	}
	defer ch.turns.Release(1)
	if ch.retired.Load() {
		return nil, amqp.ErrClosed
	}
	if err := ch.fits(m); err != nil {
		return nil, err
	}
	confirm, err := ch.PublishWithDeferredConfirm(m.Exchange, m.RoutingKey, m.Mandatory, false, m.Publishing)
	if err != nil && ch.alive() {
		err = because(ErrInvalid, err)
	}
	return confirm, err
}

// leftBehind is how long a call that nobody waits for any more keeps the turns, unless it is answered: it may not have
// been written yet.
const leftBehind = time.Second

// callOn makes one call on a channel that blocks until the broker has answered, while ctx lives. Nothing is published
// on the channel meanwhile. A channel whose call was left behind may only be closed, by [Channel.End].
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

// End closes the channel, and waits for that while ctx lives: where ctx has no deadline, for some seconds at most. Calls
// that were left behind are answered first: what is written behind the closing of its channel costs the whole
// connection, since to the broker it belongs to a channel that was never opened. So use it rather than the driver's
// Close. May be called again, by any goroutine.
//
// It returns nil once the broker has answered. Where the channel was lost before that, or nothing is heard in those
// seconds, the error is [ErrNotConnected]. When it returns because ctx has ended, or those seconds, the channel is closed
// in the background.
func (ch *Channel) End(ctx context.Context) error {
	if _, limited := ctx.Deadline(); limited {
		return ch.endBefore(ctx, nil)
	}
	return ch.endBefore(ctx, time.After(ch.session.patience(answerTimeout)))
}

// close is End where it does not matter how it went. It takes some seconds at most, even where ctx has a deadline.
func (ch *Channel) close(ctx context.Context) {
	_ = ch.endBefore(ctx, time.After(ch.session.patience(answerTimeout)))
}

// endBefore is End, which gives up on the broker when late says so.
func (ch *Channel) endBefore(ctx context.Context, late <-chan time.Time) error {
	ch.closing.Do(func() {
		go func() {
			defer close(ch.ended)
			_ = ch.turns.Acquire(context.Background(), allTurns)
			ch.retired.Store(true)
			ch.turns.Release(allTurns)
			ch.calls.Wait()
			open := !ch.IsClosed()
			err := ch.Channel.Close()
			if err == nil && open {
				ch.session.silent.Store(false)
				return
			}
			<-ch.life.Done() // in a moment
			ch.endErr = context.Cause(ch.life)
		}()
	})
	select {
	case <-ch.ended:
		return ch.endErr
	case <-late:
		ch.session.silent.Store(true)
		return fmt.Errorf("close the channel: the broker does not answer: %w", ErrNotConnected)
	case <-ctx.Done():
		return ended(ctx)
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
