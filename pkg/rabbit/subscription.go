package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit/internal/acks"
)

// subscription is one registration of a consumer at the broker, over a channel of its own. It lives until the consumer
// stops, the broker cancels it, or the channel ends.
type subscription struct {
	consumer  *Consumer
	channel   *Channel
	work      context.Context //nolint:containedctx // the life of the handlers, which is the run's
	acks      *acks.Batch     // unused in Broadcast
	tag       string
	cancelled chan string // by the broker

	deliveries <-chan Delivery
	stamped    chan stamped // instead of deliveries, in Requests

	ended context.Context //nolint:containedctx // it ends with the channel
	drop  chan struct{}   // closed when no further delivery may begin
	gone  chan struct{}   // closed when the broker does not answer: deliveries may then never end

	handlers sync.WaitGroup
	started  atomic.Int64 // goroutines that handle
	idle     atomic.Int64 // those of them that wait for a delivery

	mu    sync.Mutex
	hands []*atomic.Pointer[Incoming] // what each of them handles
}

// stamped is a delivery with the time of its arrival.
type stamped struct {
	Delivery

	at time.Time
}

func newSubscription(work context.Context, c *Consumer, ch *Channel) *subscription {
	s := &subscription{
		consumer: c, channel: ch, work: work, tag: fmt.Sprintf("%s#%d", c.config.Tag, c.serial.Add(1)),
		acks:      acks.New(ch.Channel, c.config.Prefetch, c.config.Concurrency),
		cancelled: ch.NotifyCancel(make(chan string, 4)),
		ended:     ending(ch, c.config.Queue),
		drop:      make(chan struct{}),
		gone:      make(chan struct{}),
	}
	return s
}

// register begins to consume. When ctx ends, it still waits some seconds for the broker's answer, so that the consumer
// can be cancelled in an orderly way.
func (s *subscription) register(ctx context.Context) error {
	c := s.consumer
	ctx, stop := outlasting(ctx, answerTimeout)
	defer stop()
	noAck := c.config.Mode == Broadcast
	if !noAck {
		if err := doOn(ctx, s.channel, func() error { return s.channel.Qos(c.config.Prefetch, 0, false) }); err != nil {
			return fmt.Errorf("set the prefetch for %s: %w", c.config.Queue, err)
		}
	}
	var err error
	s.deliveries, err = callOn(ctx, s.channel, func() (<-chan Delivery, error) {
		return s.channel.Consume(c.config.Queue, s.tag, noAck, noAck, false, false, c.config.Args)
	})
	if err != nil {
		return fmt.Errorf("consume from %s: %w", c.config.Queue, err)
	}
	if c.config.Mode == Requests {
		s.stamped = make(chan stamped, c.config.Prefetch)
		s.handlers.Go(s.stamp)
	}
	s.start()
	return nil
}

// stamp notes when deliveries arrive. It never waits: there is room for as many as the broker hands out.
func (s *subscription) stamp() {
	defer close(s.stamped)
	for {
		select {
		case d, ok := <-s.deliveries:
			if !ok {
				return
			}
			s.stamped <- stamped{d, time.Now()}
		case <-s.gone:
			return
		}
	}
}

// start starts one more goroutine that handles deliveries, if there may be one. Goroutines are started as they are needed:
// the last idle one starts the next before it begins to work. So an idle queue holds one.
func (s *subscription) start() {
	if s.started.Add(1) > int64(s.consumer.config.Concurrency) {
		s.started.Add(-1)
		return
	}
	s.idle.Add(1)
	hand := new(atomic.Pointer[Incoming])
	s.mu.Lock()
	s.hands = append(s.hands, hand)
	s.mu.Unlock()
	s.handlers.Add(1)
	s.consumer.handlers.Add(1)
	s.consumer.handling.Add(1)
	go s.handle(hand, sync.OnceFunc(func() {
		s.consumer.handling.Add(-1)
		s.handlers.Done()
		s.consumer.handlers.Done()
	}))
}

// handle is one goroutine's work: one delivery after another, until there are no more or it was abandoned.
func (s *subscription) handle(hand *atomic.Pointer[Incoming], release func()) {
	defer release()
	settle, replace := s.settle, func(in *Incoming) { // another takes its place, for what has arrived
		s.free(in)
		s.started.Add(-1)
		s.start()
		release()
	}
	for {
		in := &Incoming{channel: s.channel, ended: s.ended, settle: settle, release: replace}
		if !s.next(in) {
			return
		}
		if s.idle.Add(-1) == 0 {
			s.start()
		}
		hand.Store(in)
		s.deliver(in)
		hand.Store(nil)
		if in.abandoned.Load() {
			return
		}
		s.idle.Add(1)
	}
}

// next waits for a delivery. It returns false when there will be none.
func (s *subscription) next(in *Incoming) (ok bool) {
	if s.stamped != nil {
		var next stamped
		next, ok = <-s.stamped
		in.Delivery, in.At = next.Delivery, next.at
		return ok
	}
	select {
	case in.Delivery, ok = <-s.deliveries:
		return ok
	case <-s.gone:
		return false
	}
}

// deliver has one delivery handled, and settles it.
func (s *subscription) deliver(in *Incoming) {
	c := s.consumer
	if !s.begin() {
		if in.Lost() {
			c.survive(in)
		}
		if c.config.Mode != Broadcast {
			s.acks.GiveBack(in.DeliveryTag)
		}
		return
	}
	c.recall(in)
	if in.At.IsZero() {
		in.At = time.Now()
	}
	settlement := c.config.Handle(s.work, in)
	c.running.Add(-1)
	s.free(in)
	if settlement != 0 && in.settled.CompareAndSwap(false, true) {
		s.settle(in.DeliveryTag, settlement)
	}
}

// free frees the handler slot of a delivery.
func (s *subscription) free(in *Incoming) {
	if in.freed.CompareAndSwap(false, true) {
		<-s.consumer.slots
	}
}

func (s *subscription) settle(tag uint64, settlement Settlement) {
	switch {
	case s.consumer.config.Mode == Broadcast:
	case settlement == Ack:
		s.acks.Ack(tag)
	case settlement == ackNow:
		s.acks.AckNow(tag)
	default:
		s.acks.Nack(tag, settlement != Reject)
	}
}

// begin waits for a free handler slot. It returns false if the delivery must go back to the queue, or went back with its
// channel.
func (s *subscription) begin() bool {
	c := s.consumer
	// Selects of one channel each: a select of several takes the locks of all of them, which all handlers share.
	select {
	case <-s.drop:
		return false
	default:
	}
	select {
	case <-s.ended.Done():
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
	case <-s.drop:
		return false
	case <-s.ended.Done():
		return false
	case <-s.work.Done():
		return false
	}
}

// wait returns when the subscription has ended, or ctx has; in that case nil, if the broker has confirmed the end.
func (s *subscription) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return s.cancel()
	case <-s.ended.Done():
		return s.lost()
	case tag := <-s.cancelled:
		if tag == "" { // closed with the channel
			<-s.ended.Done()
			return s.lost()
		}
		close(s.drop)
		return errCancelled
	}
}

// errCancelled is why deliveries ended though connection and channel live.
var errCancelled = errors.New("the broker cancelled the consumer: its queue was deleted, or a handler took longer than the consumer timeout")

// lost returns why the channel ended. What was not begun must not be, since it comes again.
func (s *subscription) lost() error {
	close(s.drop)
	s.mu.Lock()
	for _, hand := range s.hands {
		if in := hand.Load(); in != nil {
			s.consumer.survive(in)
		}
	}
	s.mu.Unlock()
	if e := s.channel.exception(); e != nil {
		return fmt.Errorf("the broker closed the channel: %w", e)
	}
	return s.ofConnection(errors.New("the channel was closed"))
}

// ofConnection returns errConnectionLost instead of err if the connection is lost, and with it all consumers.
func (s *subscription) ofConnection(err error) error {
	if s.channel.session.alive() {
		return err
	}
	return errConnectionLost
}

// errConnectionLost is why consuming ends where the connection logs the reason.
var errConnectionLost = errors.New("the connection was lost")

// cancel ends the registration. What is here and not begun goes back to the queue, or, in Requests, is handled all the
// same.
func (s *subscription) cancel() error {
	s.acks.Stop() // before the consumer is cancelled, which makes a quorum queue take in all acks
	if s.consumer.config.Mode != Requests {
		close(s.drop)
	}
	session := s.channel.session
	ctx, stop := context.WithTimeout(context.WithoutCancel(s.work), session.patience())
	defer stop()
	if err := doOn(ctx, s.channel, func() error { return s.channel.Cancel(s.tag, false) }); err != nil {
		if ctx.Err() != nil {
			session.silent.Store(true)
		}
		close(s.gone)
		return fmt.Errorf("cancel the consumer of %s: %w", s.consumer.config.Queue, err)
	}
	if s.consumer.config.Mode == Work {
		for d := range s.deliveries { // the handlers may all be busy
			s.acks.GiveBack(d.DeliveryTag)
		}
	}
	return nil
}

const (
	// heldBack is how long running handlers may take before other deliveries are settled ahead of them: acks of what is
	// done, and what was not begun back to the queue. That goes one by one, since a frame for several would take the
	// running ones along.
	heldBack = 250 * time.Millisecond
	// trickle is how many frames are sent every trickleEvery: see [acks.Batch.Close] for the broker's limit.
	trickle      = 16
	trickleEvery = 100 * time.Millisecond
)

// retire waits for the handlers that still run, settles what they did, gives back what was not begun, and closes the
// channel; in the background, as part of what Run waits for.
func (s *subscription) retire() {
	done := make(chan struct{})
	go func() {
		s.handlers.Wait()
		close(done)
	}()
	s.consumer.closers.Go(func() {
		s.giveBack(done)
		if err := s.acks.Close(); err != nil {
			s.consumer.config.Logger.Debug("acks were lost; the messages come again", "queue", s.consumer.config.Queue, "error", err)
		}
		s.channel.close(context.WithoutCancel(s.work))
	})
}

// giveBack returns when done is closed, that is when the last handler has ended. Until then it settles what can be, if
// the handlers take their time.
func (s *subscription) giveBack(done <-chan struct{}) {
	timer := time.NewTimer(heldBack)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-s.ended.Done():
			<-done
			return
		case <-timer.C:
			s.acks.Trickle(trickle)
			timer.Reset(trickleEvery)
		}
	}
}
