//go:build unix

package measure

import (
	"syscall"
	"time"
)

// CPU returns the CPU time that this process has used, user and system, in microseconds.
func CPU() (used time.Duration, ok bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
