package measure

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/bench/internal/peers"
)

// loop measures for a second something that takes so long, with 16 goroutines.
func loop(t *testing.T, takes time.Duration, err error) (Result, error) {
	r := run{Task: Task{N: 16, Warm: 300 * time.Millisecond, Duration: time.Second, Body: 256}}
	err = r.closedLoop(t.Context(), func(context.Context, *peers.Payload) error {
		time.Sleep(takes)
		return err
	})
	return r.result, err
}

func TestTheWindowWaitsForWhatIsSlow(t *testing.T) {
	t.Parallel()
	for takes, want := range map[time.Duration]struct{ seconds, rate float64 }{
		10 * time.Millisecond:  {1, 1600},
		900 * time.Millisecond: {1.5, 21.3}, // done after 0.9 and 1.8 s, 0.3 of which are the warm-up
		3 * time.Second:        {5.7, 5.6},
		8 * time.Second:        {10, 1.6},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, err := loop(t, takes, nil)
			require.NoError(t, err)
			require.InDelta(t, want.seconds, r.Seconds, 0.01, takes)
			require.InDelta(t, want.rate, r.Rate(), want.rate/50, takes)
			require.InDelta(t, takes.Seconds(), r.P50, takes.Seconds()/100, takes)
		})
	}
}

func TestTheWindowDoesNotWaitForWhatHasFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := loop(t, time.Millisecond, errors.New("refused"))
		require.ErrorContains(t, err, "refused")
		require.Equal(t, 1300*time.Millisecond, time.Since(began))
	})
}
