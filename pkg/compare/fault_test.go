package compare_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/measure"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// nothing is a fault that breaks nothing.
var nothing = compare.Fault{Name: "nothing", Label: "Nothing", Inflict: func(context.Context) error { return nil }, For: time.Second}

// of returns the row of a way.
func of(t *testing.T, rows []compare.FaultRow, way string) compare.FaultRow {
	for _, row := range rows {
		if row.Way == way {
			return row
		}
	}
	require.Fail(t, "no row", way)
	return compare.FaultRow{}
}

func TestTheLedgerSaysWhatHappened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		// every does something else with each n-th operation after the 16 that warm the way up.
		every := func(name string, n int, otherwise func(id string) error) compare.Way {
			return compare.Way{Name: name, Label: name, Do: func(_ context.Context, id string) error {
				if i := r.next(name) - 16; i > 0 && i%n == 0 {
					return otherwise(id)
				}
				r.handle(id, 1)
				return nil
			}}
		}
		late := every("late", 100, func(id string) error {
			go func() {
				time.Sleep(20 * time.Second) // long after its own trial is over
				r.handle(id, 1)
			}()
			return leveret.ErrOutcomeUnknown
		})
		c, err := compare.New(faked(r,
			every("good", 1000, nil),
			every("loses", 5, func(string) error { return nil }),
			every("twice", 5, func(id string) error { r.handle(id, 2); return nil }),
			every("fails", 10, func(string) error { return leveret.Errorf(leveret.NotFound, "no such thing") }),
			every("lies", 10, func(id string) error { r.handle(id, 1); return leveret.ErrNotConnected }),
			every("unknown", 4, func(string) error { return leveret.ErrOutcomeUnknown }),
			every("recovers", 4, func(id string) error { r.handle(id, 1); return leveret.ErrOutcomeUnknown }),
			late,
		))
		require.NoError(t, err)
		second := nothing
		second.Name = "more of it"
		rows, err := c.Faults(t.Context(), compare.FaultsConfig{
			Faults: []compare.Fault{nothing, second}, Rate: 100, Before: time.Second - 100*time.Microsecond, After: 2 * time.Second,
		})
		require.NoError(t, err)
		require.Len(t, rows, 16)
		for way, want := range map[string]measure.Balance{
			"good":     {Asked: 400, OK: 400, Effects: 400},
			"loses":    {Asked: 400, OK: 400, Effects: 320, Lost: 80},
			"twice":    {Asked: 400, OK: 400, Effects: 480, Twice: 80},
			"fails":    {Asked: 400, OK: 360, Failed: 40, Effects: 360},
			"lies":     {Asked: 400, OK: 360, Failed: 40, Effects: 400, Unexpected: 40},
			"unknown":  {Asked: 400, OK: 300, Unknown: 100, Effects: 300},
			"recovers": {Asked: 400, OK: 300, Unknown: 100, Effects: 400, Recovered: 100},
			"late":     {Asked: 400, OK: 396, Unknown: 4, Effects: 400, Recovered: 4},
		} {
			row := of(t, rows, way)
			require.Equal(t, want, row.Ledger, way)
			require.Equal(t, want, row.Trials[0].Ledger, way)
		}
		require.Zero(t, c.Stray())
		require.Zero(t, of(t, rows, "good").Trials[0].Disturbed)
		require.Equal(t, 100, of(t, rows, "unknown").Trials[0].Disturbed)
		require.Contains(t, of(t, rows, "fails").Trials[0].Error, "no such thing")

		c, err = compare.New(faked(r, r.sync("sync", 0)))
		require.NoError(t, err)
		r.handle("never asked", 1)
		_, err = c.Faults(t.Context(), compare.FaultsConfig{Faults: []compare.Fault{nothing}})
		require.NoError(t, err)
		require.Equal(t, 1, c.Stray())
	})
}

func TestDeadReceivers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		plain := r.sync("sync", 10*time.Millisecond)
		config := faked(r, plain, withRetries(plain), r.queue("queue", 10*time.Millisecond))
		config.Timeout = 12 * time.Second
		var steps []string
		config.Progress = func(p compare.Progress) {
			require.Equal(t, "faults", p.Pass)
			require.Equal(t, len(steps), p.Done)
			require.Equal(t, 4, p.Of)
			steps = append(steps, p.Step)
		}
		c, err := compare.New(config)
		require.NoError(t, err)
		rows, err := c.Faults(t.Context(), compare.FaultsConfig{Faults: []compare.Fault{{
			Name: "dead", Label: "Dead", Inflict: r.kill, For: 5 * time.Second,
			Heal: func(ctx context.Context) error {
				time.Sleep(500 * time.Millisecond) // to start
				defer time.AfterFunc(2310*time.Millisecond, func() { _ = r.slowDown(0)(ctx) })
				return errors.Join(r.slowDown(time.Second)(ctx), r.heal(ctx))
			},
		}}, Before: 3 * time.Second, After: 10 * time.Second})
		require.NoError(t, err)
		require.Equal(t, []string{"Dead: before", "Dead: during", "Dead: after", "Dead: settling", ""}, steps)

		row := of(t, rows, "sync")
		one := row.Trials[0]
		require.InDelta(t, 5.5, one.Lasted, 0.001)
		require.InDelta(t, 0.05, float64(one.Limit), 0.001)
		require.InDelta(t, 275, row.Ledger.Failed, 1)
		require.Zero(t, row.Ledger.Lost+row.Ledger.Twice+row.Ledger.Unknown+row.Ledger.Unexpected)
		require.InDelta(t, 1.01, float64(one.LongestWait), 0.001)
		// Slow for 2.31 s: one in 20 may be slow in the window, 2 of 50.
		require.InDelta(t, 2.3, float64(one.UntilNormal), 0.001)
		require.True(t, math.IsNaN(float64(one.LongestSend)))
		require.InDelta(t, 275+115, one.Disturbed, 2)
		require.ErrorContains(t, leveret.ErrNotConnected, one.Error)

		row = of(t, rows, "sync-retries")
		require.Equal(t, row.Ledger.Asked, row.Ledger.OK)
		require.Equal(t, row.Ledger.Asked, row.Ledger.Effects)
		require.Greater(t, float64(row.Trials[0].LongestWait), 5.5)
		require.Equal(t, "Way sync with retries", row.Label)

		row = of(t, rows, "queue")
		require.Equal(t, row.Ledger.Asked, row.Ledger.OK)
		require.Equal(t, row.Ledger.Asked, row.Ledger.Effects)
		require.InDelta(t, 5.51, float64(row.Trials[0].LongestWait), 0.03)
		require.InDelta(t, 0.001, float64(row.Trials[0].LongestSend), 0.001)
		require.InDelta(t, 2.3, float64(row.Trials[0].UntilNormal), 0.001)
	})
}

func TestNormalAgainTooLateOrNeverBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		fails := compare.Way{Name: "fails", Label: "fails", Do: func(_ context.Context, id string) error {
			if r.next("fails") > 16 {
				return leveret.ErrNotConnected
			}
			r.handle(id, 1)
			return nil
		}}
		c, err := compare.New(faked(r, r.sync("sync", time.Millisecond), fails))
		require.NoError(t, err)
		rows, err := c.Faults(t.Context(), compare.FaultsConfig{Alone: true, Rounds: 6, Faults: []compare.Fault{
			{Name: "slow", Label: "Slow", Inflict: r.slowDown(time.Second), For: time.Second},
		}})
		require.NoError(t, err)
		require.Len(t, rows[0].Trials, 6)
		require.True(t, math.IsInf(float64(rows[0].Trials[0].UntilNormal), 1))
		require.True(t, math.IsNaN(float64(rows[1].Trials[0].UntilNormal)))
		require.False(t, rows[1].UntilNormal.Known())
	})
}

func TestAFaultThatCannotBeInflicted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		c, err := compare.New(faked(r, r.sync("sync", time.Millisecond)))
		require.NoError(t, err)
		began, healed := time.Now(), false
		_, err = c.Faults(t.Context(), compare.FaultsConfig{Faults: []compare.Fault{{
			Label: "Broken", Inflict: func(context.Context) error { return errors.New("no such process") }, For: time.Hour,
			Heal: func(context.Context) error { healed = true; return nil },
		}}})
		require.ErrorContains(t, err, "Broken: no such process")
		require.True(t, healed)
		require.Less(t, time.Since(began), 4*time.Second)
	})
}

func TestPassesEndWithTheirContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		ways := []compare.Way{r.sync("sync", 10*time.Millisecond), r.queue("queue", time.Second)}
		c, err := compare.New(faked(r, ways...))
		require.NoError(t, err)
		hop := compare.Hop{Name: "hop", Traffic: func() measure.Traffic { return measure.Traffic{} }}
		for _, after := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 7 * time.Second, 11 * time.Second} {
			for name, pass := range map[string]func(context.Context) error{
				"speed": func(ctx context.Context) error {
					_, err := c.Speed(ctx, compare.SpeedConfig{Rounds: 100})
					return err
				},
				"bytes": func(ctx context.Context) error {
					_, err := c.Bytes(ctx, compare.BytesConfig{Operations: 100_000, Ways: []compare.CountedWay{{Way: ways[0], Hops: []compare.Hop{hop}}}})
					return err
				},
				"faults": func(ctx context.Context) error {
					healed := false
					_, err := c.Faults(ctx, compare.FaultsConfig{Rounds: 100, Faults: []compare.Fault{{
						Label: "Slow", Inflict: r.slowDown(time.Second), For: 5 * time.Second,
						Heal: func(context.Context) error { healed = true; return nil },
					}}})
					require.Equal(t, after > 10*time.Second, healed)
					return errors.Join(err, r.slowDown(0)(context.WithoutCancel(ctx)))
				},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), after)
				began := time.Now()
				err := pass(ctx)
				require.Error(t, err, name)
				require.Less(t, time.Since(began), after+time.Second, name)
				cancel()
			}
		}
		time.Sleep(10 * time.Second) // for what is in the queue
	})
}

// withRetries returns a way that asks again, as a caller does that knows its request to be idempotent.
func withRetries(w compare.Way) compare.Way {
	request := leveret.NewRequest[int, int]("fake.work", leveret.Idempotent())
	once := w.Do
	w.Name, w.Label, w.Retries = w.Name+"-retries", w.Label+" with retries", true
	w.Do = func(ctx context.Context, id string) error {
		return rpc.Call(ctx, &leveret.Message{Contract: request, ID: id}, func(ctx context.Context) error {
			try, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return once(try, id)
		})
	}
	return w
}
