package leveret

import (
	"context"
	"reflect"

	"github.com/leveretmq/leveret/pkg/topology"
)

// An Event announces to all who subscribe that something has happened. It belongs to the service that publishes it.
type Event[T any] struct{ *contractBase }

// NewEvent declares an event that carries a T. The name's first segment is the service that publishes it.
// NewEvent never fails: a wrong name or option is reported by [NewCatalog], and when the event is used.
func NewEvent[T any](name string, options ...ContractOption) *Event[T] {
	return &Event[T]{newSpec(KindEvent, name, reflect.TypeFor[T](), nil, options)}
}

// Publish validates and encodes the payload and hands it to s. With a [Client] it returns nil once the broker has
// confirmed it: every queue that is bound holds it. An event that nobody listens to is confirmed too.
func (e *Event[T]) Publish(ctx context.Context, s Sender, payload T, options ...SendOption) error {
	m, err := e.Message(ctx, payload, options...)
	if err != nil {
		return err
	}
	return s.Send(ctx, m)
}

// Message validates and encodes the payload and returns the message that Publish would hand over, for a [Pipeline].
func (e *Event[T]) Message(ctx context.Context, payload T, options ...SendOption) (*Message, error) {
	return outgoing(ctx, e, payload, options)
}

// Decode decodes and validates the payload of a message, as a worker does before it calls the handler. Its errors are
// [InvalidArgument], or what Validate returned where that has a code.
func (e *Event[T]) Decode(body []byte) (T, error) { return decodePayload[T](e.base(), body) }

// Subscribe makes f the handler of the event in h. Every subscribing service has its own queue, which its processes
// share. The error that f returns is the verdict on the message. Mistakes are reported by [Handlers.Err].
func (e *Event[T]) Subscribe(h *Handlers, f func(ctx context.Context, payload T) error, options ...SubscribeOption) {
	var s subscription
	for _, o := range options {
		o(&s)
	}
	h.register(e, s, handlerOf(f))
}

// A SubscribeOption changes one subscription: [As], [PerProcess] and [OnFresh] make them.
type SubscribeOption func(*subscription)

type subscription struct {
	name  string
	fresh Handler // of no message; nil for none
}

// As names a subscription, so that one service can have several to one event, each with its own queue. The service
// declares it with [SubscribesAs].
func As(name string) SubscribeOption { return func(s *subscription) { s.name = name } }

// PerProcess makes f a handler that every process of the service calls with every event: for changes of configuration, and
// for caches. The service declares it with [SubscribesPerProcess], which says what that means.
func PerProcess() SubscribeOption { return As(topology.PerProcess) }

// OnFresh has a subscription call reload each time the queue of this process is a new one, since events may have been
// published while it had none: at the start, and after each lost connection. It can also be called while the queue is still
// the same, as after a pause. The queue is bound by then, and none of its messages is handled before reload has returned nil,
// so that what reload reads is no older than they are. Until then the worker is not ready. After an error it is logged and
// called again. It must return when its context ends. It is not called when somebody deletes the exchange or the binding,
// which is made again within half a minute. It is for queues that belong to one process: [PerProcess], or an [Address] with an
// exclusive queue.
func OnFresh(reload func(ctx context.Context) error) SubscribeOption {
	return func(s *subscription) {
		s.fresh = recovered(func(ctx context.Context, _ *Message) error { return reload(ctx) })
	}
}
