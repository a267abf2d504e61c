package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// prefetch is how many events the broker hands out ahead, and ackEvery how many are acked together: an ack of a stream
	// only asks for more.
	prefetch, ackEvery = 500, 125
	// hole is how many offsets may be missing before the first event of a stream: RabbitMQ uses one itself where a segment begins.
	hole = 1
	// missing is how long a reader waits for the event that it read last before it looks whether the stream has come so far.
	missing = 10 * time.Second
	// again is how long a reader waits before it begins anew on a connection that lives.
	again = time.Second
)

// A GapError says that a stream has lost events that a reader had still to read: its limits have had RabbitMQ delete
// segments. RabbitMQ does not say so, and goes on with what is left.
type GapError struct {
	Stream string
	// After is the offset of the last event that was read, and Next that of the first one that is left.
	After, Next int64
}

func (e *GapError) Error() string {
	return fmt.Sprintf("the events %d to %d of the stream %s were deleted before they were read: the stream's limits are too small for this reader",
		e.After+1, e.Next-1, e.Stream)
}

// A ReplacedError says that a stream does not have the event at which a reader stopped, but another one, or has not come so
// far: it was deleted, and declared again.
type ReplacedError struct {
	Stream string
	Offset int64
	ID     string // of the event that was there
}

func (e *ReplacedError) Error() string {
	return fmt.Sprintf("the stream %s does not have the event %s at offset %d any more: it was deleted, and is another one now", e.Stream, e.ID, e.Offset)
}

// A Position is an event that was read last.
type Position struct {
	Offset int64
	// ID is its message id, by which the reader knows that the stream is still the same one. Where it is empty, that is not
	// looked at, and reading begins behind Offset whatever is there.
	ID string
}

// An Event is an event as it lies in a stream.
type Event struct {
	Offset int64
	rabbit.Delivery
}

// Sent returns when the event was sent, by its sender's clock; the zero time if it does not say.
func (e *Event) Sent() time.Time {
	if at := wire.Time(e.Headers, wire.SentAt); !at.IsZero() {
		return at
	}
	return e.Timestamp
}

// A Reader reads the events of one stream in their order, each once, through lost connections. It is not safe for
// concurrent use.
type Reader struct {
	conn   *rabbit.Conn
	stream string
	from   Place
	log    *slog.Logger

	last    *Position // nil before the first event
	channel *rabbit.Channel
	joined  atomic.Bool // this channel has shown that nothing is missing behind the last event, such as that event again
	doubt   error       // why that seemed wrong at the last look
	events  <-chan rabbit.Delivery
	unacked int
	tag     uint64 // of the last delivery
}

// NewReader makes a reader that begins at a place. It does nothing before Next. The caller closes it.
func NewReader(conn *rabbit.Conn, stream string, from Place, log *slog.Logger) *Reader {
	return &Reader{conn: conn, stream: stream, from: from, log: log}
}

// Resume makes a reader that begins behind the event that was read last.
func Resume(conn *rabbit.Conn, stream string, last Position, log *slog.Logger) *Reader {
	return &Reader{conn: conn, stream: stream, last: &last, log: log}
}

// Waiting returns how many events are here already, so that Next returns them at once; a few of them may be known already.
func (r *Reader) Waiting() int { return len(r.events) }

// Next returns the next event. It blocks until there is one, also while the connection is lost, as long as ctx lives.
//
// Its errors are the cause of ctx, a [*GapError], a [*ReplacedError], [rabbit.ErrNotFound] where there is no such stream,
// [rabbit.ErrRefused] where this user may not read it, [rabbit.ErrClosed], and [ErrUndecided] where it cannot be told whether the
// stream is still the same one. Next may be called again after each of them.
func (r *Reader) Next(ctx context.Context) (Event, error) {
	for {
		if e, fresh, err := r.step(ctx); err != nil || fresh {
			return e, err
		}
	}
}

// verify returns nil once it is known that no event behind the last one is missing, and fails as Next does.
func (r *Reader) verify(ctx context.Context) error {
	for !r.joined.Load() {
		if _, _, err := r.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step opens a channel where there is none, and takes the next delivery; fresh is false where that is no new event.
func (r *Reader) step(ctx context.Context) (e Event, fresh bool, err error) {
	if r.channel == nil {
		if err := r.open(ctx); err != nil {
			return e, false, err
		}
	}
	d, ok, err := r.receive(ctx)
	switch {
	case err != nil:
		return e, false, err
	case !ok: // the connection was lost, or the stream deleted
		r.settle(ctx)
		r.Close(ctx)
		return e, false, nil
	}
	return r.take(ctx, d)
}

// receive returns the next delivery; ok is false where the channel was lost.
func (r *Reader) receive(ctx context.Context) (d rabbit.Delivery, ok bool, err error) {
	select {
	case d, ok = <-r.events: // what is here is returned, though ctx has ended
		return d, ok, nil
	default:
	}
	r.ack() // the broker may wait for it before it sends more
	for {
		late := make(<-chan time.Time)
		if !r.joined.Load() {
			late = time.After(missing)
		}
		select {
		case d, ok = <-r.events:
			return d, ok, nil
		case <-ctx.Done():
			return d, false, context.Cause(ctx)
		case <-late:
			if err := r.look(ctx); err != nil {
				return d, false, err
			}
		}
	}
}

// look finds out whether the stream has come as far as the last event, which does not arrive. Where it has not, that has to
// be seen twice: a replica may be behind for a moment.
func (r *Reader) look(ctx context.Context) error {
	before := r.doubt
	r.doubt = r.judge(Look(ctx, r.conn, r.stream))
	switch {
	case before == nil || r.doubt == nil:
		return nil
	case lost(before):
		return r.doubt
	default:
		return before
	}
}

// judge says what speaks against the stream having the last event.
func (r *Reader) judge(ends Ends, err error) error {
	switch {
	case errors.Is(err, ErrUndecided), err == nil && ends.Empty: // it is another one, or a policy has emptied it
		return fmt.Errorf("the stream %s, at offset %d: %w", r.stream, r.last.Offset, ErrUndecided)
	case err != nil:
		return nil //nolint:nilerr // the channel that reads sees it too
	case ends.Last < r.last.Offset:
		return &ReplacedError{r.stream, r.last.Offset, r.last.ID}
	}
	r.joined.Store(r.last.ID == "") // nothing more is expected to come
	return nil
}

// take returns a delivery as an event; fresh is false where it is the last one again, or one before it.
func (r *Reader) take(ctx context.Context, d rabbit.Delivery) (e Event, fresh bool, err error) {
	if e, err = eventOf(r.stream, d); err != nil {
		return e, false, err
	}
	r.tag = d.DeliveryTag
	if r.unacked++; r.unacked >= ackEvery {
		r.ack()
	}
	fresh, err = r.follows(ctx, Position{e.Offset, d.MessageId})
	switch {
	case err == nil && !fresh:
		return e, false, nil
	case away(err):
		r.Close(ctx) // it is read again
		return e, false, nil
	case err != nil:
		r.Close(ctx)
		return e, false, err
	}
	r.last = &Position{e.Offset, d.MessageId}
	r.joined.Store(true)
	return e, true, nil
}

// follows reports whether an event comes behind the last one. Its error says that others are missing between them, or that
// the last one is another one now.
func (r *Reader) follows(ctx context.Context, p Position) (bool, error) {
	last := r.last
	switch {
	case last == nil:
		return true, nil
	case p.Offset > last.Offset:
		return true, r.gap(ctx, p.Offset)
	case p.Offset == last.Offset && last.ID != "" && p.ID != last.ID:
		return false, &ReplacedError{r.stream, last.Offset, last.ID}
	case p.Offset == last.Offset:
		r.joined.Store(true)
	}
	return false, nil
}

// gap returns a GapError if events were deleted between the last one and one that follows it. Offsets that are missing are
// no proof: where programs store how far they have read on the broker, RabbitMQ uses an offset each time. What deletes events
// deletes the oldest, so that the stream then begins behind the last one.
func (r *Reader) gap(ctx context.Context, next int64) error {
	if next <= r.last.Offset+1+hole {
		return nil
	}
	first, _, err := look(ctx, r.conn, r.stream, First(), 1)
	switch {
	case err != nil:
		return err
	case first != nil && first.Offset > r.last.Offset+1+hole:
		return &GapError{r.stream, r.last.Offset, first.Offset}
	}
	return nil
}

// open begins to read.
func (r *Reader) open(ctx context.Context) error {
	for {
		err := r.begin(ctx)
		if !away(err) || ctx.Err() != nil {
			return err
		}
		r.log.DebugContext(ctx, "not reading the stream; trying again", "stream", r.stream, "error", err)
		contexts.Sleep(ctx, again)
	}
}

// away reports whether the broker is not there, and may come back.
func away(err error) bool {
	return errors.Is(err, rabbit.ErrNotConnected) && !errors.Is(err, rabbit.ErrClosed)
}

// begin opens a channel and consumes the stream from the last event on, so that it is seen to be the same one.
func (r *Reader) begin(ctx context.Context) (err error) {
	place := r.from
	switch {
	case r.last == nil:
	case r.last.ID == "":
		place = Offset(r.last.Offset + 1)
	default:
		place = Offset(r.last.Offset)
	}
	channel, err := r.conn.Channel(ctx)
	if err != nil {
		return err
	}
	events, err := consume(ctx, channel, r.stream, "", place, prefetch)
	if err != nil {
		end(ctx, channel)
		return err
	}
	r.channel, r.events = channel, ahead(events, channel.Gone(), prefetch)
	r.unacked, r.doubt = 0, nil
	r.joined.Store(r.last == nil)
	return nil
}

func (r *Reader) ack() {
	if r.unacked > 0 {
		_ = r.channel.Ack(r.tag, true) // it fails where the channel is lost, which ends the deliveries
		r.unacked = 0
	}
}

// settle returns once the driver has answered the broker that has cancelled its consumer: an answer behind the closing of its
// channel costs the whole connection.
func (r *Reader) settle(ctx context.Context) {
	_ = r.channel.Do(ctx, r.stream, func() error { return r.channel.Qos(prefetch, 0, false) }) // it fails where the channel was lost
}

// Close ends reading, until the next call of Next. It takes some seconds at most, though ctx has ended.
func (r *Reader) Close(ctx context.Context) {
	if r.channel != nil {
		end(ctx, r.channel)
	}
	r.channel, r.events = nil, nil
	r.joined.Store(false)
}

// consume consumes a stream, with a consumer tag, or one that the driver makes; so many events are sent before they are acked.
func consume(ctx context.Context, channel *rabbit.Channel, stream, tag string, from Place, most int) (<-chan rabbit.Delivery, error) {
	if from.argument == nil {
		return nil, errors.New("a stream is read from First, Since or Offset: the place is the zero value")
	}
	if err := channel.Do(ctx, stream, func() error { return channel.Qos(most, 0, false) }); err != nil {
		return nil, err
	}
	deliveries := make(chan (<-chan rabbit.Delivery), 1) // a call that is left behind ends with the channel
	if err := channel.Do(ctx, stream, func() error {
		d, err := channel.Consume(stream, tag, false, false, false, false, rabbit.Table{"x-stream-offset": from.argument})
		deliveries <- d
		return err
	}); err != nil {
		return nil, err
	}
	return <-deliveries, nil
}

// ahead hands deliveries on through a buffer, so that it is known how many are here: those of the driver wait in a list of
// its own. It ends with the channel that they come on.
func ahead(from <-chan rabbit.Delivery, ended <-chan struct{}, most int) <-chan rabbit.Delivery {
	to := make(chan rabbit.Delivery, most)
	go func() {
		defer close(to)
		for d := range from {
			select {
			case to <- d:
			case <-ended: // RabbitMQ 3.10 may send more than it was asked for
				return
			}
		}
	}()
	return to
}

// end closes a channel. A nack would close the connection (RabbitMQ 3.10), and there is nothing to give back.
func end(ctx context.Context, channel *rabbit.Channel) {
	_ = channel.End(context.WithoutCancel(ctx))
}
