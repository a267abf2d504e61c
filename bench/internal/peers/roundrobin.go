package peers

import "sync/atomic"

// roundRobin returns a function that counts through n, for several goroutines at once.
func roundRobin(n int) func() int {
	if n == 1 {
		return func() int { return 0 }
	}
	var next atomic.Uint64
	return func() int { return int(next.Add(1) % uint64(n)) }
}
