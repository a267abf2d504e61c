package leveret

import (
	"context"
	"reflect"
)

// A Command asks the one service that owns it to do something. Who sends it does not wait until it is done.
type Command[T any] struct{ *contractBase }

// NewCommand declares a command that carries a T. The name's first segment is the service that handles it.
// NewCommand never fails: a wrong name or option is reported by [NewCatalog], and by whoever uses the command.
func NewCommand[T any](name string, options ...Option) *Command[T] {
	return &Command[T]{newSpec(KindCommand, name, reflect.TypeFor[T](), nil, options)}
}

// Send validates and encodes the payload and hands it to s. With a [Client] it returns nil once the broker has taken
// responsibility for the message and a queue holds it; while ctx lives, it waits through lost connections.
func (c *Command[T]) Send(ctx context.Context, s Sender, payload T, options ...SendOption) error {
	return send(ctx, s, c, c.contractBase, payload, options)
}

// Decode decodes and validates the payload of a message, as a worker does before it calls the handler. Its errors are
// [InvalidArgument], or what Validate returned where that has a code.
func (c *Command[T]) Decode(body []byte) (T, error) { return decoded[T](body) }

// Handle makes h the handler of the command in w. The error that h returns is the verdict on the message. Call it
// before w.Run, once for a command; mistakes are reported by Run.
func (c *Command[T]) Handle(w *Worker, h func(ctx context.Context, payload T) error) {
	w.register(c, c.contractBase, "", handlerOf(h))
}
