package faults

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
	"github.com/leveretmq/leveret/pkg/devbroker"
)

// TestMain is the child process too: experiments start this very binary again.
func TestMain(m *testing.M) { childtest.Main(m, slog.NewTextHandler(os.Stderr, nil)) }

// All experiments that there are with Leveret, on a broker that is really killed.
func TestLeveretLosesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Close(context.WithoutCancel(ctx))) }()
	p, ok := peers.Find(peers.Leveret)
	require.True(t, ok)
	var progress bytes.Buffer
	findings, err := Run(ctx, node, Config{Peers: []peers.Peer{p}, Rounds: 1, Dir: t.TempDir(), Progress: &progress})
	require.NoError(t, err)
	require.Len(t, findings, 5)
	for _, f := range findings {
		require.Empty(t, f.Err, progress.String())
		require.True(t, f.Offered)
		require.Zero(t, f.Lost, progress.String())
		require.False(t, f.Hung, progress.String())
		if f.Experiment != Unroutable && f.Experiment != UnroutablePipelined {
			require.Positive(t, f.Reported)
			require.True(t, f.Recovered, progress.String())
		}
	}
	for _, f := range findings[:2] {
		require.Equal(t, leastUnroutable, f.Trials)
	}
	require.Positive(t, findings[0].Reported, "the queue was declared again, and has what was reported")
	require.Contains(t, findings[1].Note, "unroutable", "what was in the pipeline already")
}

func TestIDIn(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"id":"000000000042","at":1}`,
		`{"UUID":"x","Args":[{"Name":"id","Type":"string","Value":"000000000042"},{"Name":"at","Type":"int64","Value":1}]}`,
	} {
		match := idIn.FindStringSubmatch(body)
		require.NotNil(t, match, body)
		require.Equal(t, peers.ID(42), match[1])
	}
}

func TestTheWorstIsKept(t *testing.T) {
	t.Parallel()
	good := Finding{Recovered: true}
	require.True(t, worse(Finding{Lost: 1, Recovered: true}, good))
	require.True(t, worse(Finding{Hung: true, Recovered: true}, good))
	require.True(t, worse(Finding{}, good))
	require.False(t, worse(good, Finding{Lost: 1}))
	require.False(t, worse(good, good))
}
