package deadletter

import "time"

// SetBudget sets how long letters are held in the first round.
func (s *Store) SetBudget(d time.Duration) { s.budget = d }
