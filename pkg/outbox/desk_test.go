package outbox

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A message that is ready gets its body, though many that are ready behind it have theirs: they were behind others in their
// keys when those got theirs.
func TestTheFirstIsFilled(t *testing.T) {
	t.Parallel()
	d := newDesk(&relay{o: &Outbox{config: Config{Concurrency: 4}}}, nil, nil)
	l := d.lane(&row{contract: "a"})
	for number := range 20 {
		l.ready = append(l.ready, &row{number: int64(number), contract: "a", filled: number >= 2})
	}
	require.Equal(t, l.ready[:2], d.unfilled(time.Now()))
	l.ready = l.ready[2:]
	require.Empty(t, d.unfilled(time.Now()))
	l.ready[3].filled = false
	require.Empty(t, d.unfilled(time.Now()), "there is enough before it")
	l.ready[2].filled = false
	require.Equal(t, l.ready[2:4], d.unfilled(time.Now()))
}
