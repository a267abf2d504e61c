package leveret

import (
	"strings"
	"time"
)

const (
	// clockSkew is how far the clocks of two machines may be apart before a deadline is believed to have passed.
	clockSkew = 2 * time.Second
	// maxErrorMessage and maxStack bound what a dead letter says about its failure, in bytes.
	maxErrorMessage = 2 << 10
	maxStack        = 8 << 10
)

// cut shortens s to n bytes without cutting a character.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
