package leverettest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Replier is a caller whose requests are answered by functions, for code that takes a leveret.Caller. Give each
// contract its answers with [Answer]; [Sent] returns the requests with their types. The zero value is ready to use. A
// Replier is safe for concurrent use.
type Replier struct {
	// Service, where set, refuses what the service did not declare that it calls, as a client does.
	Service *leveret.Service

	mu       sync.Mutex
	answers  map[leveret.Contract]leveret.Handler
	messages []*leveret.Message
}

// Answer makes f the other side of a contract, in place of what it was before. It is called in the goroutine of the
// caller, with a context that ends at the request's deadline.
//
// A *[leveret.Error] from f reaches the caller as it would over the broker: its code, its reason and its message, without
// what it wraps. Any other error is what the call itself ended in: leveret.ErrUnroutable, for instance, for a service that
// does not run.
func Answer[Q, R any](r *Replier, c *leveret.Request[Q, R], f func(ctx context.Context, request Q) (R, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == nil {
		r.answers = make(map[leveret.Contract]leveret.Handler)
	}
	r.answers[c] = func(ctx context.Context, m *leveret.Message) error {
		request, err := c.Decode(m.Body)
		if err != nil {
			return err
		}
		reply, err := f(ctx, request)
		if err != nil {
			return err
		}
		m.Reply, err = json.Marshal(reply)
		return err
	}
}

// Call implements [leveret.Caller]. A request without an answer is Unimplemented, and the error names it. A context that
// has ended by the time the answer is there ends the call as it does with a client: with Canceled or DeadlineExceeded.
func (r *Replier) Call(ctx context.Context, m *leveret.Message) error {
	if err := declared(r.Service, m.Contract); err != nil {
		return err
	}
	name := m.Contract.Spec().Name
	if err := ended(ctx, name); err != nil {
		return err
	}
	m.Deadline, _ = ctx.Deadline()
	recorded := *m
	r.mu.Lock()
	answer := r.answers[m.Contract]
	r.messages = append(r.messages, &recorded)
	r.mu.Unlock()
	if answer == nil {
		return leveret.Errorf(leveret.Unimplemented,
			"this test has no answer to the request %q; give it one with leverettest.Answer", name)
	}
	err := answer(ctx, m)
	if late := ended(ctx, name); late != nil {
		return late
	}
	if e, ok := errors.AsType[*leveret.Error](err); ok {
		return &leveret.Error{Code: e.Code, Reason: e.Reason, Message: e.Message}
	}
	return err
}

// Messages returns the requests, in order, with ids and deadlines.
func (r *Replier) Messages() []*leveret.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// Reset forgets the requests. The answers stay.
func (r *Replier) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = nil
}

// ended is what a call ends in whose context did.
func ended(ctx context.Context, name string) error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return leveret.Errorf(leveret.Canceled, "%s: the call was cancelled: %w", name, err)
	default:
		return leveret.Errorf(leveret.DeadlineExceeded, "%s: no reply in time: %w", name, err)
	}
}
