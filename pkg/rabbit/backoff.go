package rabbit

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// warnEvery is the least time between two warnings that no address can be connected to.
const warnEvery = 30 * time.Second

// A Backoff spaces attempts to connect. Connections that lead to the same broker share one: as soon as one of them has
// connected, the others try at once. It is safe for concurrent use.
type Backoff struct {
	first, limit time.Duration // the bound after one failure, which each further one doubles, and the highest
	last         atomic.Value  // the address that was connected to last, a string; nil before the first time

	mu        sync.Mutex
	connected chan struct{} // closed and replaced when a connection has been made
	warned    time.Time
}

// NewBackoff makes a backoff whose waits are shorter than limit; 0 stands for 1 s.
func NewBackoff(limit time.Duration) *Backoff {
	return &Backoff{first: 100 * time.Millisecond, limit: cmp.Or(limit, time.Second), connected: make(chan struct{})}
}

// wait waits for a random time below the bound for a number of failures in a row, or until ctx ends or wake is closed.
// With full jitter, processes that lost the same broker do not come back all at once.
func (b *Backoff) wait(ctx context.Context, failures int, wake <-chan struct{}) error {
	select {
	case <-time.After(rand.N(min(b.first<<min(failures, 20), b.limit))):
	case <-wake:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// woken returns a channel that is closed when a connection is made after this call.
func (b *Backoff) woken() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.connected
}

// wake ends the waits of connections that could not be made yet: the broker answers.
func (b *Backoff) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.connected)
	b.connected = make(chan struct{})
	b.warned = time.Time{}
}

// warns reports whether a failure is to be warned of: the first since a connection was made, and then one now and
// again.
func (b *Backoff) warns() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.warned) < warnEvery {
		return false
	}
	b.warned = time.Now()
	return true
}
