package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Settlement is what becomes of a delivery.
type Settlement uint8

// The settlements.
const (
	Ack     Settlement = iota + 1 // done with
	Requeue                       // back to the queue
	Reject                        // dead-lettered by the broker, if the queue says where to
)

// ErrDraining is the cause of a handler's context that ends because the consumer was stopped and the handler did not
// finish within the drain time.
var ErrDraining = errors.New("the worker is stopping")

// ErrAbandoned is what Run returns when handlers still ran after their contexts had been cancelled for a while.
var ErrAbandoned = errors.New("handlers did not end")

// ConsumerConfig says how to consume. The zero value of a field is its default.
type ConsumerConfig struct {
	Queue string
	// Tag begins the consumer tag, which is shown in the management UI.
	Tag string
	// Concurrency is how many deliveries are handled at once, those of lost connections included. Default 1.
	Concurrency int
	// Prefetch is how many unsettled deliveries the broker hands out ahead. Default 4 for each of Concurrency.
	Prefetch int
	// Careful starts with one delivery at a time, and widens after the first that was not delivered before, or after a
	// second of idleness: after a crash, the message that caused it then has no neighbours to take along.
	Careful bool
	// NoAck takes deliveries as settled when they are sent; what the handler returns is of no account. Those not yet
	// begun when the consumer is stopped are lost.
	NoAck bool
	// Stamp notes when each delivery came, though all handlers may be busy then, in Incoming.At. Not with NoAck.
	Stamp bool
	// Finish has deliveries that were not yet begun when Run's context ends handled too, for as long as the drain time
	// lasts, instead of given back to the queue: for a queue whose next consumer could not tell that they were not begun.
	Finish bool
	// Exclusive refuses other consumers of the queue.
	Exclusive bool
	// Setup is called before each registering: to declare what is needed.
	Setup func(ctx context.Context) error
	// OnConsuming is called each time that the consumer was registered at the broker. It must not block. Optional.
	OnConsuming func()
	// Handle is called with each delivery, by several goroutines at once. It must return: it alone knows how long that
	// may take. Its context ends when the consumer was stopped and the drain time is over, with the cause ErrDraining.
	Handle func(ctx context.Context, d *Incoming) Settlement
	// DrainTimeout is how long handlers may finish after Run's context has ended. Default 30 s.
	DrainTimeout time.Duration
	// Grace is how long a handler may take to return after its context has ended. Default 5 s.
	Grace time.Duration
	// Logger is told when consuming fails and works again. Default: nothing is logged.
	Logger *slog.Logger
}

// Incoming is a delivery, and a way to answer it.
type Incoming struct {
	Delivery
	// At is when the delivery came, where the consumer stamps them, and else when its handler began.
	At time.Time

	subscription *subscription
	acks         *acks // nil where nothing is acked
	settled      bool
}

// While returns a context that ends with ctx, and with the channel that the delivery came on: from then on it cannot be
// settled any more, and comes again. The function that it returns must be called.
func (d *Incoming) While(ctx context.Context) (context.Context, func()) {
	return until(ctx, d.subscription.ended)
}

// Lost reports whether the channel that the delivery came on has ended: it cannot be settled any more, and comes again.
func (d *Incoming) Lost() bool {
	select {
	case <-d.subscription.ended:
		return true
	default:
		return false
	}
}

// AckNow settles the delivery before its handler returns, whose settlement is of no account then. The broker hears of it
// before anything that is published on the channel after. Only the handler may call it, once.
func (d *Incoming) AckNow() {
	if d.acks == nil {
		return
	}
	d.settled = true
	d.acks.Ack(d.DeliveryTag)
	d.acks.Flush()
}

// Reply publishes m on the channel that the delivery came on, without a confirm: a reply is worth nothing to anybody
// but the caller that waits for it. It blocks, while ctx lives, only while the broker takes nothing, or does not answer what
// the consumer asks of it. A body over DefaultMaxBody is
// ErrTooLarge: the broker would close the channel, with everything that is being handled on it.
func (d *Incoming) Reply(ctx context.Context, m *Publication) error {
	if err := m.check(DefaultMaxBody); err != nil {
		return err
	}
	channel := d.subscription.channel
	if err := channel.fits(m); err != nil {
		return err
	}
	w := channel.session.wire
	if err := w.reserve(ctx, len(m.Body)); err != nil {
		return err
	}
	defer w.release(len(m.Body))
	_, err := channel.write(ctx, m)
	return err
}

// A Consumer takes the messages of one queue, again after every loss of the connection.
type Consumer struct {
	conn   *Conn
	config ConsumerConfig
	serial atomic.Uint64
	slots  chan struct{} // one for each handler that runs

	// What Run waits for, of this and of earlier channels: the goroutines that handle, and the closing of channels.
	handlers, closers sync.WaitGroup

	running atomic.Int64
	status  atomic.Pointer[error] // of nil: consuming
}

// maxTag is how many bytes of a consumer tag are ours to choose. AMQP allows 255.
const maxTag = 220

// NewConsumer makes a consumer. It does nothing before Run.
func NewConsumer(conn *Conn, config ConsumerConfig) *Consumer {
	if config.Concurrency <= 0 {
		config.Concurrency = 1
	}
	if config.Prefetch <= 0 {
		config.Prefetch = 4 * config.Concurrency
	}
	if config.DrainTimeout <= 0 {
		config.DrainTimeout = 30 * time.Second
	}
	if config.Grace <= 0 {
		config.Grace = 5 * time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	config.Tag = config.Tag[:min(len(config.Tag), maxTag)]
	if config.OnConsuming == nil {
		config.OnConsuming = func() {}
	}
	c := &Consumer{conn: conn, config: config, slots: make(chan struct{}, config.Concurrency)}
	c.note(errors.New("not started"))
	return c
}

// Ready returns nil while the consumer is registered at the broker, and else why it is not.
func (c *Consumer) Ready() error { return *c.status.Load() }

func (c *Consumer) note(err error) { c.status.Store(&err) }

// Running returns how many handlers run now.
func (c *Consumer) Running() int { return int(c.running.Load()) }

// Run consumes until ctx ends. Then it takes no more deliveries, gives those not yet begun back to the queue, waits for
// the running handlers, tells the broker what they did, and returns nil. Handlers that outlast the drain time have
// their contexts ended; if one does not return even then, Run returns ErrAbandoned, and that goroutine lives on. A
// connection that is closed for good ends Run in the same way, with ErrClosed.
func (c *Consumer) Run(ctx context.Context) error {
	if err := checkShort("name of the queue", c.config.Queue); err != nil {
		return err
	}
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	var closed error
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		registered, err := c.serve(ctx, work)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, ErrClosed) {
			closed = err
			break
		}
		if registered && time.Since(began) > c.conn.config.MaxBackoff {
			failures = 0
		}
		c.note(err)
		c.config.Logger.Warn("not consuming", "queue", c.config.Queue, "error", err)
		_ = c.conn.pause(ctx, failures)
		if errors.Is(err, errCancelled) {
			// A queue that is declared and consumed again while the broker is still deleting it is lost to both: the broker
			// confirms it all, and forgets the consumer without a word (seen on 3.10).
			wait(ctx, deletionTime)
		}
	}
	c.note(errors.New("stopped"))
	return errors.Join(closed, c.drain(stopWork))
}

// deletionTime is how long the broker is given to delete a queue.
const deletionTime = time.Second

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// drain waits for the handlers: for the drain time, and then for the grace.
func (c *Consumer) drain(stopWork context.CancelCauseFunc) error {
	ended := make(chan struct{})
	go func() {
		c.handlers.Wait()
		close(ended)
	}()
	for _, step := range []struct {
		wait time.Duration
		then func()
	}{
		{c.config.DrainTimeout, func() { stopWork(ErrDraining) }},
		{c.config.Grace, func() {}},
	} {
		timer := time.NewTimer(step.wait)
		select {
		case <-ended:
			timer.Stop()
			c.closers.Wait() // some seconds at most
			return nil
		case <-timer.C:
			step.then()
		}
	}
	return fmt.Errorf("%w: %d on the queue %s", ErrAbandoned, c.Running(), c.config.Queue)
}

// serve consumes over one channel, and returns when that has ended, or ctx has. Handlers may still run then: they have
// the channel until they are done.
func (c *Consumer) serve(ctx, work context.Context) (registered bool, err error) {
	if c.config.Setup != nil {
		if err := c.config.Setup(ctx); err != nil {
			return false, err
		}
	}
	ch, err := c.conn.Channel(ctx)
	if err != nil {
		return false, err
	}
	s := newSubscription(work, c, ch)
	defer s.retire()
	if c.config.Careful {
		if err := s.careful(ctx); err != nil || ctx.Err() != nil {
			return s.registered, err
		}
	}
	if err := s.consume(ctx, c.config.Prefetch, c.config.Concurrency); err != nil {
		return s.registered, err
	}
	for {
		select {
		case <-ctx.Done():
			return true, s.cancel(!c.config.Finish)
		case <-s.ended:
			return true, s.lost("")
		case tag := <-s.cancelled:
			if s.concerns(tag) {
				return true, s.lost(tag)
			}
		}
	}
}
