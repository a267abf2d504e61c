//go:build !linux

package measure

import "time"

// exactly sleeps as exactly as Go does where its syscall package has no nanosleep.
func exactly(d time.Duration) { time.Sleep(d) }
