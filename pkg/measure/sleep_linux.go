package measure

import (
	"syscall"
	"time"
)

// exactly puts the thread to sleep, which is more precise than Go's timers. A signal may end the sleep early.
func exactly(d time.Duration) {
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil)
}
