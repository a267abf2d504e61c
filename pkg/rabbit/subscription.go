package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// subscription is the consuming of one consumer over one channel: one registering at the broker after another, since a
// prefetch holds for the registering it came before.
type subscription struct {
	consumer  *Consumer
	channel   *Channel
	work      context.Context //nolint:containedctx // the life of the handlers, which is the run's
	acks      *acks
	cancelled chan string // by the broker

	latest     *registration
	registered bool
	received   atomic.Uint64
	clean      chan struct{} // a delivery came that was never delivered before
	lost       chan struct{} // deliveries ended unasked
	once       sync.Once
	handlers   sync.WaitGroup
}

// registration is one consumer tag.
type registration struct {
	tag string
	// asked says that it is we who end it, drop that what was not begun goes back to the queue.
	asked, drop atomic.Bool
}

func newSubscription(c *Consumer, ch *Channel, work context.Context) *subscription {
	return &subscription{
		consumer: c, channel: ch, work: work,
		acks:      newAcks(ch.Channel, c.config.Prefetch),
		cancelled: ch.NotifyCancel(make(chan string, 4)),
		clean:     make(chan struct{}, 1),
		lost:      make(chan struct{}),
	}
}

// consume registers with a prefetch, and has n goroutines handle what comes.
func (s *subscription) consume(prefetch, n int) error {
	c := s.consumer
	r := &registration{tag: fmt.Sprintf("%s#%d", c.config.Tag, c.serial.Add(1))}
	deliveries, err := await(s.work, func() (<-chan Delivery, error) {
		if !c.config.NoAck {
			if err := s.channel.Qos(prefetch, 0, false); err != nil {
				return nil, err
			}
		}
		return s.channel.Consume(c.config.Queue, r.tag, c.config.NoAck, c.config.Exclusive, false, false, nil)
	}, func(<-chan Delivery) {})
	if err != nil {
		return fmt.Errorf("consume from %s: %w", c.config.Queue, err)
	}
	s.latest, s.registered = r, true
	s.acks.setBatch(prefetch)
	c.note(nil)
	c.open.Add(n)
	s.handlers.Add(n)
	for range n {
		go func() {
			defer c.open.Done()
			defer s.handlers.Done()
			s.handle(r, deliveries)
		}()
	}
	return nil
}

// careful consumes one delivery at a time, until a clean one came or nothing has come for a second, or ctx has ended.
// On success no consumer is registered, and the last delivery is perhaps still being handled.
func (s *subscription) careful(ctx context.Context) error {
	if err := s.consume(1, 1); err != nil {
		return err
	}
	idle := time.NewTicker(time.Second)
	defer idle.Stop()
	for seen := uint64(0); ; {
		select {
		case <-ctx.Done():
			s.cancel(true)
			return nil
		case <-s.lost:
			return s.reason()
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
	s.latest.drop.Store(drop)
	s.latest.asked.Store(true)
	ctx, stop := context.WithTimeout(s.work, 5*time.Second)
	defer stop()
	_, err := await(ctx, func() (struct{}, error) { return struct{}{}, s.channel.Cancel(s.latest.tag, false) },
		func(struct{}) {})
	if err != nil {
		// A broker that does not answer: the handlers' goroutines wait for deliveries, which end with the channel.
		closeChannel(s.channel)
		return fmt.Errorf("cancel the consumer of %s: %w", s.consumer.config.Queue, err)
	}
	return nil
}

// handle is one goroutine's work: one delivery after another, until there are no more.
func (s *subscription) handle(r *registration, deliveries <-chan Delivery) {
	c := s.consumer
	for d := range deliveries {
		if r.drop.Load() {
			if !c.config.NoAck {
				s.acks.Nack(d.DeliveryTag, true)
			}
			continue
		}
		s.received.Add(1)
		if !deliveredBefore(&d) {
			select {
			case s.clean <- struct{}{}:
			default:
			}
		}
		c.running.Add(1)
		settlement := c.config.Handle(s.work, &Incoming{Delivery: d, channel: s.channel})
		c.running.Add(-1)
		switch {
		case c.config.NoAck:
		case settlement == Ack:
			s.acks.Ack(d.DeliveryTag)
		default:
			s.acks.Nack(d.DeliveryTag, settlement == Requeue)
		}
	}
	if !r.asked.Load() {
		s.once.Do(func() { close(s.lost) })
	}
}

// deliveredBefore tells whether a worker had the message before and did not settle it. Quorum queues count that.
func deliveredBefore(d *Delivery) bool {
	switch n := d.Headers["x-delivery-count"].(type) {
	case nil:
		return false
	case int64:
		return n > 0
	default:
		return true
	}
}

// retire lets the handlers that still run finish, tells the broker what they did, and closes the channel; in the
// background, as part of what Run waits for.
func (s *subscription) retire() {
	s.consumer.open.Add(1)
	go func() {
		defer s.consumer.open.Done()
		s.handlers.Wait()
		if err := s.acks.Close(); err != nil {
			s.consumer.config.Logger.Debug("acks were lost; the messages come again", "queue", s.consumer.config.Queue, "error", err)
		}
		closeChannel(s.channel)
	}()
}

// reason says why deliveries ended unasked.
func (s *subscription) reason() error {
	if e := s.channel.exception(); e != nil {
		return fmt.Errorf("the broker closed the channel: %w", e)
	}
	select {
	case _, ok := <-s.cancelled:
		if ok {
			return errors.New("the broker cancelled the consumer: its queue was deleted, or a handler took longer than the consumer timeout")
		}
	default:
	}
	return errors.New("the connection was lost")
}
