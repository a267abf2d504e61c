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

// subscription is the consuming of one consumer over one channel: one registering at the broker after another, since a
// prefetch holds for the registering it came before.
type subscription struct {
	consumer  *Consumer
	channel   *Channel
	work      context.Context //nolint:containedctx // the life of the handlers, which is the run's
	acks      *acks
	cancelled chan string   // by the broker
	ended     chan struct{} // closed when the channel is no more

	latest     *registration
	registered bool
	received   atomic.Uint64
	clean      chan struct{} // a delivery came that was never delivered before
	gone       chan struct{} // closed when the broker does not answer: deliveries may then never end
	handlers   sync.WaitGroup
}

// registration is one consumer tag.
type registration struct {
	tag        string
	deliveries <-chan Delivery
	stamped    chan stamped  // instead of deliveries, where they are stamped
	drop       chan struct{} // closed when what was not begun goes back to the queue, or has gone
}

// stamped is a delivery and when it came.
type stamped struct {
	Delivery

	at time.Time
}

func newSubscription(work context.Context, c *Consumer, ch *Channel) *subscription {
	s := &subscription{
		consumer: c, channel: ch, work: work,
		acks:      newAcks(ch.Channel, c.config.Prefetch, c.config.Concurrency),
		cancelled: ch.NotifyCancel(make(chan string, 4)),
		clean:     make(chan struct{}, 1),
		gone:      make(chan struct{}),
		ended:     make(chan struct{}),
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	go func() {
		<-closed //nolint:errcheck // lost asks the channel why
		close(s.ended)
	}()
	return s
}

// concerns tells whether the broker's cancel of a tag is about the registration that there is: one of another that was
// cancelled here at the same time may come late. The tag of a channel that has ended is empty.
func (s *subscription) concerns(tag string) bool { return tag == s.latest.tag || tag == "" }

// consume registers with a prefetch, and has n goroutines handle what comes. When ctx ends, it still waits some seconds
// for the broker's answer: to go in order then, and not to leave deliveries to a channel that just closes.
func (s *subscription) consume(ctx context.Context, prefetch, n int) error {
	c := s.consumer
	r := &registration{tag: fmt.Sprintf("%s#%d", c.config.Tag, c.serial.Add(1)), drop: make(chan struct{})}
	ctx, stop := outlasting(ctx)
	defer stop()
	if !c.config.NoAck {
		if err := doOn(ctx, s.channel, func() error { return s.channel.Qos(prefetch, 0, false) }); err != nil {
			return fmt.Errorf("set the prefetch for %s: %w", c.config.Queue, err)
		}
	}
	var err error
	r.deliveries, err = callOn(ctx, s.channel, func() (<-chan Delivery, error) {
		return s.channel.Consume(c.config.Queue, r.tag, c.config.NoAck, c.config.Exclusive, false, false, nil)
	})
	if err != nil {
		return fmt.Errorf("consume from %s: %w", c.config.Queue, err)
	}
	s.latest, s.registered = r, true
	s.acks.size(prefetch, n)
	c.note(nil)
	c.config.OnConsuming()
	if c.config.Stamp {
		r.stamped = make(chan stamped, prefetch)
		s.handlers.Go(func() { s.stamp(r) })
	}
	for range n {
		c.handlers.Add(1)
		s.handlers.Go(func() {
			defer c.handlers.Done()
			s.handle(r)
		})
	}
	return nil
}

// outlasting returns a context that ends answerTimeout after ctx.
func outlasting(ctx context.Context) (context.Context, func()) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(answerTimeout, cancel)
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() { stop(); cancel() }
}

// careful consumes one delivery at a time, until a clean one came or nothing has come for a second, or ctx has ended.
// On success no consumer is registered, and the last delivery is perhaps still being handled.
func (s *subscription) careful(ctx context.Context) error {
	if err := s.consume(ctx, 1, 1); err != nil {
		return err
	}
	idle := time.NewTicker(time.Second)
	defer idle.Stop()
	for seen := uint64(0); ; {
		select {
		case <-ctx.Done():
			return s.cancel(true)
		case <-s.ended:
			return s.lost("")
		case tag := <-s.cancelled:
			if s.concerns(tag) {
				return s.lost(tag)
			}
		case <-s.clean:
			return s.cancel(false)
		case <-idle.C:
			now := s.received.Load()
			if now == seen && s.consumer.Running() == 0 {
				return s.cancel(false)
			}
			seen = now
		}
	}
}

// cancel ends the registration. What is here already and not begun is handled all the same, or, with drop, given back.
func (s *subscription) cancel(drop bool) error {
	if drop {
		close(s.latest.drop)
	}
	session := s.channel.session
	ctx, stop := context.WithTimeout(context.WithoutCancel(s.work), session.patience())
	defer stop()
	if err := doOn(ctx, s.channel, func() error { return s.channel.Cancel(s.latest.tag, false) }); err != nil {
		if ctx.Err() != nil {
			session.silent.Store(true)
		}
		close(s.gone)
		return fmt.Errorf("cancel the consumer of %s: %w", s.consumer.config.Queue, err)
	}
	if drop {
		s.handle(s.latest) // those whose work it is may all be busy
	}
	return nil
}

// stamp notes when deliveries come. It never waits: there is room for as many as the broker hands out.
func (s *subscription) stamp(r *registration) {
	defer close(r.stamped)
	for {
		select {
		case d, ok := <-r.deliveries:
			if !ok {
				return
			}
			r.stamped <- stamped{d, time.Now()}
		case <-s.gone:
			return
		}
	}
}

// handle is one goroutine's work: one delivery after another, until there are no more.
func (s *subscription) handle(r *registration) {
	if r.stamped != nil {
		for d := range r.stamped {
			s.deliver(r, &d.Delivery, d.at)
		}
		return
	}
	for {
		select {
		case d, ok := <-r.deliveries:
			if !ok {
				return
			}
			s.deliver(r, &d, time.Time{})
		case <-s.gone:
			return
		}
	}
}

// deliver has one delivery handled, and settles it.
func (s *subscription) deliver(r *registration, d *Delivery, at time.Time) {
	c := s.consumer
	if !s.begin(r) {
		if !c.config.NoAck {
			s.acks.Nack(d.DeliveryTag, true)
		}
		return
	}
	s.received.Add(1)
	if !deliveredBefore(d) {
		select {
		case s.clean <- struct{}{}:
		default:
		}
	}
	if at.IsZero() {
		at = time.Now()
	}
	in := &Incoming{Delivery: *d, At: at, subscription: s}
	if !c.config.NoAck {
		in.acks = s.acks
	}
	settlement := c.config.Handle(s.work, in)
	c.end()
	switch {
	case c.config.NoAck, in.settled:
	case settlement == Ack:
		s.acks.Ack(d.DeliveryTag)
	default:
		s.acks.Nack(d.DeliveryTag, settlement != Reject)
	}
}

// begin waits for the turn of a handler, and tells whether it may run: not when deliveries go back to the queue, or have
// gone there with the channel.
func (s *subscription) begin(r *registration) bool {
	c := s.consumer
	// Selects of one channel each: one of several takes the locks of all of them, which all handlers share.
	select {
	case <-r.drop:
		return false
	default:
	}
	select {
	case <-s.ended:
		return false
	default:
	}
	if s.work.Err() != nil {
		return false
	}
	select {
	case c.slots <- struct{}{}:
		c.running.Add(1)
		return true
	default:
	}
	select {
	case c.slots <- struct{}{}:
		c.running.Add(1)
		return true
	case <-r.drop:
		return false
	case <-s.ended:
		return false
	case <-s.work.Done():
		return false
	}
}

func (c *Consumer) end() {
	c.running.Add(-1)
	<-c.slots
}

// deliveredBefore tells whether a worker had the message before and failed with it. Quorum queues count that; what was
// merely given back is not counted from RabbitMQ 4.3 on, which counts both apart. Classic queues only know that there
// was a delivery before.
func deliveredBefore(d *Delivery) bool {
	if count, ok := d.Headers["x-delivery-count"]; ok {
		return !isZero(count)
	}
	if _, ok := d.Headers["x-acquired-count"]; ok {
		return false
	}
	return d.Redelivered
}

func isZero(number any) bool {
	switch number {
	case int64(0), int32(0), int16(0), int8(0), uint8(0), uint16(0), uint32(0):
		return true
	default:
		return false
	}
}

// retire lets the handlers that still run finish, tells the broker what they did, and closes the channel; in the
// background, as part of what Run waits for.
func (s *subscription) retire() {
	s.consumer.closers.Go(func() {
		s.handlers.Wait()
		if err := s.acks.Close(); err != nil {
			s.consumer.config.Logger.Debug("acks were lost; the messages come again", "queue", s.consumer.config.Queue, "error", err)
		}
		s.channel.close(context.WithoutCancel(s.work))
	})
}

// lost says why deliveries have ended unasked: because the broker cancelled a tag, or, where there is none, because the
// channel has ended. What was not begun must not be, since it comes again.
func (s *subscription) lost(tag string) error {
	close(s.latest.drop)
	if tag != "" {
		return errCancelled
	}
	if e := s.channel.exception(); e != nil {
		return fmt.Errorf("the broker closed the channel: %w", e)
	}
	return errors.New("the connection was lost")
}

// errCancelled is why deliveries ended though connection and channel live.
var errCancelled = errors.New("the broker cancelled the consumer: its queue was deleted, or a handler took longer than the consumer timeout")
