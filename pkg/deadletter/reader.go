package deadletter

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// mostLooking is how many messages a batch has at most: RabbitMQ 4.3 gets slower with each consumer that holds messages.
	mostLooking = 8000
	// maxAhead is about how many bytes a batch has at most, and few how many messages the first has: it shows how large
	// they are.
	maxAhead, few = 16 << 20, 4
	// mostChannels is how many channels hold one batch each, or less where the broker allows few. Those beyond hold at least
	// the same share of the queue.
	mostChannels = 100
	// quiet is how long nothing arrives before the queue is asked whether it is empty. Where it has messages and delivers
	// none, it is asked mostQuiet times.
	quiet, mostQuiet = 250 * time.Millisecond, 480
	// ackTogether is how many messages are acked at once.
	ackTogether = 16
)

// A reader takes the messages of one queue in their order, by consuming. What it does not ack goes back in that order
// when it is closed, and takes next to no memory until then.
//
// It reads in batches, each with a consumer whose prefetch is the size of the batch: once it has delivered that many,
// nothing is on its way to it, and it is cancelled, which leaves the messages held. RabbitMQ 3.10 delivers what is held
// again if a message is on its way to a consumer that is cancelled.
//
// What is held is spread over several channels. RabbitMQ looks for a message that is acked among all that its channel
// holds. And RabbitMQ 4.3 closes a channel once for each cancelled consumer that has held messages for too long; the
// second time costs the connection.
type reader struct {
	conn   *rabbit.Conn
	queue  string
	name   string          // of its consumers
	ready  int             // messages that were there when it began
	unsure int             // how many acks of a channel are in doubt before they are proven; 0 where none is acked
	life   context.Context //nolint:containedctx // it ends when nothing can be acked any more
	end    context.CancelCauseFunc

	holders []*holder // the last one takes messages
	serial  int       // of the consumer
	tag     string
	from    <-chan rabbit.Delivery // nil between two batches
	leaving bool                   // its cancellation has been asked for
	batch   []rabbit.Delivery      // what next has not returned
	ended   bool                   // there is no other batch
	read    int                    // how many next returned
	got     int                    // how many arrived
	bytes   int                    // of those
}

// open begins to read a queue. Its errors are those of rabbit.Conn.Inspect. The caller closes the reader.
func open(ctx context.Context, conn *rabbit.Conn, queue, name string) (*reader, error) {
	r := &reader{conn: conn, queue: queue, name: name}
	r.life, r.end = context.WithCancelCause(context.WithoutCancel(ctx))
	err := r.open(ctx)
	if err != nil {
		r.end(nil)
		return nil, err
	}
	state, err := r.channel().Inspect(ctx, queue)
	if err != nil {
		_ = r.close(ctx)
		return nil, err
	}
	r.ready = state.Ready
	return r, nil
}

// open opens the next channel.
func (r *reader) open(ctx context.Context) error {
	channel, err := r.conn.Channel(ctx)
	if err != nil {
		return err
	}
	life, stop := channel.Context(r.life)
	context.AfterFunc(life, func() { r.end(context.Cause(life)); stop() })
	cancelled := channel.NotifyCancel(make(chan string, 1))
	go func() { // until the channel is closed
		for range cancelled { // since RabbitMQ 4.3 the consumer timeout leaves the channel open
			r.end(fmt.Errorf("the queue %s: %w", r.queue, rabbit.ErrTookBack))
		}
	}()
	r.holders = append(r.holders, &holder{channel: channel})
	return nil
}

func (r *reader) last() *holder { return r.holders[len(r.holders)-1] }

func (r *reader) channel() *rabbit.Channel { return r.last().channel }

// holderOf returns where a message is held.
func (r *reader) holderOf(d rabbit.Delivery) *holder {
	for _, h := range slices.Backward(r.holders) {
		if d.Acknowledger == h.channel.Channel {
			return h
		}
	}
	return r.last()
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
	if h := r.last(); r.unsure > 0 && h.acked-h.known >= r.unsure {
		if err := r.prove(ctx, h); err != nil {
			return rabbit.Delivery{}, false, err
		}
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
	h, share := r.last(), 0
	h.border()
	if most := min(mostChannels, r.conn.State().Channels/4); len(r.holders) >= most {
		share = r.ready / max(most, 1)
	}
	if h.held > share {
		idle() // what is in flight is acked on its own channel, before that is proven
		if err := r.change(ctx); err != nil || r.got >= r.ready {
			return err
		}
		h = r.last()
	}
	sent, size := h.acked, r.size()
	if err := r.consume(ctx, size); err != nil {
		return err
	}
	until := len(r.batch) + size
	for waits, empty := 0, 0; len(r.batch) < until; {
		ok, err := r.receive(ctx, quiet)
		if err != nil {
			return err
		}
		if ok {
			waits, empty = 0, 0
			continue
		}
		idle()
		state, err := r.channel().Inspect(ctx, r.queue)
		if err != nil {
			return err
		}
		if state.Ready == 0 && state.Consumers > 0 { // else the queue has not answered: see rabbit.Channel.Inspect
			empty++
		}
		if empty == 2 {
			r.ended = true // others hold, or have taken, the rest
			break
		}
		if waits++; waits == mostQuiet {
			return fmt.Errorf("the queue %s has %d messages, and delivered none for %v", r.queue, state.Ready, mostQuiet*quiet)
		}
	}
	if err := r.cancel(ctx); err != nil {
		return err
	}
	// The answer to the consumer brought out the acks that the channel had kept back, and the queue carries out what the
	// channel sends in its order.
	h.known = sent
	return nil
}

// size is how many messages the next batch has.
func (r *reader) size() int {
	if r.got == 0 {
		return max(min(few, r.ready), 1)
	}
	return max(min(maxAhead/max(r.bytes/r.got, 1), mostLooking, r.ready-r.got), 1)
}

// change opens the next channel, and makes sure of the acks of the one before.
func (r *reader) change(ctx context.Context) error {
	if err := r.prove(ctx, r.last()); err != nil {
		return err
	}
	ctx, stop := r.context(ctx) // a channel of the next connection would not do
	defer stop()
	return r.open(ctx)
}

func (r *reader) consume(ctx context.Context, size int) error {
	err := r.channel().Do(ctx, r.queue, func() error { return r.channel().Qos(size, 0, false) })
	if err != nil {
		return err
	}
	r.serial++
	r.tag = r.name + "#" + strconv.Itoa(r.serial)
	results := make(chan (<-chan rabbit.Delivery), 1) // a call that nobody waits for any more goes on
	if err := r.channel().Do(ctx, r.queue, func() error {
		deliveries, err := r.channel().Consume(r.queue, r.tag, false, false, false, false, nil)
		results <- deliveries
		return err
	}); err != nil {
		return err
	}
	r.from, r.leaving = <-results, false
	return nil
}

// cancel ends the consumer. What arrives meanwhile is held. It may be called again where it was interrupted.
func (r *reader) cancel(ctx context.Context) error {
	r.leaving = true
	if err := r.channel().Do(ctx, r.queue, func() error { return r.channel().Cancel(r.tag, false) }); err != nil {
		return err
	}
	for d := range r.from { // the driver closes it behind the last
		r.hold(d)
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
	switch {
	case ok:
		r.arrived(d)
		return true, nil
	case r.leaving: // an interrupted cancellation was answered after all
		return false, nil
	default:
		<-r.life.Done() // in a moment
		return false, context.Cause(r.life)
	}
}

func (r *reader) arrived(d rabbit.Delivery) {
	r.batch = append(r.batch, d)
	r.got++
	r.bytes += len(d.Body) + rabbit.TableSize(d.Headers)
}

// hold keeps a message until the reader is closed.
func (r *reader) hold(d rabbit.Delivery) { r.holderOf(d).hold(d.DeliveryTag) }

// ack removes a message from the queue, soon. Messages are acked in the order in which they were returned.
func (r *reader) ack(d rabbit.Delivery) error {
	if h := r.holderOf(d); !h.ack(d.DeliveryTag) {
		return nil
	}
	return r.sendAcks()
}

func (r *reader) sendAcks() error {
	if r.life.Err() != nil {
		return context.Cause(r.life)
	}
	for _, h := range r.holders {
		if err := h.sendAcks(); err != nil {
			<-r.life.Done() // in a moment: the channel was lost
			return context.Cause(r.life)
		}
	}
	return nil
}

// inDoubt returns how many acks the queue may not have taken in.
func (r *reader) inDoubt() (n int) {
	for _, h := range r.holders {
		n += h.acked - h.known
	}
	return n
}
