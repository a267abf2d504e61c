//go:build !unix

package measure

// maxRSS returns 0: the peak memory of this process is not known on this system.
func maxRSS() int64 { return 0 }
