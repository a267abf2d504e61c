package measure

import (
	"syscall"
	"time"
)

// exactly has the thread sleep: it wakes more exactly by itself than by Go's timers. A signal may end it early.
func exactly(d time.Duration) {
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil)
}
