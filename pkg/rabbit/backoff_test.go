package rabbit

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The wait after n failures in a row is anything below 100 ms, 200 ms, 400 ms, …, and never above the limit.
func TestBackoffSchedule(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limit  time.Duration
		bounds []time.Duration
	}{
		"default": {0, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, time.Second, time.Second}},
		"30 s":    {30 * time.Second, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}},
		"50 ms":   {50 * time.Millisecond, []time.Duration{50 * time.Millisecond, 50 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := NewBackoff(test.limit)
				for failures, bound := range test.bounds {
					least, most := bound, time.Duration(0)
					for range 300 {
						began := time.Now()
						require.NoError(t, b.wait(t.Context(), failures, b.woken()))
						waited := time.Since(began)
						least, most = min(least, waited), max(most, waited)
					}
					require.Less(t, most, bound)
					require.Greater(t, most, bound*9/10, "the whole range is used")
					require.Less(t, least, bound/10, "the whole range is used")
				}
				began := time.Now()
				require.NoError(t, b.wait(t.Context(), 1_000_000, nil))
				require.Less(t, time.Since(began), b.limit)
			})
		})
	}
}

func TestBackoffWakesThoseWhoCouldNotConnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const long = 40 // failures: waits of some hours
		b := NewBackoff(100 * time.Hour)
		ended := make(chan error, 3)
		for range 2 {
			woken := b.woken()
			go func() { ended <- b.wait(t.Context(), long, woken) }()
		}
		lost, cancel := context.WithCancel(t.Context())
		go func() { ended <- b.wait(lost, long, nil) }() // after a connection that was lost as soon as it was made
		before := b.woken()
		synctest.Wait()
		began := time.Now()
		b.wake()
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
		require.NoError(t, b.wait(t.Context(), long, before), "what connects during an attempt is not missed")
		require.Zero(t, time.Since(began))
		require.Empty(t, ended)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)

		go func() { ended <- b.wait(t.Context(), long, b.woken()) }()
		synctest.Wait()
		require.Empty(t, ended, "the next wait is a wait again")
		b.wake()
		require.NoError(t, <-ended)
	})
}

func TestFailuresToConnectAreWarnedOfNowAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewBackoff(0)
		warned := 0
		for range 125 { // a failure a second
			if b.warns() {
				warned++
			}
			time.Sleep(time.Second)
		}
		require.Equal(t, 5, warned)
		require.False(t, b.warns())
		b.wake()
		require.True(t, b.warns(), "it was connected since")
	})
}
