// Package wayback publishes messages to one queue, past the exchange that they were sent to.
package wayback

import (
	"context"
	"errors"
	"fmt"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A Way leads to queues through the default exchange, or, for a user who may not write there, through another one that
// every queue is bound to under its name. It is not safe for concurrent use.
type Way struct {
	publisher *rabbit.Publisher
	asked     *rabbit.Conn
	otherwise string

	exchange string
	known    bool            // the exchange takes messages
	there    map[string]bool // queues that were there, where the exchange does not report those that are not
}

// New makes a way. Over the connection it asks whether a queue exists.
func New(publisher *rabbit.Publisher, asked *rabbit.Conn, otherwise string) *Way {
	return &Way{publisher: publisher, asked: asked, otherwise: otherwise}
}

// Known reports whether a message has been taken. Until then each is published with [Way.Publish]: a refusal closes the
// channel, which would leave others on it in doubt.
func (w *Way) Known() bool { return w.known }

// To returns a message as it is published to a queue.
func (w *Way) To(queue string, message rabbit.Publishing) *rabbit.Publication {
	return &rabbit.Publication{Exchange: w.exchange, RoutingKey: queue, Mandatory: true, Publishing: message}
}

// Publish publishes what To returned, and waits for its confirm. The first call finds the exchange to which this user may
// publish.
func (w *Way) Publish(ctx context.Context, m *rabbit.Publication) error {
	if err := w.Reachable(ctx, m.RoutingKey); err != nil {
		return err
	}
	err := w.publisher.Publish(ctx, m)
	if errors.Is(err, rabbit.ErrRefused) && !w.known && w.exchange == "" {
		w.exchange, w.there = w.otherwise, map[string]bool{}
		m.Exchange = w.exchange
		if gone := w.Reachable(ctx, m.RoutingKey); gone != nil {
			return gone
		}
		if again := w.publisher.Publish(ctx, m); again != nil {
			return fmt.Errorf("%w; %w", err, again)
		}
		err = nil
	}
	w.known = w.known || err == nil
	return err
}

// Reachable fails where the queue is gone, and the exchange would not report it; and where that could not be asked. Where
// this user may not ask, the queue counts as there.
func (w *Way) Reachable(ctx context.Context, queue string) error {
	if w.there == nil || w.there[queue] {
		return nil
	}
	switch _, err := w.asked.Inspect(ctx, queue); {
	case errors.Is(err, rabbit.ErrNotFound):
		return fmt.Errorf("%w: %w", rabbit.ErrUnroutable, err)
	case err != nil && !errors.Is(err, rabbit.ErrRefused):
		return fmt.Errorf("ask for the queue: %w", err)
	}
	w.there[queue] = true
	return nil
}
