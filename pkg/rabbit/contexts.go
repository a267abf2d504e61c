package rabbit

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// either returns a context that ends with ctx, or with other, and has the cause of the one that ended. The function
// that it returns must be called.
func either(ctx, other context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	end := func() { cancel(context.Cause(other)) }
	stop := context.AfterFunc(other, end)
	if other.Err() != nil {
		end() // before anybody uses it
	}
	return ctx, func() { stop(); cancel(nil) }
}

// ending returns a context that ends with a channel, which is used for a queue. Its cause is an [ErrNotConnected].
func ending(ch *Channel, queue string) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	go func() {
		lost := fmt.Errorf("the queue %s: %w", queue, ErrNotConnected)
		if reason := <-closed; reason != nil {
			lost = fmt.Errorf("%w: %w", lost, reason)
		}
		cancel(lost)
	}()
	return ctx
}
