package rabbit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/rabbit/internal/acks"
)

// subscription is one registration of a consumer at the broker, over its own channel. It lives until the consumer
// stops, the broker cancels it, or the channel ends.
type subscription struct {
	consumer  *Consumer
	channel   *Channel
	life      context.Context //nolint:containedctx // ends when the deliveries are lost, with an ErrNotConnected
	lose      context.CancelCauseFunc
	work      context.Context //nolint:containedctx // of the handlers: ends with life, and with the run
	stopWork  func()
	acks      *acks.Batch
	tag       string
	queue     string      // as it is called
	orderly   bool        // cancelled by us, and confirmed
	cancelled chan string // by the broker

	gone    chan struct{}  // closed when the broker does not answer: deliveries may then never end
	dropped bool           // nothing more may begin; guarded by the consumer's mu
	open    sync.WaitGroup // what has arrived and is not settled, and the goroutine that reads deliveries
}

func newSubscription(work context.Context, c *Consumer, ch *Channel) *subscription {
	s := &subscription{
		consumer: c, channel: ch, queue: c.config.Name(), tag: fmt.Sprintf("%s#%d", c.config.Tag, c.serial.Add(1)),
		acks:      acks.New(ch.Channel, c.config.Prefetch, c.config.Concurrency),
		cancelled: ch.NotifyCancel(make(chan string, 4)),
		gone:      make(chan struct{}),
	}
	s.life, s.lose = context.WithCancelCause(ch.life)
	s.work, s.stopWork = either(work, s.life)
	return s
}

// register begins to consume. When ctx ends, it still waits some seconds for the broker's answer, so that the consumer
// can be cancelled in an orderly way.
func (s *subscription) register(ctx context.Context) error {
	c := s.consumer
	ctx, stop := contexts.Outlasting(ctx, answerTimeout, nil)
	defer stop()
	if err := doOn(ctx, s.channel, func() error { return s.channel.Qos(c.config.Prefetch, 0, false) }); err != nil {
		return fmt.Errorf("set the prefetch for %s: %w", c.config.Queue, err)
	}
	deliveries, err := callOn(ctx, s.channel, func() (<-chan Delivery, error) {
		return s.channel.Consume(s.queue, s.tag, false, false, false, false, c.config.Args)
	})
	if err != nil {
		return denied(err, c.config.Queue)
	}
	s.open.Go(func() { s.read(deliveries) })
	return nil
}

// read takes deliveries as they arrive, which need not wait for a handler: the broker hands out no more than the
// prefetch.
func (s *subscription) read(deliveries <-chan Delivery) {
	settle, abandon := s.settle, s.consumer.abandon
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return
			}
			s.acks.Arrived(d.DeliveryTag)
			s.open.Add(1)
			s.consumer.arrived(&Incoming{
				Delivery: d, At: time.Now(), from: s, channel: s.channel, life: s.life, settle: settle, abandon: abandon,
			})
		case <-s.gone:
			return
		}
	}
}

// settle settles a delivery as its handler returned.
func (s *subscription) settle(tag uint64, settlement Settlement) {
	switch settlement {
	case Ack:
		s.acks.Ack(tag)
	case ackNow:
		s.acks.AckNow(tag)
	default:
		s.acks.Nack(tag, settlement != Reject)
	}
}

// giveBack lets go of a delivery that no handler has begun.
func (s *subscription) giveBack(in *Incoming) {
	s.acks.GiveBack(in.DeliveryTag)
	s.open.Done()
}

// wait returns when the subscription has ended, or ctx has; in that case nil, if the broker has confirmed the end.
func (s *subscription) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return s.cancel()
	case <-s.channel.life.Done():
		return s.lost()
	case tag := <-s.cancelled:
		if tag == "" { // closed with the channel
			<-s.channel.life.Done()
			return s.lost()
		}
		// Where the queue is still there, a handler took too long, and what is here is ready again. Where it is not, the
		// messages that are being handled are the last of it.
		if _, err := s.consumer.conn.Inspect(ctx, s.consumer.config.Name()); !errors.Is(err, ErrNotFound) {
			s.lose(because(ErrNotConnected, errCancelled))
		}
		s.consumer.drop(s)
		return errCancelled
	}
}

// errCancelled is why deliveries ended though connection and channel live.
var errCancelled = errors.New("the broker cancelled the consumer: its queue was deleted, or a handler took longer than the consumer timeout")

// lost returns why the channel ended. What was not begun must not be, since it comes again.
func (s *subscription) lost() error {
	s.consumer.drop(s)
	if e := s.channel.exception(); e != nil && s.channel.session.alive() {
		if e.Code == amqp.NotFound { // the exchange of a reply
			return fmt.Errorf("the broker closed the channel: %w", because(ErrNotFound, e))
		}
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

// cancel ends the registration. What is here and not begun goes back to the queue, or is handled all the same:
// see DrainQueued.
func (s *subscription) cancel() error {
	s.acks.Stop() // before the consumer is cancelled, which makes a quorum queue take in what was sent
	if !s.consumer.config.DrainQueued {
		s.consumer.drop(s)
	}
	session := s.channel.session
	ctx, stop := context.WithTimeout(context.WithoutCancel(s.work), session.patience(answerTimeout))
	defer stop()
	if err := doOn(ctx, s.channel, func() error { return s.channel.Cancel(s.tag, false) }); err != nil {
		if ctx.Err() != nil {
			session.silent.Store(true)
		}
		close(s.gone)
		return fmt.Errorf("cancel the consumer of %s: %w", s.consumer.config.Queue, err)
	}
	s.orderly = true
	return nil
}

// takeInTimeout is how long the end of a consumer waits for a queue to take in acks.
const takeInTimeout = 10 * time.Second

// takenIn returns once the queue has all that was sent to settle deliveries: see [acks.Batch.Close]. No method of AMQP
// asks for that. But the broker registers a consumer of a quorum queue through the queue's log, behind what the channel
// has sent, and answers only then. This consumer comes last among those of the queue, and is given one message at most.
func (s *subscription) takenIn() error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(s.work), s.channel.session.patience(takeInTimeout))
	defer stop()
	return doOn(ctx, s.channel, func() error {
		if err := s.channel.Qos(1, 0, false); err != nil {
			return err
		}
		deliveries, err := s.channel.Consume(s.queue, s.tag+"+", false, false, false, false, Table{"x-priority": int32(math.MinInt32)})
		if err != nil {
			return err
		}
		if err := s.channel.Cancel(s.tag+"+", false); err != nil {
			return err
		}
		for d := range deliveries { // one at most: the end of the channel would count as a crash
			err = s.channel.Nack(d.DeliveryTag, false, true)
		}
		return err
	})
}

// keepsAcks reports whether the broker may have kept what was sent, and may be asked. A stream forgets nothing that
// matters. Of requests none may be taken out and put back, since the next worker would believe that it was begun; and
// their callers have their answers.
func (s *subscription) keepsAcks() bool {
	return s.orderly && s.consumer.config.Args["x-stream-offset"] == nil && !s.consumer.config.DrainQueued
}

const (
	// heldBack is how long running handlers may take before other deliveries are settled ahead of them: acks of what is
	// done, and what was not begun back to the queue. That goes one by one, since a frame for several would take the
	// running ones along.
	heldBack = 250 * time.Millisecond
	// trickle is how many frames are sent every trickleEvery. What the broker has to keep back, as [acks.Batch.Close] says,
	// goes to the queue out of order.
	trickle      = 16
	trickleEvery = 100 * time.Millisecond
)

// retire closes the channel when everything that came over it is settled, and calls end; in the background, as part of
// what Run waits for.
func (s *subscription) retire(end func()) {
	settled := make(chan struct{})
	go func() {
		s.open.Wait()
		close(settled)
	}()
	s.consumer.closers.Go(func() {
		s.trickle(settled)
		sent, err := s.acks.Close()
		if err == nil && sent && s.keepsAcks() {
			err = s.takenIn()
		}
		if err != nil {
			s.consumer.config.Logger.Debug("acks may be lost; their messages then come again", "queue", s.consumer.config.Queue, "error", err)
		}
		s.channel.close(context.WithoutCancel(s.work))
		end()
		s.stopWork()
		s.lose(nil)
	})
}

// trickle returns when settled is closed, that is when the last handler has ended. Until then it sends what can be
// settled, if the handlers take their time.
func (s *subscription) trickle(settled <-chan struct{}) {
	for wait := heldBack; ; wait = trickleEvery {
		select {
		case <-settled:
			return
		case <-s.channel.life.Done():
			<-settled
			return
		case <-time.After(wait):
			s.acks.Trickle(trickle)
		}
	}
}
