package leveret

import (
	"context"
	"reflect"
)

// A Command asks the one service that owns it to do something. The sender does not wait for it to be done.
type Command[T any] struct{ *contractBase }

// NewCommand declares a command that carries a T. The name's first segment is the service that handles it.
// NewCommand never fails: a wrong name or option is reported by [NewCatalog], and when the command is used.
func NewCommand[T any](name string, options ...ContractOption) *Command[T] {
	return &Command[T]{newSpec(KindCommand, name, reflect.TypeFor[T](), nil, options)}
}

// Send validates and encodes the payload and hands it to s. With a [Client] it returns nil once the broker has taken
// responsibility for the message and a queue holds it; while ctx lives, it waits through lost connections.
func (c *Command[T]) Send(ctx context.Context, s Sender, payload T, options ...SendOption) error {
	m, err := c.Message(ctx, payload, options...)
	if err != nil {
		return err
	}
	return s.Send(ctx, m)
}

// Message validates and encodes the payload and returns the message that Send would hand over, for a [Pipeline].
func (c *Command[T]) Message(ctx context.Context, payload T, options ...SendOption) (*Message, error) {
	return outgoing(ctx, c, payload, options)
}

// Decode decodes and validates the payload of a message, as a worker does before it calls the handler. Its errors are
// [InvalidArgument], or what Validate returned where that has a code.
func (c *Command[T]) Decode(body []byte) (T, error) { return decodePayload[T](c.base(), body) }

// Handle makes f the handler of the command in h. The error that f returns is the verdict on the message. Mistakes,
// such as a second handler for one command, are reported by [Handlers.Err].
func (c *Command[T]) Handle(h *Handlers, f func(ctx context.Context, payload T) error) {
	h.register(c, subscription{}, handlerOf(f))
}
