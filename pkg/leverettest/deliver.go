package leverettest

import (
	"context"
	"encoding/json"
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

	worker *leveret.Worker
}

// Answered is what became of a request.
type Answered[R any] struct {
	Delivered
	// Reply is the answer, as the caller decodes it. It is there if and only if Err is nil.
	Reply R
}

// Deliver hands a payload to the handler that w has for a command or an event, as a running worker does with what comes
// from the queue, and returns when the handler has. w needs no connection:
//
//	w, err := leveret.NewWorker(nil, service, leveret.WorkerConfig{})
//
// The payload is not validated before: what Validate says to it, the handler's side finds out. The options are those of
// sending, leveret.MessageID and leveret.Header among them, and those of this package: [Attempt], [Redelivered], [Body],
// [Subscription]. Any other function of the message does too.
func Deliver[T any](ctx context.Context, w *leveret.Worker, c Contract[T], payload T, options ...leveret.SendOption) Delivered {
	d := Delivered{worker: w}
	body, err := json.Marshal(payload)
	if err != nil {
		d.Err = fmt.Errorf("leverettest: the payload of %s cannot be encoded: %w", c.Spec().Name, err)
		return d
	}
	d.Message = leveret.NewMessage(ctx, c, body, options...)
	return d.process(ctx)
}

// Call is [Deliver] for a request, and returns its reply. An error is the handler's own; on its way to a caller it would
// lose what it wraps, and keep its code, its reason and its message.
func Call[Q, R any](ctx context.Context, w *leveret.Worker, c *leveret.Request[Q, R], request Q, options ...leveret.SendOption) Answered[R] {
	return answered[R](Deliver(ctx, w, c, request, options...))
}

// Again hands the same message to the handler once more: after [leveret.VerdictRetry] as the next attempt, and else as a
// redelivery, which is what comes after an ack that was lost with its connection.
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
	d.Outcome = d.worker.Process(ctx, m)
	return d
}

// address turns the name of a subscription, which [Subscription] has put there, into that of its queue.
func (d Delivered) address() error {
	m, name := d.Message, d.Message.Queue
	for _, q := range d.worker.Service().WorkQueues(topology.Names{}) {
		if q.Contract == m.Contract && (q.Subscription == name || q.Name == name) {
			m.Queue = q.Name
			return nil
		}
	}
	if name != "" {
		return fmt.Errorf("leverettest: the service %q has no subscription to %s as %q",
			d.worker.Service().Name(), m.Contract.Spec().Name, name)
	}
	return nil
}

func answered[R any](d Delivered) Answered[R] {
	a := Answered[R]{Delivered: d}
	if d.Err != nil || d.Verdict != leveret.VerdictAck {
		return a
	}
	if err := json.Unmarshal(d.Message.Reply, &a.Reply); err != nil {
		a.Err = leveret.Errorf(leveret.Internal, "the reply to %s is not a %T: %w", d.Message.Contract.Spec().Name, a.Reply, err)
	}
	return a
}

// Attempt says which attempt of the retry policy the delivery is. Default 1, the first.
func Attempt(n int) leveret.SendOption {
	return func(m *leveret.Message) { m.Attempt = n }
}

// Redelivered says that the broker has delivered the message before, to a worker that is gone.
func Redelivered() leveret.SendOption {
	return func(m *leveret.Message) { m.Redelivered = true }
}

// Body replaces the payload by the bytes that a foreign or broken sender might send.
func Body(body string) leveret.SendOption {
	return func(m *leveret.Message) { m.Body = []byte(body) }
}

// Subscription delivers an event to the handler that was registered with leveret.As(name), instead of the plain one.
func Subscription(name string) leveret.SendOption {
	return func(m *leveret.Message) { m.Queue = name }
}
