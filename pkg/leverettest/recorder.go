package leverettest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Recorder is a sender that remembers what was sent, for code that takes a leveret.Sender. [Sent] returns it with its
// types. The zero value is ready to use. A Recorder is safe for concurrent use.
type Recorder struct {
	// Service, where set, refuses what the service did not declare that it sends or publishes, as a client does.
	Service *leveret.Service

	mu       sync.Mutex
	messages []*leveret.Message
	failures []failure
}

// failure is a send to come that fails.
type failure struct {
	in   int // sends from now; 1 is the next
	err  error
	lost bool // only the confirm was lost
}

// Send implements [leveret.Sender].
func (r *Recorder) Send(ctx context.Context, m *leveret.Message) error {
	if err := declared(r.Service, m); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return coded{fmt.Errorf("%s %s: %w: %w", m.Contract.Spec().Name, m.ID, leveret.ErrNotConnected, err)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.next()
	if f.err == nil || f.lost {
		recorded := *m
		r.messages = append(r.messages, &recorded)
	}
	if f.err != nil {
		return coded{fmt.Errorf("%s %s: %w", m.Contract.Spec().Name, m.ID, f.err)}
	}
	return nil
}

// next counts a send, and returns the failure that is meant for it.
func (r *Recorder) next() failure {
	var due failure
	for i := range r.failures {
		r.failures[i].in--
		if r.failures[i].in == 0 {
			due = r.failures[i]
		}
	}
	r.failures = slices.DeleteFunc(r.failures, func(f failure) bool { return f.in <= 0 })
	return due
}

// FailBefore makes the n-th send from now fail (1 is the next one) before the message got through, as
// [leveret.ErrNotConnected], [leveret.ErrNacked] or [leveret.ErrUnroutable] do. It is not recorded.
func (r *Recorder) FailBefore(n int, err error) { r.fail(failure{in: n, err: err}) }

// FailAfter makes the n-th send from now fail (1 is the next one) though the message got through, as
// [leveret.ErrUnconfirmed] may. It is recorded.
func (r *Recorder) FailAfter(n int, err error) { r.fail(failure{in: n, err: err, lost: true}) }

func (r *Recorder) fail(f failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, f)
}

// Messages returns what got through, in order, with ids and headers.
func (r *Recorder) Messages() []*leveret.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// Reset forgets what got through, and the failures to come.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages, r.failures = nil, nil
}

// declared returns the error of a client whose service did not declare that it sends the contract, or of one that is
// given a header that is not its to set.
func declared(s *leveret.Service, m *leveret.Message) error {
	if err := m.CheckHeaders(); err != nil {
		return err
	}
	c := m.Contract
	role := c.Spec().Kind.SenderRole()
	if s == nil || slices.Contains(s.Contracts(role), c) {
		return nil
	}
	return s.Undeclared(c, role)
}

// coded lets errors.Is find an error by its code, as in those of a client.
type coded struct{ error }

func (c coded) Unwrap() error { return c.error }

func (c coded) Is(target error) bool {
	code, ok := target.(leveret.Code)
	return ok && code == leveret.CodeOf(c.error)
}
