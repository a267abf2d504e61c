package leverettest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A StubCaller is a caller whose requests are answered by functions, for code that takes a leveret.Caller. Give each
// contract its answers with [Answer], or all of them those of handlers with [StubCaller.Serve]; [Sent] returns the
// requests with their types. The zero value is ready to use. A StubCaller is safe for concurrent use.
type StubCaller struct {
	// Service, where set, refuses what the service did not declare that it calls, as a client does.
	Service *leveret.Service

	mu       sync.Mutex
	handlers *leveret.Handlers
	answers  map[leveret.Contract]leveret.Handler
	messages []*leveret.Message
}

// Answer makes f the other side of a contract, in place of what it was before. It is called in the goroutine of the
// caller, with a context that ends at the request's deadline.
//
// A *[leveret.Error] from f reaches the caller as it would over the broker: its code, its reason and its message,
// without what it wraps. Any other error is what the call itself ended in: leveret.ErrUnroutable, for instance, for a
// service that does not run.
func Answer[Q, R any](s *StubCaller, c *leveret.Request[Q, R], f func(ctx context.Context, request Q) (R, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = make(map[leveret.Contract]leveret.Handler)
	}
	s.answers[c] = func(ctx context.Context, m *leveret.Message) error {
		request, err := c.Decode(m.Body)
		if err != nil {
			return err
		}
		reply, err := f(ctx, request)
		if err != nil {
			return err
		}
		m.Reply, err = c.Spec().Encode(&reply)
		return err
	}
}

// Serve makes another service's handlers the other side of all requests that [Answer] was not called for: two services
// together, without a broker.
func (s *StubCaller) Serve(h *leveret.Handlers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers = h
}

// served has the handlers answer, on a copy of the message as they would have received it.
func served(h *leveret.Handlers) leveret.Handler {
	return func(ctx context.Context, m *leveret.Message) error {
		received := *m
		o := h.Process(ctx, &received, nil)
		m.Reply = received.Reply
		if o.Err != nil && o.Verdict != 0 {
			return leveret.DecodeProblem(leveret.EncodeProblem(o.Err))
		}
		return o.Err
	}
}

// Call implements [leveret.Caller]. A request without an answer is Unimplemented, and the error names it. A context
// that has ended by the time the answer is there ends the call as it does with a client: with Canceled or
// DeadlineExceeded, and leveret.ErrOutcomeUnknown.
func (s *StubCaller) Call(ctx context.Context, m *leveret.Message) error {
	if err := declared(s.Service, m); err != nil {
		return err
	}
	name := m.Contract.Spec().Name
	if ctx.Err() != nil {
		return ended(ctx, name, leveret.ErrNotConnected)
	}
	m.Deadline, _ = ctx.Deadline()
	var err error
	if m.Body, err = m.Encode(); err != nil {
		return err
	}
	recorded := *m
	s.mu.Lock()
	answer := s.answers[m.Contract]
	if answer == nil && s.handlers != nil {
		answer = served(s.handlers)
	}
	s.messages = append(s.messages, &recorded)
	s.mu.Unlock()
	if answer == nil {
		return leveret.Errorf(leveret.Unimplemented,
			"this test has no answer to the request %q; give it one with leverettest.Answer", name)
	}
	err = answer(ctx, m)
	if ctx.Err() != nil {
		return ended(ctx, name, leveret.ErrUnconfirmed)
	}
	if _, ok := errors.AsType[*leveret.Error](err); ok {
		return leveret.DecodeProblem(leveret.EncodeProblem(err))
	}
	return err
}

// Messages returns the requests, in order, with ids and deadlines.
func (s *StubCaller) Messages() []*leveret.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Reset forgets the requests. The answers stay.
func (s *StubCaller) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = nil
}

// ended returns the error of a call whose context ended, and where that left the request.
func ended(ctx context.Context, name string, where error) error {
	err := ctx.Err()
	if errors.Is(err, context.Canceled) {
		return leveret.Errorf(leveret.Canceled, "%s: the call was cancelled: %w: %w", name, where, err)
	}
	return leveret.Errorf(leveret.DeadlineExceeded, "%s: no reply in time: %w: %w", name, where, err)
}
