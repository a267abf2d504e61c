package cli

import (
	"context"
	"errors"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// lookers is how many queues the broker is asked for at once, over a channel each: enough for thousands in some seconds,
// few for the broker.
const lookers = 16

// An inspector asks the broker for queues, over few channels that it keeps. It is safe for concurrent use.
type inspector struct {
	conn     *leveret.Conn
	patience time.Duration        // how long the connection may be away
	channels chan *rabbit.Channel // as many as there are lookers; nil where one is to be opened
}

func newInspector(conn *leveret.Conn, patience time.Duration) *inspector {
	i := &inspector{conn, patience, make(chan *rabbit.Channel, lookers)}
	for range lookers {
		i.channels <- nil
	}
	return i
}

// state is what the broker said of one queue.
type state struct {
	rabbit.QueueState
	err error
}

// inspect asks for one queue. That it does not exist, or may not be asked for, is part of its state. The error is one of
// the connection.
func (i *inspector) inspect(ctx context.Context, queue string) (state, error) {
	channel := <-i.channels
	defer func() { i.channels <- channel }()
	if channel == nil || channel.IsClosed() {
		opening, cancel := context.WithTimeout(ctx, i.patience)
		defer cancel()
		var err error
		if channel, err = i.conn.Rabbit().Channel(opening); err != nil {
			return state{}, err
		}
	}
	s, err := channel.Inspect(ctx, queue)
	if err == nil {
		return state{QueueState: s}, nil
	}
	channel = nil // the error has closed it
	switch {
	case errors.Is(err, rabbit.ErrNotFound), errors.Is(err, rabbit.ErrRefused):
		return state{err: err}, nil
	case i.conn.Ready() != nil: // lost meanwhile; the driver's error does not say so
		err = errors.Join(rabbit.ErrNotConnected, err)
	}
	return state{}, err
}
