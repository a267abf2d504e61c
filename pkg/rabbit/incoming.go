package rabbit

import (
	"context"
	"reflect"
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
	ackNow                        // Ack, without waiting for others to travel with it
)

// Incoming is a delivery, and a way to answer it.
type Incoming struct {
	Delivery
	// At is when the delivery arrived. Its handler may have begun later.
	At time.Time

	from     *subscription // nil where a Browser took it
	channel  *Channel
	life     context.Context          //nolint:containedctx // ends when the delivery is lost, with an ErrNotConnected
	settle   func(uint64, Settlement) // by delivery tag
	settled  atomic.Bool
	abandon  func(*Incoming) // nothing waits any more for the goroutine that handles it
	survived int             // returns that were no crash
}

// Returns returns how often the message came back to its queue unsettled, as far as the queue knows: its worker crashed
// or lost its connection. Connections that this consumer lost itself while it had the message do not count. The count
// is exact since RabbitMQ 4.3; before, messages that a worker gave back count, too. Classic queues only know whether
// the message was delivered before.
func (d *Incoming) Returns() (n int, exact bool) {
	count := reflect.ValueOf(d.Headers["x-delivery-count"])
	_, exact = d.Headers["x-acquired-count"]
	switch {
	case !d.Redelivered: // the header may be its sender's
	case count.CanInt():
		n = int(count.Int()) - d.survived
	case !count.IsValid() && !exact:
		n = 1
	}
	return n, exact
}

// Context returns a context that ends with ctx, and when the delivery is lost. The function that it returns must be
// called.
func (d *Incoming) Context(ctx context.Context) (context.Context, func()) {
	return either(ctx, d.life)
}

// Lost reports whether the delivery's channel has ended, or the broker has taken the delivery back, since it was not
// settled within the consumer timeout. If so, it comes again, whatever its handler returns.
func (d *Incoming) Lost() bool { return d.life.Err() != nil }

// Abandon settles a delivery whose handler does not return. From then on nothing waits for that goroutine, which may
// run forever. Any goroutine may call it, once, if Handle returns 0 from then on.
func (d *Incoming) Abandon(settlement Settlement) {
	d.settleOnce(settlement)
	d.abandon(d)
}

// AckNow acks the delivery before its handler returns, whose settlement is then ignored. The ack reaches the broker
// before anything that is published on the channel later.
func (d *Incoming) AckNow() { d.settleOnce(ackNow) }

func (d *Incoming) settleOnce(settlement Settlement) {
	if d.settled.CompareAndSwap(false, true) {
		d.settle(d.DeliveryTag, settlement)
	}
}

// Reply publishes m on the channel that the delivery came on, without a confirm: a reply is only worth something to the
// caller that waits for it. While ctx lives, it blocks as long as the broker reads nothing, or does not answer a method
// of the consumer. A body over DefaultMaxBody is ErrTooLarge: the broker would close the channel, with everything that
// is being handled on it. A reply for which the broker may close the connection is sent later, over another one: nil
// then means that it waits for that.
func (d *Incoming) Reply(ctx context.Context, m *Publication) error {
	if err := m.check(DefaultMaxBody); err != nil {
		return err
	}
	s := d.channel.session
	what, ok := s.proven(m.RoutingKey)
	if !ok {
		s.learn.Do(func() { go s.proveOwn() })
		select {
		case <-s.learned:
		case <-ctx.Done():
		}
		what, ok = s.proven(m.RoutingKey)
	}
	if !ok {
		if err := d.channel.fits(m); err != nil {
			return err
		}
		return s.conn.replies.send(m, func() { s.conn.proofs.add(what) })
	}
	w := s.wire
	if err := w.reserve(ctx, len(m.Body)); err != nil {
		return err
	}
	defer w.release(len(m.Body))
	_, err := d.channel.write(ctx, m)
	return err
}
