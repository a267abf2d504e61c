package compare_test

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/measure"
)

func TestSpeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		fast := r.sync("fast", 10*time.Millisecond)
		config := faked(r, fast, r.sync("slow", 20*time.Millisecond), r.sync("same", 10*time.Millisecond),
			withRetries(fast), r.queue("queue", 49*time.Millisecond))
		var order []string
		config.Progress = func(p compare.Progress) {
			require.Equal(t, compare.Progress{Pass: "speed", Step: p.Step, Done: len(order), Of: 6 * 4 * 3}, p)
			order = append(order, p.Step)
		}
		config.Receivers = func() []int { return []int{-1} }
		c, err := compare.New(config)
		require.NoError(t, err)
		rows, err := c.Speed(t.Context(), compare.SpeedConfig{Rounds: 6, For: time.Second, InFlight: []int{1, 3}})
		require.NoError(t, err)
		require.Zero(t, c.Stray())
		require.Len(t, order, 73)
		require.Equal(t, "round 1 of 6: Way fast, 200 a second", order[0])
		require.Equal(t, "round 2 of 6: Way slow, 200 a second", order[12])
		require.Equal(t, "round 2 of 6: Way fast, 200 a second", order[15])
		require.Len(t, rows, 12)
		found := make(map[string]compare.Speed)
		for _, row := range rows {
			found[row.Way+", "+row.Load.String()] = row
			require.Len(t, row.Samples, 6)
			require.Equal(t, row.Ledger.Asked, row.Ledger.OK)
			require.Equal(t, row.Ledger.Asked, row.Ledger.Effects)
			require.False(t, row.BrokerCPU.Known())
			require.False(t, row.ReceiversCPU.Known(), "there is no such process")
		}
		for name, want := range map[string]struct{ rate, p50, effect float64 }{
			"fast, 200 a second":  {200, 10, 10},
			"slow, 200 a second":  {197, 20, 20},
			"queue, 200 a second": {191, 1, 50},
			"fast, 1 in flight":   {100, 10, 10},
			"slow, 1 in flight":   {50, 20, 20},
			"fast, 3 in flight":   {300, 10, 10},
			"queue, 1 in flight":  {1000, 1, 50},
		} {
			row := found[name]
			require.InEpsilon(t, want.rate, row.Throughput.Median, 0.02, name)
			for _, s := range []measure.Spread{row.P50, row.P95, row.P99} {
				require.InEpsilon(t, want.p50, s.Median, 0.01, name)
			}
			require.InEpsilon(t, want.effect, row.EffectP99.Median, 0.01, name)
		}
		undecided := make(map[string]bool)
		for _, ratio := range compare.Ratios(rows) {
			require.Equal(t, "fast", ratio.To)
			require.NotEqual(t, "fast", ratio.Way)
			if ratio.Metric == compare.P50 && ratio.Load.InFlight == 1 {
				undecided[ratio.Way] = ratio.Undecided
			}
		}
		require.Equal(t, map[string]bool{"slow": false, "same": true, "queue": false}, undecided)
		require.InEpsilon(t, 2, compare.RatioOf(found["slow, 1 in flight"], found["fast, 1 in flight"], compare.P99).Ratio.Median, 0.01)
	})
}

func TestWhatWaitsBeforeItBeginsCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		one := make(chan struct{}, 1) // at a time
		single := r.sync("single", 10*time.Millisecond)
		do := single.Do
		single.Do = func(ctx context.Context, id string) error {
			one <- struct{}{}
			defer func() { <-one }()
			return do(ctx, id)
		}
		c, err := compare.New(faked(r, single))
		require.NoError(t, err)
		rows, err := c.Speed(t.Context(), compare.SpeedConfig{Rounds: 1, Rate: 200, Warm: 5 * time.Millisecond, For: time.Second, InFlight: []int{}})
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.InEpsilon(t, 100, rows[0].Throughput.Median, 0.02) // 200 in 2 s
		require.InEpsilon(t, 510, rows[0].P50.Median, 0.02)        // although each takes 10 ms
	})
}

// What was queued while a load was warming up is work of the receivers, too: they do 500 a second, however many were
// asked for in the window.
func TestReceiversThatLagBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		work := make(chan string, 1_000_000)
		defer close(work)
		go func() {
			for id := range work {
				time.Sleep(2 * time.Millisecond)
				r.handle(id, 1)
			}
		}()
		way := compare.Way{Name: "queue", Label: "Way queue", Async: true, Do: func(ctx context.Context, id string) error {
			sleep(ctx, time.Millisecond)
			work <- id
			return nil
		}}
		c, err := compare.New(faked(r, way))
		require.NoError(t, err)
		rows, err := c.Speed(t.Context(), compare.SpeedConfig{Rounds: 1, Warm: time.Second, For: time.Second, InFlight: []int{1}})
		require.NoError(t, err)
		require.InEpsilon(t, 500, rows[1].Throughput.Median, 0.02)
	})
}

func TestAWayThatDoesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		way := r.sync("dies", time.Millisecond)
		do := way.Do
		way.Do = func(ctx context.Context, id string) error {
			if r.next("dies") > 16 {
				return leveret.Errorf(leveret.Unavailable, "gone")
			}
			return do(ctx, id)
		}
		c, err := compare.New(faked(r, way))
		require.NoError(t, err)
		_, err = c.Speed(t.Context(), compare.SpeedConfig{})
		require.ErrorContains(t, err, "Way dies, 200 a second: nothing was done\nunavailable: gone")
		_, err = c.Speed(t.Context(), compare.SpeedConfig{})
		require.ErrorContains(t, err, "Way dies: the first operations: unavailable: gone")
	})
}

func TestBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceivers()
		counted := make(chan measure.Traffic, 1)
		counted <- measure.Traffic{Connections: 2, Sent: 5000, Received: 1}
		way := r.sync("sync", time.Millisecond)
		do := way.Do
		way.Do = func(ctx context.Context, id string) error {
			n := <-counted
			n.Sent += 100
			n.Received += 10
			counted <- n
			return do(ctx, id)
		}
		c, err := compare.New(faked(r, way))
		require.NoError(t, err)
		traffic := func() measure.Traffic {
			n := <-counted
			counted <- n
			return n
		}
		rows, err := c.Bytes(t.Context(), compare.BytesConfig{Ways: []compare.CountedWay{{Way: way, Hops: []compare.Hop{{Name: "caller–receiver", Traffic: traffic}}}}})
		require.NoError(t, err)
		require.Equal(t, []compare.Bytes{{Way: "sync", Label: "Way sync", Hops: []compare.HopBytes{
			{Name: "caller–receiver", Sent: 100, Received: 10, Connections: 2},
		}}}, rows)
		require.NoError(t, r.kill(t.Context()))
		_, err = c.Bytes(t.Context(), compare.BytesConfig{Ways: []compare.CountedWay{{Way: way}}})
		require.ErrorIs(t, err, leveret.ErrNotConnected)
		_, err = c.Bytes(t.Context(), compare.BytesConfig{})
		require.ErrorContains(t, err, "no ways")
	})
}

// broken is a source that cannot be read.
type broken struct{}

func (broken) Effects(context.Context) ([]measure.Effect, error) { return nil, errors.New("broken") }

func TestWrongConfigurations(t *testing.T) {
	t.Parallel()
	r := newReceivers()
	way := r.sync("sync", 0)
	for want, config := range map[string]compare.Config{
		"no source":               {Ways: []compare.Way{way}},
		"no ways":                 {Source: r},
		`"sync" has no name`:      {Source: r, Ways: []compare.Way{way, way}},
		`the way "" has no name`:  {Source: r, Ways: []compare.Way{{Do: way.Do}}},
		`the way "x" has no name`: {Source: r, Ways: []compare.Way{{Name: "x"}}},
	} {
		_, err := compare.New(config)
		require.ErrorContains(t, err, strings.TrimSpace(want))
	}
	c, err := compare.New(compare.Config{Source: broken{}, Ways: []compare.Way{way}})
	require.NoError(t, err)
	_, err = c.Speed(t.Context(), compare.SpeedConfig{})
	require.ErrorContains(t, err, "read the effects: broken")
}

func TestCPUOfReceivers(t *testing.T) {
	t.Parallel()
	r := newReceivers()
	config := compare.Config{Ways: []compare.Way{r.sync("sync", 0)}, Source: r}
	config.Receivers = func() []int { return []int{os.Getpid()} }
	config.Broker = config.Receivers
	c, err := compare.New(config)
	require.NoError(t, err)
	rows, err := c.Speed(t.Context(), compare.SpeedConfig{Rounds: 1, Warm: time.Millisecond, For: 20 * time.Millisecond, InFlight: []int{1}})
	require.NoError(t, err)
	_, known := measure.CPUOf(os.Getpid())
	require.Equal(t, known, rows[1].ReceiversCPU.Known())
	require.Equal(t, known, rows[1].BrokerCPU.Known())
	require.False(t, math.IsNaN(rows[1].CallerCPU.Median))
}
