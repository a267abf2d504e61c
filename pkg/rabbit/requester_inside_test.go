package rabbit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A request may wait in its queue for most of its caller's time, and leaves some for the handling.
func TestExpiration(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]string{
		-1: "1", time.Microsecond: "1", 100 * time.Millisecond: "75", 10 * time.Second: "7500", time.Minute: "55000",
	} {
		require.Equal(t, want, expiration(left))
	}
}
