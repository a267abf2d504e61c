package shoptest

import (
	"context"
	"sync"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Sent is a message that was sent.
type Sent struct {
	Contract, ID, Body string
}

// A Recorder is a sender that remembers, and that can fail as a broker does. It is safe for concurrent use.
type Recorder struct {
	mu   sync.Mutex
	sent []Sent
	n    int

	// FailAt is the number of the send, from one, that fails; none where it is zero. With Lost, the message does get
	// through, and only the confirm is lost.
	FailAt int
	Lost   bool
}

// Send implements leveret.Sender.
func (r *Recorder) Send(_ context.Context, m *leveret.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	if r.n == r.FailAt && !r.Lost {
		return leveret.ErrNotConnected
	}
	r.sent = append(r.sent, Sent{m.Contract.Spec().Name, m.ID, string(m.Body)})
	if r.n == r.FailAt {
		return leveret.ErrUnconfirmed
	}
	return nil
}

// Sent returns what got through, in order.
func (r *Recorder) Sent() []Sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Sent(nil), r.sent...)
}

// Names returns the contracts of what got through, in order.
func (r *Recorder) Names() []string {
	names := []string{}
	for _, s := range r.Sent() {
		names = append(names, s.Contract)
	}
	return names
}

// Reset forgets what got through, and fails no more.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent, r.n, r.FailAt = nil, 0, 0
}
