package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Ends are the ends of a stream.
type Ends struct {
	Empty       bool
	First, Last int64 // offsets
}

const (
	// chunk is how many events RabbitMQ writes together at most.
	chunk = 4096
	// asking is how often the broker is asked how many events a stream has while it delivers none. Its answer is up to five
	// seconds old, so it is believed the third time. A stream that has events is given up after so many times.
	asking            = 2 * time.Second
	believed, givenUp = 3, 30
	// tries is how often the broker is asked where the stream cannot be read now.
	tries = 5
)

// ErrUndecided says that a broker has delivered too little to say what a stream has: for a minute nothing, though there are
// events; or there are none, so that a reader cannot tell whether it is the stream whose events it has read.
var ErrUndecided = errors.New("the broker delivers nothing that would show what the stream has")

// Look finds the ends of a stream, as they are on the node that it asks: a replica may be behind. It is quick where there are
// events, and takes six seconds where there are none. It fails as [Reader.Next] does, and with [ErrUndecided]; and, unlike
// Next, with [rabbit.ErrNotConnected] after some seconds if the broker is away, or its node has no replica of the stream.
func Look(ctx context.Context, conn *rabbit.Conn, stream string) (Ends, error) {
	first, _, err := look(ctx, conn, stream, First(), 1)
	if err != nil {
		return Ends{}, err
	}
	if first == nil {
		return Ends{Empty: true}, nil
	}
	_, last, err := look(ctx, conn, stream, lastChunk, 2*chunk)
	if err == nil && last == nil { // it was deleted meanwhile
		err = fmt.Errorf("the stream %s: %w", stream, ErrUndecided)
	}
	if err != nil {
		return Ends{}, err
	}
	return Ends{First: first.Offset, Last: last.Offset}, nil
}

// Find returns the first event that a stream has from a place on; nil if it has none there. It fails as [Look] does.
func Find(ctx context.Context, conn *rabbit.Conn, stream string, from Place) (*Event, error) {
	first, _, err := look(ctx, conn, stream, from, 1)
	return first, err
}

// look is lookOnce, repeated while the stream cannot be read.
func look(ctx context.Context, conn *rabbit.Conn, stream string, from Place, most int) (first, last *Event, err error) {
	err = patiently(ctx, func() (err error) {
		first, last, err = lookOnce(ctx, conn, stream, from, most)
		return err
	})
	return first, last, err
}

// patiently asks again, a second later, if the broker cannot say anything about a stream. RabbitMQ says that its node has no
// replica of a stream not only where that is so, but also while the stream starts, and when a busy node has not found out
// within five seconds; then it may close the connection as well (check_queue_exists_in_local_node and get_local_pid in
// rabbit_stream_queue, 3.10).
func patiently(ctx context.Context, ask func() error) error {
	for tried := 1; ; tried++ {
		if err := ask(); !away(err) || tried == tries || ctx.Err() != nil {
			return err
		}
		contexts.Sleep(ctx, again)
	}
}

// lookOnce returns the first and the last event of a stream from a place on, among the next so many; nil where there is none.
//
// RabbitMQ does not say where a stream ends. But once it has something to deliver to one consumer of a channel, it reads on for
// all of them, as far as the stream and their prefetch go, and answers the channel's next method behind all of that. So a second
// consumer, at the last events, shows when the first one has what there is (rabbit_stream_queue:handle_event, 3.10 to 4.3).
func lookOnce(ctx context.Context, conn *rabbit.Conn, stream string, from Place, most int) (first, last *Event, err error) {
	channel, err := conn.Channel(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer end(ctx, channel)
	events, err := consume(ctx, channel, stream, "events", from, most)
	if err != nil {
		return nil, nil, err
	}
	witness, err := consume(ctx, channel, stream, "witness", lastChunk, 1)
	if err != nil {
		return nil, nil, err
	}
	if there, err := delivers(ctx, conn, stream, witness); err != nil || !there {
		return nil, nil, err
	}
	if err := channel.Do(ctx, stream, func() error { return channel.Cancel("events", false) }); err != nil {
		return nil, nil, err
	}
	for d := range events { // the driver closes it behind the last
		e, err := eventOf(stream, d)
		if err != nil {
			return nil, nil, err
		}
		if last = &e; first == nil {
			first = last
		}
	}
	return first, last, nil
}

// delivers returns once a consumer has an event, or the stream has none.
func delivers(ctx context.Context, conn *rabbit.Conn, stream string, events <-chan rabbit.Delivery) (bool, error) {
	for asked := 1; ; asked++ {
		select {
		case _, ok := <-events:
			if !ok {
				return false, fmt.Errorf("the stream %s: %w", stream, rabbit.ErrNotConnected)
			}
			return true, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(asking):
		}
		state, err := conn.Inspect(ctx, stream)
		switch {
		case err != nil && !errors.Is(err, rabbit.ErrRefused): // RabbitMQ 4.3 lets only those ask who may configure it
			return false, err
		case state.Ready == 0 && asked >= believed:
			return false, nil
		case asked >= givenUp:
			return false, fmt.Errorf("the stream %s: %w", stream, ErrUndecided)
		}
	}
}

// eventOf returns a delivery as an event.
func eventOf(stream string, d rabbit.Delivery) (Event, error) {
	offset, ok := d.Headers[wire.StreamOffset].(int64)
	if !ok {
		return Event{}, fmt.Errorf("the queue %s is not a stream", stream)
	}
	return Event{offset, d}, nil
}
