package measure_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/measure"
)

// fixed measures for a second, after 0.3 s, something that takes so long, with 16 in flight.
func fixed(t *testing.T, takes time.Duration, err error) (measure.Window, error) {
	loop := measure.ClosedLoop{InFlight: 16, Warm: 300 * time.Millisecond, For: time.Second}
	return loop.Run(t.Context(), func(context.Context, int64) error {
		time.Sleep(takes)
		return err
	})
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
			w, err := fixed(t, takes, nil)
			require.NoError(t, err)
			require.InDelta(t, want.seconds, w.Length.Seconds(), 0.01, takes)
			require.InDelta(t, want.rate, float64(w.Operations)/w.Length.Seconds(), want.rate/50, takes)
			require.InDelta(t, takes.Seconds(), w.Times.Quantile(0.5).Seconds(), takes.Seconds()/100, takes)
		})
	}
}

func TestTheWindowDoesNotWaitForWhatHasFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := fixed(t, time.Millisecond, errors.New("refused"))
		require.ErrorContains(t, err, "refused")
		require.Equal(t, 1300*time.Millisecond, time.Since(began))
	})
}

func TestAClosedLoopEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, after := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			loop := measure.ClosedLoop{InFlight: 2, Warm: 300 * time.Millisecond, For: time.Second}
			_, err := loop.Run(ctx, func(_ context.Context, _ int64) error {
				time.Sleep(900 * time.Millisecond)
				return nil
			})
			require.ErrorIs(t, err, context.DeadlineExceeded, after)
			cancel()
		}
	})
}

func TestTheWindowIsBetweenBeginAndEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var began, ended time.Time
		loop := measure.ClosedLoop{
			InFlight: 1, Warm: time.Second, For: time.Second,
			Begin: func() error { began = time.Now(); return nil },
			End: func(n int64) error {
				ended = time.Now()
				require.EqualValues(t, 100, n)
				return errors.New("the meter is broken")
			},
		}
		w, err := loop.Run(t.Context(), func(context.Context, int64) error {
			time.Sleep(10*time.Millisecond - time.Microsecond)
			return nil
		})
		require.ErrorContains(t, err, "the meter is broken")
		require.Equal(t, w.Began, began)
		require.Equal(t, w.Length, ended.Sub(began))
	})
	_, err := measure.ClosedLoop{}.Run(t.Context(), nil)
	require.ErrorContains(t, err, "0 operations in flight")
}

func TestAnOpenLoopDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var running, most atomic.Int64
		loop := measure.OpenLoop{Rate: 100, Operations: 200, First: 5 * time.Millisecond, Sleep: time.Sleep}
		require.NoError(t, loop.Run(t.Context(), func(n int, due time.Time) {
			most.Store(max(most.Load(), running.Add(1)))
			require.Equal(t, 5*time.Millisecond+time.Duration(n)*10*time.Millisecond, due.Sub(began))
			require.Equal(t, due, time.Now())
			time.Sleep(time.Second - time.Millisecond)
			running.Add(-1)
		}))
		require.EqualValues(t, 100, most.Load())
		require.Equal(t, 5*time.Millisecond+1990*time.Millisecond+999*time.Millisecond, time.Since(began))
	})
}

func TestWhatBeginsLateWasDueBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var late measure.Histogram
		loop := measure.OpenLoop{Rate: 100, Operations: 3, MaxInFlight: 1, Sleep: time.Sleep}
		require.NoError(t, loop.Run(t.Context(), func(_ int, due time.Time) {
			time.Sleep(time.Second)
			late.Record(time.Since(due))
		}))
		require.InEpsilon(t, 2980*time.Millisecond, late.Max(), 0.002) // due after 20 ms, done after 3 s
	})
}

func TestAnOpenLoopEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 95*time.Millisecond)
		defer cancel()
		var begun, ended atomic.Int64
		require.NoError(t, measure.OpenLoop{Rate: 100, Sleep: time.Sleep}.Run(ctx, func(int, time.Time) {
			begun.Add(1)
			time.Sleep(time.Second)
			ended.Add(1)
		}))
		require.EqualValues(t, 10, begun.Load())
		require.EqualValues(t, 10, ended.Load())
	})
	require.ErrorContains(t, measure.OpenLoop{}.Run(t.Context(), nil), "the rate is 0")
}

func TestTheExactSleepEnds(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	require.NoError(t, measure.OpenLoop{Rate: 1000, Operations: 20}.Run(t.Context(), func(_ int, due time.Time) {
		if !time.Now().Before(due) {
			n.Add(1)
		}
	}))
	require.EqualValues(t, 20, n.Load())
}
