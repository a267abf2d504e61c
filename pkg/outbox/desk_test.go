package outbox

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A message that is ready gets its body, though many that are ready behind it have theirs: they were behind others in their
// keys when those got theirs.
func TestTheFirstIsFilled(t *testing.T) {
	t.Parallel()
	l := newLane("a")
	for number := range 20 {
		l.ready = append(l.ready, &row{number: int64(number), contract: "a", filled: number >= 2})
	}
	unfilled := func() []*row { return slices.Collect(l.unfilled(4, time.Now())) }
	require.Equal(t, l.ready[:2], unfilled())
	l.ready = l.ready[2:]
	require.Empty(t, unfilled())
	l.ready[3].filled = false
	require.Empty(t, unfilled(), "there is enough before it")
	l.ready[2].filled = false
	require.Equal(t, l.ready[2:4], unfilled())
}
