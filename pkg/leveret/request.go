package leveret

import (
	"context"
	"fmt"
	"reflect"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A Request asks a service a question and waits for the reply.
type Request[Q, R any] struct{ *contractBase }

// NewRequest declares a request that carries a Q and is answered with an R. The name's first segment is the service
// that answers. NewRequest never fails: a wrong name or option is reported by [NewCatalog], and when the request is
// used.
func NewRequest[Q, R any](name string, options ...ContractOption) *Request[Q, R] {
	return &Request[Q, R]{newSpec(KindRequest, name, reflect.TypeFor[Q](), reflect.TypeFor[R](), options)}
}

// Call sends the request and blocks until the reply, an error from the other side (an [*Error] with its code), or the
// end of ctx or of the request's timeout, whichever is sooner. The deadline travels with the request: one that has
// expired is never handled. When ctx is cancelled, so is the context of the handler on the other side, if it runs
// already. A request that no service serves is [ErrUnroutable].
func (r *Request[Q, R]) Call(ctx context.Context, c Caller, request Q, options ...SendOption) (R, error) {
	var reply R
	if err := check(r, &request); err != nil {
		return reply, err
	}
	m := NewMessage(ctx, r, nil, options...)
	m.payload = &request
	if err := m.CheckHeaders(); err != nil {
		return reply, fmt.Errorf("%s: %w", r.spec.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.spec.Timeout)
	defer cancel()
	if err := c.Call(ctx, m); err != nil {
		return reply, err
	}
	return r.reply(m)
}

// reply returns the reply in m.
func (r *Request[Q, R]) reply(m *Message) (R, error) {
	reply, err := valueOf[R](r.base(), m.Reply, m.reply)
	if err != nil {
		err = Errorf(Internal, "%w: the reply to %s is not a %T: %v", ErrOutcomeUnknown, r.spec.Name, *reply, err)
	}
	return *reply, err
}

// Process does what [Handlers.Process] does, for a transport that has the request as a Go value and sends the reply as
// one. It sets m.Contract; m.Body and m.Reply stay nil unless middleware sets them. The handler gets request itself, not
// a copy. An error is the handler's, or why no handler was called.
func (r *Request[Q, R]) Process(ctx context.Context, h *Handlers, m *Message, request Q) (reply R, err error) {
	m.Contract, m.payload = r, &request
	if err := h.Process(ctx, m, nil).Err; err != nil {
		return reply, err
	}
	return r.reply(m)
}

// Payload returns the request in a message that a [Caller] was given, for one that sends it as a Go value. It must not
// be changed.
func (r *Request[Q, R]) Payload(m *Message) (*Q, error) {
	return valueOf[Q](r.base(), m.Body, m.payload)
}

// SetReply sets the reply in a message that a [Caller] was given, for one that receives it as a Go value.
func (r *Request[Q, R]) SetReply(m *Message, reply R) { m.Reply, m.reply = nil, &reply }

// Decode decodes and validates the payload of a message, as a worker does before it calls the handler. Its errors are
// [InvalidArgument], or what Validate returned where that has a code.
func (r *Request[Q, R]) Decode(body []byte) (Q, error) { return decodePayload[Q](r.base(), body) }

// Answer makes f answer the request in h. What f returns goes to the caller: the reply, or the error with its code.
// Mistakes are reported by [Handlers.Err].
func (r *Request[Q, R]) Answer(h *Handlers, f func(ctx context.Context, request Q) (R, error)) {
	if f == nil {
		h.register(r, subscription{}, nil)
		return
	}
	h.register(r, subscription{}, func(ctx context.Context, m *Message) error {
		request, err := payloadOf[Q](r.base(), m.Body, m.payload)
		if err != nil {
			return err
		}
		reply, err := f(ctx, *request)
		if err != nil {
			return err
		}
		if m.Body == nil && m.payload != nil {
			r.SetReply(m, reply)
			_, err = r.reply(m)
			return err
		}
		if m.Reply, err = r.spec.Codec.encode(&reply); err != nil {
			return Errorf(Internal, "%w: the reply to %s cannot be sent: %w", ErrOutcomeUnknown, r.spec.Name, err)
		}
		if n := len(m.Reply); n > rabbit.DefaultMaxBody {
			return Errorf(ResourceExhausted, "%w: the reply has %d bytes; the limit is %d", ErrOutcomeUnknown, n, rabbit.DefaultMaxBody)
		}
		return nil
	})
}

// Message validates and encodes the request and returns the message that Call would hand to a [Caller].
func (r *Request[Q, R]) Message(ctx context.Context, request Q, options ...SendOption) (*Message, error) {
	return outgoing(ctx, r, request, options)
}
