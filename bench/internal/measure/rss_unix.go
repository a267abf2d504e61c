//go:build unix

package measure

import "syscall"

// maxRSS returns the peak memory that getrusage reports: kilobytes on Linux, bytes on macOS.
func maxRSS() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return int64(u.Maxrss)
}
