//go:build !linux

package measure

import "time"

// exactly sleeps by Go's timers on systems whose syscall package has no nanosleep.
func exactly(d time.Duration) { time.Sleep(d) }
