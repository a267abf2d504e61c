package deadletter

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// mostLooking is how many messages a batch has at most, and mostReplaying where many of them are acked: it bounds the
	// acks that are unsure. RabbitMQ 4.3 gets slower with each consumer that holds messages.
	mostLooking, mostReplaying = 8000, 1000
	// maxAhead is about how many bytes a batch has at most, and few how many messages the first has: it shows how large
	// they are.
	maxAhead, few = 16 << 20, 4
	// quiet is how long nothing arrives before the queue is asked whether it is empty. Where it has messages and delivers
	// none, that is done mostQuiet times.
	quiet, mostQuiet = 250 * time.Millisecond, 40
	// ackTogether is how many messages are acked at once.
	ackTogether = 16
)

// A reader takes the messages of one queue in their order, by consuming. What it does not ack goes back in that order
// when it is closed, and takes next to no memory until then.
//
// It reads in batches, each with a consumer whose prefetch is the size of the batch: once it has delivered that many,
// nothing is on its way to it, and it is cancelled, which leaves the messages held. RabbitMQ 3.10 delivers what is held
// again if a message is on its way to a consumer that is cancelled.
type reader struct {
	channel *rabbit.Channel
	queue   string
	name    string          // of its consumers
	ready   int             // messages that were there when it began
	life    context.Context //nolint:containedctx // it ends when nothing can be acked any more
	stop    func()

	serial int // of the consumer
	tag    string
	from   <-chan rabbit.Delivery // nil between two batches
	batch  []rabbit.Delivery      // what next has not returned
	ended  bool                   // there is no other batch
	read   int                    // how many next returned
	got    int                    // how many arrived
	bytes  int                    // of those

	returning
	acks  []uint64 // acks that wait to be sent together
	acked int
	known int // how many acks the queue has taken in
}

// open begins to read a queue. Its errors are those of rabbit.Conn.Inspect. The caller closes the reader.
func open(ctx context.Context, conn *rabbit.Conn, queue, name string) (*reader, error) {
	channel, err := conn.Channel(ctx)
	if err != nil {
		return nil, err
	}
	r := &reader{channel: channel, queue: queue, name: name}
	life, stop := channel.Context(context.WithoutCancel(ctx))
	life, end := context.WithCancelCause(life)
	r.life, r.stop = life, func() { end(nil); stop() }
	cancelled := channel.NotifyCancel(make(chan string, 1))
	go func() { // until the channel is closed
		for range cancelled { // since RabbitMQ 4.3 the consumer timeout leaves the channel open
			end(fmt.Errorf("the queue %s: %w", queue, rabbit.ErrTookBack))
		}
	}()
	state, err := channel.Inspect(ctx, queue)
	if err != nil {
		_ = r.close(ctx)
		return nil, err
	}
	r.ready = state.Ready
	return r, nil
}

// context returns a context that ends with ctx, and when nothing can be acked any more. Its cause is rabbit.ErrNotConnected
// then, or rabbit.ErrTookBack. The function that it returns must be called.
func (r *reader) context(ctx context.Context) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	lost := func() { end(context.Cause(r.life)) }
	stop := context.AfterFunc(r.life, lost)
	if r.life.Err() != nil {
		lost() // before anybody uses it
	}
	return ctx, func() { stop(); end(nil) }
}

// next returns the next message; ok is false where there is none. Each message is then acked or held. While it waits for
// messages it calls idle, which settles what can be settled.
//
// Its error is the cause of ctx, rabbit.ErrNotConnected, rabbit.ErrTookBack, or one of open's.
func (r *reader) next(ctx context.Context, idle func()) (d rabbit.Delivery, ok bool, err error) {
	if ctx.Err() != nil {
		return rabbit.Delivery{}, false, context.Cause(ctx)
	}
	if len(r.batch) == 0 && !r.ended && r.got < r.ready {
		if err := r.fill(ctx, idle); err != nil {
			return rabbit.Delivery{}, false, err
		}
	}
	if len(r.batch) == 0 {
		return rabbit.Delivery{}, false, nil
	}
	d, r.batch[0] = r.batch[0], rabbit.Delivery{}
	r.batch = r.batch[1:]
	r.read++
	return d, true, nil
}

// fill reads the next batch.
func (r *reader) fill(ctx context.Context, idle func()) error {
	if err := r.sendAcks(); err != nil {
		return err
	}
	r.border()
	sent, size := r.acked, min(few, r.ready)
	if r.got > 0 {
		most := mostLooking
		if r.got-r.held > r.got/5 {
			most = mostReplaying
		}
		size = min(maxAhead/max(r.bytes/r.got, 1), most, r.ready-r.got)
	}
	size = max(size, 1)
	if err := r.consume(ctx, size); err != nil {
		return err
	}
	for waits, empty := 0, 0; len(r.batch) < size; {
		ok, err := r.receive(ctx, quiet)
		if err != nil {
			return err
		}
		if ok {
			waits, empty = 0, 0
			continue
		}
		idle()
		state, err := r.channel.Inspect(ctx, r.queue)
		if err != nil {
			return err
		}
		if state.Ready == 0 {
			empty++
		}
		if waits++; empty == 2 || waits == mostQuiet {
			r.ended = true // others hold, or have taken, the rest
			break
		}
	}
	if err := r.cancel(ctx); err != nil {
		return err
	}
	// The answer to the consumer brought out the acks that the channel had kept back, and the queue carries out what the
	// channel sends in its order.
	r.known = sent
	return nil
}

func (r *reader) consume(ctx context.Context, size int) error {
	err := r.channel.Do(ctx, r.queue, func() error { return r.channel.Qos(size, 0, false) })
	if err != nil {
		return err
	}
	r.serial++
	r.tag = r.name + "#" + strconv.Itoa(r.serial)
	results := make(chan (<-chan rabbit.Delivery), 1) // a call that nobody waits for any more goes on
	if err := r.channel.Do(ctx, r.queue, func() error {
		deliveries, err := r.channel.Consume(r.queue, r.tag, false, false, false, false, nil)
		results <- deliveries
		return err
	}); err != nil {
		return err
	}
	r.from = <-results
	return nil
}

// cancel ends the consumer. What arrives meanwhile is held.
func (r *reader) cancel(ctx context.Context) error {
	if err := r.channel.Do(ctx, r.queue, func() error { return r.channel.Cancel(r.tag, false) }); err != nil {
		return err
	}
	for d := range r.from { // the driver closes it behind the last
		r.returning.hold(d.DeliveryTag)
	}
	r.from = nil
	return nil
}

// receive adds to the batch what arrives within that time.
func (r *reader) receive(ctx context.Context, wait time.Duration) (ok bool, err error) {
	var d rabbit.Delivery
	select {
	case d, ok = <-r.from: // without a timer
	default:
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case d, ok = <-r.from:
		case <-timer.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	if !ok {
		<-r.life.Done() // in a moment
		return false, context.Cause(r.life)
	}
	r.batch = append(r.batch, d)
	r.got++
	r.bytes += len(d.Body) + rabbit.TableSize(d.Headers)
	return true, nil
}

// hold keeps a message until the reader is closed.
func (r *reader) hold(d rabbit.Delivery) { r.returning.hold(d.DeliveryTag) }

// ack removes a message from the queue, soon. Messages are acked in the order in which they were returned.
func (r *reader) ack(d rabbit.Delivery) error {
	r.acked++
	if r.acks = append(r.acks, d.DeliveryTag); len(r.acks) < ackTogether {
		return nil
	}
	return r.sendAcks()
}

func (r *reader) sendAcks() error {
	if r.life.Err() != nil {
		return context.Cause(r.life)
	}
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

// unsure returns how many acks the queue may not have taken in.
func (r *reader) unsure() int { return r.acked - r.known }
