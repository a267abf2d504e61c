package runner_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/bench/internal/childtest"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/runner"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// TestMain is the child process too: measurements start this very binary again.
func TestMain(m *testing.M) { childtest.Main(m, slog.NewTextHandler(os.Stderr, nil)) }

// Every kind of scenario, with every peer that is always linked, on a real broker.
func TestRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	node := leverettest.Node(t)
	scenarios, err := runner.Choose(runner.Scenarios(), []string{"publish", "waiters-50", "consume", "handler-16", "retry", "call-16", "latency-500"})
	require.NoError(t, err)
	var all []peers.Peer
	for _, name := range []string{peers.Raw, peers.RawBatched, peers.Leveret} {
		p, ok := peers.Find(name)
		require.True(t, ok)
		all = append(all, p)
	}
	var saved int
	var progress bytes.Buffer
	samples, err := runner.Run(ctx, node, runner.Config{
		Scenarios: scenarios, Peers: all, Rounds: 1, Budget: time.Second, Shortest: 300 * time.Millisecond, Longest: 300 * time.Millisecond,
		Progress: &progress, Save: func(s []runner.Sample) error { saved = len(s); return nil },
	})
	require.NoError(t, err, progress.String())
	require.Len(t, samples, saved)
	seen := make(map[string]int)
	for _, s := range samples {
		require.Empty(t, s.Err, "%s with %s", s.Scenario, s.Peer)
		require.Positive(t, s.Result.Rate(), "%s with %s", s.Scenario, s.Peer)
		require.Positive(t, s.Result.CPU, "%s with %s", s.Scenario, s.Peer)
		require.Positive(t, s.Result.PeakRSS, "%s with %s", s.Scenario, s.Peer)
		seen[s.Peer]++
	}
	require.Equal(t, len(scenarios), seen[peers.Raw])
	require.Equal(t, len(scenarios), seen[peers.Leveret])
	require.Equal(t, 1, seen[peers.RawBatched]) // consume
}

func TestChoose(t *testing.T) {
	t.Parallel()
	all := runner.Scenarios()
	chosen, err := runner.Choose(all, nil)
	require.NoError(t, err)
	require.Equal(t, all, chosen)
	chosen, err = runner.Choose(all, []string{"call-*", "call-16"})
	require.NoError(t, err)
	require.Len(t, chosen, 5)
	chosen, err = runner.Choose(all, []string{"publish"})
	require.NoError(t, err)
	require.Len(t, chosen, 1)
	_, err = runner.Choose(all, []string{"nothing"})
	require.ErrorContains(t, err, "publish-16k")
}
