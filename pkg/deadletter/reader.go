package deadletter

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// mostReplaying and mostLooking are the largest prefetches. In a replay it bounds the acks that are unsure.
	mostReplaying, mostLooking = 300, 1000
	// maxAhead is about how many bytes are prefetched.
	maxAhead = 16 << 20
	// few is how many messages are read without a consumer, to see how large they are.
	few = 4
	// quiet is how long nothing arrives before the queue is asked whether it is empty: an answer may overtake what is on its
	// way to the consumer. settling is how long to wait for what the latest acks let in.
	quiet, settling = 500 * time.Millisecond, 50 * time.Millisecond
	// ackTogether is how many messages are acked at once.
	ackTogether = 16
)

// A reader takes the messages of one queue in their order, by consuming. What it does not ack goes back in that order
// when it is closed, and takes next to no memory until then.
//
// A consumer holds as many messages as its prefetch allows. Once it holds that many it is cancelled, which leaves it
// what it holds, and another takes its place. No other may be cancelled before the end: RabbitMQ 3.10 delivers what it
// holds again if a message is on its way to it.
type reader struct {
	channel *rabbit.Channel
	queue   string
	name    string          // of its consumers
	ready   int             // messages that were there when it began
	life    context.Context //nolint:containedctx // of the channel
	stop    func()

	current consumer
	serial  int
	asked   *rabbit.Delivery // what ask returned last, until next does
	read    int
	bytes   int // of what was read

	returning
	acks  []uint64 // acks that wait to be sent together
	acked int
	known int // how many acks the queue had taken in when the current consumer began
}

type consumer struct {
	tag        string
	deliveries <-chan rabbit.Delivery
	first      uint64 // its first delivery tag
	prefetch   int
	delivered  int
	acked      int
	held       int
}

// open begins to read a queue. Its errors are those of rabbit.Conn.Inspect. The caller closes the reader.
func open(ctx context.Context, conn *rabbit.Conn, queue, name string) (*reader, error) {
	channel, err := conn.Channel(ctx)
	if err != nil {
		return nil, err
	}
	r := &reader{channel: channel, queue: queue, name: name}
	r.life, r.stop = channel.Context(context.WithoutCancel(ctx))
	state, err := channel.Inspect(ctx, queue)
	if err != nil {
		_ = r.close(ctx)
		return nil, err
	}
	r.ready = state.Ready
	return r, nil
}

// next returns the next message; ok is false where there is none. Each message is then acked or held. Before next waits
// for long it calls idle, which settles what can be settled: the broker may be waiting for that.
//
// Its error is the cause of ctx, rabbit.ErrNotConnected, rabbit.ErrTookBack, that of idle, or one of open's.
func (r *reader) next(ctx context.Context, idle func() error) (d rabbit.Delivery, ok bool, err error) {
	if r.serial == 0 && (r.read < few || r.ready-r.read <= few) {
		return r.ask(ctx)
	}
	for empty := false; ; {
		if r.asked != nil {
			return r.behind(ctx)
		}
		c := &r.current
		if c.delivered-c.acked >= c.prefetch {
			if err := cmp.Or(idle(), r.sendAcks()); err != nil {
				return rabbit.Delivery{}, false, err
			}
		}
		if c.held >= c.prefetch {
			if err := cmp.Or(r.cancel(ctx), r.consume(ctx)); err != nil {
				return rabbit.Delivery{}, false, err
			}
		}
		if d, ok, err = r.receive(ctx, quiet); ok || err != nil || empty {
			return d, ok, err
		}
		if err := cmp.Or(idle(), r.sendAcks()); err != nil {
			return rabbit.Delivery{}, false, err
		}
		// It is answered behind all that the consumer got before; receive may find the latest of that.
		if d, ok, err = r.ask(ctx); err != nil {
			return d, false, err
		}
		if empty = !ok; ok {
			asked := d
			r.asked = &asked
		}
	}
}

// behind returns the next of what was asked for and what the consumer got before or after that.
func (r *reader) behind(ctx context.Context) (d rabbit.Delivery, ok bool, err error) {
	asked := *r.asked
	d, ok, err = r.receive(ctx, quiet)
	switch {
	case err != nil:
		return d, false, err
	case !ok:
		d, r.asked = asked, nil
	case d.DeliveryTag > asked.DeliveryTag:
		later := d
		d, r.asked = asked, &later
	}
	return d, true, nil
}

// prefetch is what the next consumer may hold.
func (r *reader) prefetch() int {
	most := mostLooking
	if r.acked > r.read/10 {
		most = mostReplaying
	}
	return max(min(maxAhead/max(r.bytes/max(r.read, 1), 1), most, r.ready-r.read), 1)
}

func (r *reader) consume(ctx context.Context) error {
	r.serial++
	c := consumer{tag: r.name + "#" + strconv.Itoa(r.serial), prefetch: r.prefetch()}
	err := r.channel.Do(ctx, r.queue, func() error { return r.channel.Qos(c.prefetch, 0, false) })
	if err != nil {
		return err
	}
	results := make(chan (<-chan rabbit.Delivery), 1) // a call that nobody waits for any more goes on
	if err := r.channel.Do(ctx, r.queue, func() error {
		deliveries, err := r.channel.Consume(r.queue, c.tag, false, false, false, false, nil)
		results <- deliveries
		return err
	}); err != nil {
		return err
	}
	c.deliveries = <-results
	// The consumer before got as many as it may hold and has acked: the queue has seen all acks.
	r.current, r.known = c, r.acked
	return nil
}

// cancel ends the current consumer. What it got, and was not returned by next, is held.
func (r *reader) cancel(ctx context.Context) error {
	c := r.current
	if c.deliveries == nil {
		return nil
	}
	if err := r.channel.Do(ctx, r.queue, func() error { return r.channel.Cancel(c.tag, false) }); err != nil {
		return err
	}
	r.current = consumer{}
	for d := range c.deliveries { // the driver closes it behind the last
		r.returning.hold(d.DeliveryTag)
	}
	return nil
}

// receive returns what arrives within that time.
func (r *reader) receive(ctx context.Context, wait time.Duration) (d rabbit.Delivery, ok bool, err error) {
	select {
	case d, ok = <-r.current.deliveries: // without a timer
	default:
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case d, ok = <-r.current.deliveries:
		case <-timer.C:
			return rabbit.Delivery{}, false, nil
		case <-ctx.Done():
			return rabbit.Delivery{}, false, context.Cause(ctx)
		}
	}
	if !ok { // since RabbitMQ 4.3 the consumer timeout ends the consumer alone
		if err := r.channel.Do(ctx, r.queue, func() error { return r.channel.Qos(1, 0, false) }); err != nil {
			return rabbit.Delivery{}, false, err
		}
		return rabbit.Delivery{}, false, fmt.Errorf("the queue %s: %w", r.queue, rabbit.ErrTookBack)
	}
	if r.current.delivered++; r.current.first == 0 {
		r.current.first = d.DeliveryTag
	}
	return r.take(d), true, nil
}

func (r *reader) take(d rabbit.Delivery) rabbit.Delivery {
	r.read++
	r.bytes += len(d.Body) + rabbit.TableSize(d.Headers)
	return d
}

// ask asks the queue for its next message.
func (r *reader) ask(ctx context.Context) (d rabbit.Delivery, ok bool, err error) {
	type answer struct {
		rabbit.Delivery
		ok bool
	}
	answers := make(chan answer, 1)
	if err := r.channel.Do(ctx, r.queue, func() error {
		d, ok, err := r.channel.Get(r.queue, false)
		answers <- answer{d, ok}
		return err
	}); err != nil {
		return rabbit.Delivery{}, false, err
	}
	a := <-answers
	if a.ok {
		r.take(a.Delivery)
	}
	return a.Delivery, a.ok, nil
}

// hold keeps a message until the reader is closed.
func (r *reader) hold(d rabbit.Delivery) {
	if r.mine(d) {
		r.current.held++
	}
	r.returning.hold(d.DeliveryTag)
}

// mine reports whether the current consumer got a message.
func (r *reader) mine(d rabbit.Delivery) bool {
	return r.current.first != 0 && d.DeliveryTag >= r.current.first
}

// ack removes a message from the queue, soon. Messages are acked in the order in which they were returned.
func (r *reader) ack(d rabbit.Delivery) error {
	if r.mine(d) {
		r.current.acked++
	}
	r.acked++
	if r.acks = append(r.acks, d.DeliveryTag); len(r.acks) < ackTogether {
		return nil
	}
	return r.sendAcks()
}

func (r *reader) sendAcks() error {
	acks, together := r.acks, r.held == 0
	if r.acks = r.acks[:0]; len(acks) > 0 && together {
		acks = acks[len(acks)-1:]
	}
	for _, tag := range acks {
		if err := r.channel.Ack(tag, together); err != nil {
			<-r.life.Done() // in a moment: the channel was lost
			return context.Cause(r.life)
		}
	}
	return nil
}

// unsure returns how many acks the queue may not have taken in. It has taken in as many as it must have to deliver more
// than the prefetch.
func (r *reader) unsure() int {
	return r.acked - min(r.known+max(r.current.delivered-r.current.prefetch, 0), r.acked)
}
