package growth

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/bench/internal/childtest"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// TestMain is the child process too: measurements start this very binary again.
func TestMain(m *testing.M) { childtest.Main(m, slog.DiscardHandler) }

// Each series but the cluster, on a real broker, at two small sizes: what is counted does not depend on the machine.
func TestSeries(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	node := leverettest.Node(t)
	sizes := map[string][]int{"dead-letters": {50, 100}, "shared-tier": {10}, "own-tiers": {10}, "body": {256, 1 << 16}, "backlog": {1000, 1500}}
	var mu sync.Mutex
	var running sync.WaitGroup
	got := make(map[string]map[string][]float64)
	for _, p := range plans {
		if p.name == nodes.name {
			continue
		}
		these := sizes[p.name]
		if these == nil {
			these = []int{1, 3}
		}
		running.Go(func() {
			g := &grower{Config: Config{Short: true, Progress: t.Output()}, node: node}
			s := g.series(ctx, p, these, time.Now())
			mu.Lock()
			defer mu.Unlock()
			assert.Empty(t, s.Missing, p.name)
			got[p.name] = make(map[string][]float64)
			for _, f := range s.Figures {
				if assert.Len(t, f.Values, len(these), "%s: %s", p.name, f.Name) {
					got[p.name][f.Name] = f.Values
				}
			}
		})
	}
	running.Wait()
	require.False(t, t.Failed())

	require.Equal(t, []float64{2, 4}, got["queues"][channels], "a channel for each queue, and one to declare or to publish")
	require.Equal(t, []float64{2, 2}, got["queues"][connections])
	require.Equal(t, []float64{2, 2}, got["contracts"][connections])
	require.Equal(t, []float64{2, 6}, got["workers"][connections])
	require.Equal(t, []float64{2, 2}, got["callers"][connections])
	require.Equal(t, got["callers"][channels][0], got["callers"][channels][1])
	for _, v := range got["contracts"][written] {
		require.InDelta(t, 3, v, 0.01, "publish, head, body")
	}
	for _, v := range got["queues"][written] {
		require.InDelta(t, 3.5, v, 0.6, "publish, head, body, and a part of an ack")
	}
	for _, v := range got["callers"][callWritten] {
		require.InDelta(t, 3, v, 0.5)
	}
	begin := got["queues"][startFrames]
	require.Greater(t, begin[1], begin[0], "each queue is declared")
	for _, v := range got["dead-letters"][replayFrames] {
		require.Greater(t, v, 6.0, "each is read, and written again")
	}
	for name, figures := range got {
		for figure, values := range figures {
			if figure == brokerEach || figure == brokerQueue { // other tests use the same broker
				continue
			}
			for _, v := range values {
				require.GreaterOrEqual(t, v, 0.0, "%s: %s", name, figure)
			}
		}
	}
	require.Equal(t, []float64{10}, got["shared-tier"][waiting])
	require.Positive(t, got["workers"][handled][1])
}

func TestOnlyNamedSeries(t *testing.T) {
	t.Parallel()
	all, err := Run(t.Context(), nil, Config{Short: true, Only: []string{"processes"}}) // it has no short form
	require.NoError(t, err)
	require.Empty(t, all)
	require.Contains(t, Names(), "dead-letters")
}

// What takes too long is left out, but three sizes are always measured, and failures are said.
func TestSizesLeftOut(t *testing.T) {
	t.Parallel()
	g := &grower{Config: Config{Progress: t.Output()}}
	var tried []int
	p := plan{name: "p", figures: []kind{{"f", counted}}, do: func(_ context.Context, _ *grower, size int, found values) error {
		tried = append(tried, size)
		found["f"] = float64(2 * size)
		if size == 2 {
			return os.ErrDeadlineExceeded
		}
		return nil
	}}
	s := g.series(t.Context(), p, []int{1, 2, 3, 4}, time.Now())
	require.Equal(t, []int{1, 2, 3}, tried)
	require.Equal(t, []int{1, 3}, s.Sizes)
	require.Equal(t, []float64{2, 6}, s.Figures[0].Values)
	require.Equal(t, []string{"2: i/o timeout", "4: no time"}, s.Missing)
}
