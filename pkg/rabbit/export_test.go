package rabbit

import "time"

// NewSlowBackoff makes a backoff whose first wait may already take as long as its limit.
func NewSlowBackoff(limit time.Duration) *Backoff {
	b := NewBackoff(limit)
	b.first = limit
	return b
}
