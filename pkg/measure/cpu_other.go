//go:build !unix

package measure

import "time"

// CPU reports that the CPU time of this process is not known on this system.
func CPU() (used time.Duration, ok bool) { return 0, false }
