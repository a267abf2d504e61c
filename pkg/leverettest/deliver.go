package leverettest

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// Delivered is what became of a message.
type Delivered struct {
	// Outcome holds the verdict, the error behind it, and how long a message to be tried again would wait. Without a
	// verdict the message reached no handler because the test is wrong; Err says how.
	leveret.Outcome
	// Message is what the handler found with leveret.MessageFrom: its id, its attempt, its queue.
	Message *leveret.Message

	handlers *leveret.Handlers
}

// Answered is what became of a request.
type Answered[R any] struct {
	Delivered
	// Reply is the answer, as the caller decodes it. It is there if and only if Err is nil.
	Reply R
}

// Deliver hands a payload to the handler that h has for a command or an event, as a transport does with what it brings,
// and returns when the handler has. The payload is not validated first: that is up to the handler's side.
func Deliver[T any](ctx context.Context, h *leveret.Handlers, c Contract[T], payload T, options ...Option) Delivered {
	d := Delivered{handlers: h}
	body, err := c.Spec().Encode(&payload)
	if err != nil {
		d.Err = fmt.Errorf("leverettest: the payload of %s cannot be encoded: %w", c.Spec().Name, err)
		return d
	}
	var send []leveret.SendOption
	for _, o := range options {
		send = append(send, o.send...)
	}
	d.Message = leveret.NewMessage(ctx, c, body, send...)
	for _, o := range options {
		if o.change != nil {
			o.change(d.Message)
		}
	}
	return d.process(ctx)
}

// Call is [Deliver] for a request, and returns its reply. An error is the handler's own; on its way to a caller it
// would lose what it wraps, and keep its code, its reason and its message.
func Call[Q, R any](ctx context.Context, h *leveret.Handlers, c *leveret.Request[Q, R], request Q, options ...Option) Answered[R] {
	return answered[R](Deliver(ctx, h, c, request, options...))
}

// Again hands the same message to the handler once more: after [leveret.VerdictRetry] as the next attempt, and else as
// a redelivery, which is what comes after an ack that was lost with its connection.
func (d Delivered) Again(ctx context.Context) Delivered {
	if d.Message == nil {
		return d
	}
	m := *d.Message
	m.Headers, m.Reply = maps.Clone(m.Headers), nil
	if d.Verdict == leveret.VerdictRetry {
		m.Attempt++
		m.Redelivered = false
	} else {
		m.Redelivered = true
	}
	d.Message = &m
	return d.process(ctx)
}

// Again is the same for a request: see [Delivered.Again].
func (a Answered[R]) Again(ctx context.Context) Answered[R] {
	return answered[R](a.Delivered.Again(ctx))
}

func (d Delivered) process(ctx context.Context) Delivered {
	m := d.Message
	if d.Err = d.address(); d.Err != nil {
		return d
	}
	if spec := m.Contract.Spec(); spec.Kind == leveret.KindRequest && m.Deadline.IsZero() {
		m.Deadline = time.Now().Add(spec.Timeout)
		if sooner, ok := ctx.Deadline(); ok && sooner.Before(m.Deadline) {
			m.Deadline = sooner
		}
	}
	d.Outcome = d.handlers.Process(ctx, m, nil)
	return d
}

// address finds the queue from which a worker would have taken the message.
func (d Delivered) address() error {
	m := d.Message
	if d.handlers == nil {
		return nil
	}
	service := d.handlers.Service()
	for _, q := range service.WorkQueues(topology.Names{}) {
		if q.Contract == m.Contract && q.Subscription == m.Subscription {
			m.Queue = q.Name
			return nil
		}
	}
	if m.Subscription != "" {
		return fmt.Errorf("leverettest: the service %q has no subscription to %s as %q",
			service.Name(), m.Contract.Spec().Name, m.Subscription)
	}
	return nil
}

func answered[R any](d Delivered) Answered[R] {
	a := Answered[R]{Delivered: d}
	if d.Err != nil || d.Verdict != leveret.VerdictAck {
		return a
	}
	if err := d.Message.Contract.Spec().Decode(d.Message.Reply, &a.Reply); err != nil {
		a.Err = leveret.Errorf(leveret.Internal, "the reply to %s is not a %T: %w", d.Message.Contract.Spec().Name, a.Reply, err)
	}
	return a
}

// An Option changes the message that [Deliver] and [Call] deliver.
type Option struct {
	send   []leveret.SendOption
	change func(*leveret.Message)
}

// With sends the message with options such as leveret.MessageID and leveret.Header.
func With(options ...leveret.SendOption) Option { return Option{send: options} }

// Change changes the message in any other way.
func Change(change func(*leveret.Message)) Option { return Option{change: change} }

// Attempt says which attempt of the retry policy the delivery is. Default 1, the first.
func Attempt(n int) Option {
	return Change(func(m *leveret.Message) { m.Attempt = n })
}

// Redelivered says that the broker has delivered the message before, to a worker that is gone.
func Redelivered() Option {
	return Change(func(m *leveret.Message) { m.Redelivered = true })
}

// Body replaces the payload by the bytes that a foreign or broken sender might send, of whatever encoding.
func Body(body string) Option {
	return Change(func(m *leveret.Message) { m.Body = []byte(body) })
}

// Subscription delivers an event to the handler that was registered with leveret.As(name), instead of the plain one.
func Subscription(name string) Option {
	return Change(func(m *leveret.Message) { m.Subscription = name })
}

// PerProcess delivers an event to the handler that was registered with leveret.PerProcess(), instead of the plain one.
func PerProcess() Option { return Subscription(topology.PerProcess) }
