package leveret

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// outgoing makes the message that carries a payload.
func outgoing[T any](ctx context.Context, c Contract, payload T, options []SendOption) (*Message, error) {
	if err := check(c, &payload); err != nil {
		return nil, err
	}
	body, err := baseOf(c).spec.Codec.encode(&payload)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Spec().Name, err)
	}
	m := NewMessage(ctx, c, body, options...)
	if err := m.CheckHeaders(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Spec().Name, err)
	}
	return m, nil
}

// check returns what is wrong with a contract, or with a payload of it.
func check[T any](c Contract, payload *T) error {
	b := baseOf(c)
	if b.wrong != nil {
		return b.wrong
	}
	if err := validate(payload); err != nil {
		return fmt.Errorf("%s: %w", b.spec.Name, err)
	}
	return nil
}

// NewMessage makes the message that carries an encoded payload, as in [Message].Body, with its ids and the trace of ctx, as the
// verbs of a contract do. It is for tools that have no Go value: not helped by types, and not stopped by Validate.
func NewMessage(ctx context.Context, c Contract, body []byte, options ...SendOption) *Message {
	m := &Message{Contract: c, Body: body, SentAt: time.Now()}
	for _, o := range options {
		if o.apply != nil {
			o.apply(m)
		}
	}
	m.trace(ctx)
	spec := c.Spec()
	parent := handlingFrom(ctx)
	if m.ID == "" {
		m.ID = parent.nextID(spec.Name)
	}
	if parent != nil {
		m.CausationID = parent.message.ID
		m.ConversationID = cmp.Or(m.ConversationID, parent.message.ConversationID)
	}
	m.ConversationID = cmp.Or(m.ConversationID, m.ID)
	if spec.Kind != KindRequest { // whose caller makes it anew for each call
		m.CorrelationID = m.ConversationID
	}
	return m
}

// handlerOf decodes the payload and hands it to h. Of nil it is nil.
func handlerOf[T any](h func(context.Context, T) error) Handler {
	if h == nil {
		return nil
	}
	return func(ctx context.Context, m *Message) error {
		payload, err := decodePayload[T](baseOf(m.Contract), m.Body)
		if err != nil {
			return err
		}
		return h(ctx, payload)
	}
}
