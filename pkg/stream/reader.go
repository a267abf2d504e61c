package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// prefetch is how many events the broker hands out ahead, and ackEvery how many are acked together: an ack of a stream
	// only asks for more.
	prefetch, ackEvery = 500, 125
	// hole is how many offsets may be missing between two events: RabbitMQ uses one itself where a segment begins.
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

// A Reader reads the events of one stream in their order, each once, through lost connections. It is not safe for
// concurrent use.
type Reader struct {
	conn   *rabbit.Conn
	stream string
	from   Place
	log    *slog.Logger

	last    *Position // nil before the first event
	channel *rabbit.Channel
	resumed bool // the last event, or one behind it, is still to be seen again
	short   bool // the stream was seen to end before the last event
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
// [rabbit.ErrRefused] where this user may not read it, and [rabbit.ErrClosed]. Next may be called again after each of them.
func (r *Reader) Next(ctx context.Context) (Event, error) {
	for {
		if r.channel == nil {
			if err := r.open(ctx); err != nil {
				return Event{}, err
			}
		}
		d, ok, err := r.receive(ctx)
		if err != nil {
			return Event{}, err
		}
		if !ok {
			r.Close(ctx) // the connection was lost, or the stream deleted
			continue
		}
		if event, fresh, err := r.take(d); err != nil || fresh {
			return event, err
		}
	}
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
		if r.resumed {
			late = time.After(missing)
		}
		select {
		case d, ok = <-r.events:
			return d, ok, nil
		case <-ctx.Done():
			return d, false, context.Cause(ctx)
		case <-late:
			if err := r.behind(ctx); err != nil {
				return d, false, err
			}
		}
	}
}

// behind returns an error if the stream ends before the event that was read last. It has to be seen twice: a broker that is
// busy may hand out the last events too late for [Look].
func (r *Reader) behind(ctx context.Context) error {
	ends, err := Look(ctx, r.conn, r.stream)
	if err != nil || ends.Empty {
		return nil //nolint:nilerr // whatever went wrong, the channel that reads sees it too
	}
	before := r.short
	r.short = ends.Last < r.last.Offset
	if before && r.short {
		return &ReplacedError{r.stream, r.last.Offset, r.last.ID}
	}
	if r.last.ID == "" && !r.short {
		r.resumed = false // nothing more is expected to come
	}
	return nil
}

// take returns a delivery as an event; fresh is false where it is the last one again.
func (r *Reader) take(d rabbit.Delivery) (e Event, fresh bool, err error) {
	offset, ok := d.Headers["x-stream-offset"].(int64)
	if !ok {
		return e, false, fmt.Errorf("the queue %s is not a stream", r.stream)
	}
	r.tag = d.DeliveryTag
	if r.unacked++; r.unacked >= ackEvery {
		r.ack()
	}
	switch last := r.last; {
	case last == nil:
	case offset == last.Offset && last.ID != "" && d.MessageId != last.ID:
		r.Close(context.Background())
		return e, false, &ReplacedError{r.stream, last.Offset, last.ID}
	case offset <= last.Offset:
		r.resumed = r.resumed && offset < last.Offset
		return e, false, nil
	case offset > last.Offset+1+hole:
		r.Close(context.Background())
		return e, false, &GapError{r.stream, last.Offset, offset}
	}
	r.last, r.resumed = &Position{offset, d.MessageId}, false
	return Event{offset, d}, true, nil
}

// open begins to read.
func (r *Reader) open(ctx context.Context) error {
	for {
		err := r.begin(ctx)
		if err == nil || !errors.Is(err, rabbit.ErrNotConnected) || errors.Is(err, rabbit.ErrClosed) || ctx.Err() != nil {
			return err
		}
		r.log.DebugContext(ctx, "not reading the stream; trying again", "stream", r.stream, "error", err)
		contexts.Sleep(ctx, again)
	}
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
	r.channel, r.events, err = consume(ctx, r.conn, r.stream, place, prefetch)
	r.unacked, r.resumed, r.short = 0, r.last != nil, false
	return err
}

func (r *Reader) ack() {
	if r.unacked > 0 {
		_ = r.channel.Ack(r.tag, true) // it fails where the channel is lost, which ends the deliveries
		r.unacked = 0
	}
}

// Close ends reading, until the next call of Next. It takes some seconds at most, though ctx has ended.
func (r *Reader) Close(ctx context.Context) {
	if r.channel != nil {
		end(ctx, r.channel, r.stream)
	}
	r.channel, r.events = nil, nil
}

// consume opens a channel on which a stream is consumed. The caller ends it.
func consume(ctx context.Context, conn *rabbit.Conn, stream string, from Place, most int) (*rabbit.Channel, <-chan rabbit.Delivery, error) {
	if from.argument == nil {
		return nil, nil, errors.New("a stream is read from First, Since or Offset: the place is the zero value")
	}
	channel, err := conn.Channel(ctx)
	if err != nil {
		return nil, nil, err
	}
	deliveries := make(chan (<-chan rabbit.Delivery), 1) // a call that is left behind ends with the channel
	err = channel.Do(ctx, stream, func() error { return channel.Qos(most, 0, false) })
	if err == nil {
		err = channel.Do(ctx, stream, func() error {
			d, err := channel.Consume(stream, "", false, false, false, false, rabbit.Table{"x-stream-offset": from.argument})
			deliveries <- d
			return err
		})
	}
	if err != nil {
		end(ctx, channel, stream)
		return nil, nil, err
	}
	return channel, ahead(<-deliveries, channel.Gone(), most), nil
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
func end(ctx context.Context, channel *rabbit.Channel, stream string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	_ = channel.Do(ctx, stream, channel.Close)
}

// closing is how long the broker may take to close a channel.
const closing = 5 * time.Second

// Ends are the ends of a stream.
type Ends struct {
	Empty       bool
	First, Last int64 // offsets
}

const (
	// quiet is how long nothing arrives before a stream is believed to be at its end: no version of RabbitMQ says where that
	// is, and the count of a stream's messages is seconds old.
	quiet = 2 * time.Second
	// chunk is how many events RabbitMQ writes together at most.
	chunk = 4096
)

// Look finds the ends of a stream. It takes a little longer than two seconds, and fails as [Reader.Next] does.
func Look(ctx context.Context, conn *rabbit.Conn, stream string) (Ends, error) {
	first, _, err := look(ctx, conn, stream, First(), 1)
	if err != nil || first < 0 {
		return Ends{Empty: first < 0}, err
	}
	_, last, err := look(ctx, conn, stream, Place{"last", "the last chunk"}, 2*chunk)
	return Ends{First: first, Last: last}, err
}

// look returns the offsets of the first and the last event that arrive from a place on, up to so many; -1 where none does.
func look(ctx context.Context, conn *rabbit.Conn, stream string, from Place, most int) (first, last int64, err error) {
	channel, events, err := consume(ctx, conn, stream, from, most)
	if err != nil {
		return -1, -1, err
	}
	defer end(ctx, channel, stream)
	first, last = -1, -1
	for n := range most {
		select {
		case d, ok := <-events:
			if !ok {
				return -1, -1, fmt.Errorf("the stream %s: %w", stream, rabbit.ErrNotConnected)
			}
			if last, ok = d.Headers["x-stream-offset"].(int64); !ok {
				return -1, -1, fmt.Errorf("the queue %s is not a stream", stream)
			}
			if n == 0 {
				first = last
			}
		case <-time.After(quiet):
			return first, last, nil
		case <-ctx.Done():
			return -1, -1, context.Cause(ctx)
		}
	}
	return first, last, nil
}
