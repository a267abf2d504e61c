package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Ends are the ends of a stream.
type Ends struct {
	Empty       bool
	First, Last int64 // offsets
}

const (
	// quiet is how long an event may take to arrive, and what follows it in its chunk, which is on its way then. No version of
	// RabbitMQ says where a stream ends, and the count of its messages is seconds old.
	quiet = 2 * time.Second
	// chunk is how many events RabbitMQ writes together at most.
	chunk = 4096
)

// ErrUndecided says that a broker has delivered too little, in the time that it has for that, to say what a stream has. It
// is busy, or the stream was deleted and declared again, and has no event yet.
var ErrUndecided = errors.New("the broker does not deliver what would show what the stream has")

// Look finds the ends of a stream, of which Last may be older than the answer. It takes a little longer than two seconds,
// however many events are published meanwhile. It fails as [Reader.Next] does, and with [ErrUndecided] where the broker
// delivers the first event and not the last. A stream counts as empty where nothing arrives for two seconds.
func Look(ctx context.Context, conn *rabbit.Conn, stream string) (Ends, error) {
	first, _, err := look(ctx, conn, stream, First(), 1)
	if err != nil {
		return Ends{}, err
	}
	if first < 0 {
		return Ends{Empty: true}, nil
	}
	_, last, err := look(ctx, conn, stream, Place{"last", "the last chunk"}, 2*chunk)
	if err == nil && last < 0 {
		err = fmt.Errorf("the stream %s: %w", stream, ErrUndecided)
	}
	if err != nil {
		return Ends{}, err
	}
	return Ends{First: first, Last: last}, nil
}

// look returns the offsets of the first and the last event that arrive from a place on, up to so many, and as long as a
// chunk may take to arrive; -1 where none does.
func look(ctx context.Context, conn *rabbit.Conn, stream string, from Place, most int) (first, last int64, err error) {
	channel, events, err := consume(ctx, conn, stream, from, most)
	if err != nil {
		return -1, -1, err
	}
	defer end(ctx, channel)
	first, last = -1, -1
	late := time.After(quiet)
	for n := range most {
		select {
		case d, ok := <-events:
			if !ok {
				return -1, -1, fmt.Errorf("the stream %s: %w", stream, rabbit.ErrNotConnected)
			}
			if last, ok = d.Headers[wire.StreamOffset].(int64); !ok {
				return -1, -1, fmt.Errorf("the queue %s is not a stream", stream)
			}
			if n == 0 {
				first, late = last, time.After(quiet)
			}
		case <-late:
			return first, last, nil
		case <-ctx.Done():
			return -1, -1, context.Cause(ctx)
		}
	}
	return first, last, nil
}
