package shopcli

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/gateway"
	"github.com/leveretmq/leveret/queues"
)

func TestPlacementsAreWhatTheyAreMeantToBe(t *testing.T) {
	t.Parallel()
	all, err := placements(600, "tok_mine")
	require.NoError(t, err)
	wants, seen, by := map[string]int{}, map[string]bool{}, map[int]int{}
	for _, p := range all {
		require.False(t, seen[p.key])
		seen[p.key] = true
		by[p.customer]++
		_, direct := queues.PlaceOrder.Decode(p.body)
		_, edge := gateway.PlaceOrder.Decode(p.body)
		switch {
		case p.direct:
			wants["malformed"]++
			require.ErrorIs(t, direct, leveret.InvalidArgument, string(p.body))
		case p.refused:
			wants["refused"]++
			require.ErrorIs(t, edge, leveret.InvalidArgument, string(p.body))
		default:
			wants[p.wanted()]++
			require.NoError(t, edge)
		}
	}
	require.Equal(t, map[string]int{
		"confirmed": 480, "cancelled (requested) or confirmed": 40, "cancelled (declined)": 20, "cancelled (out_of_stock)": 20,
		"malformed": 20, "refused": 20,
	}, wants)
	require.Len(t, by, 12)
}

func TestLeash(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "here")
	require.NoError(t, os.Mkdir(dir, 0o700))
	ctx, cancel := (&leash{dir, os.Getppid()}).context(t.Context())
	defer cancel()
	require.NoError(t, ctx.Err())
	require.NoError(t, os.Remove(dir))
	requireEnds(t, ctx, "the folder is gone")

	ctx, cancel = (&leash{pid: os.Getppid() + 1}).context(t.Context())
	defer cancel()
	requireEnds(t, ctx, "the parent is another")
}

func requireEnds(t *testing.T, ctx context.Context, why string) {
	t.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		require.Fail(t, why)
	}
}

func TestSaidReadyLooksBehindTheLastStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	for _, step := range []struct {
		line  string
		ready bool
	}{
		{startMark, false},
		{`{"level":"INFO","msg":"starting"}`, false},
		{`panic: not JSON`, false},
		{`{"level":"INFO","msg":"ready","service":"payment"}`, true},
		{`{"level":"INFO","msg":"something"}`, true},
		{startMark, false},
		{`{"level":"INFO","msg":"ready"}`, true},
	} {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(step.line + "\n")
		require.NoError(t, err)
		require.NoError(t, f.Close())
		ready, err := saidReady(path)
		require.NoError(t, err)
		require.Equal(t, step.ready, ready, step.line)
	}
}

func TestPrefixedWritesWholeLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var lines sync.Mutex
	w := &prefixed{out: &out, lines: &lines, prefix: "a | "}
	for _, part := range []string{"one\ntw", "o", "\n\nthree"} {
		n, err := w.Write([]byte(part))
		require.NoError(t, err)
		require.Len(t, part, n)
	}
	w.say("ours")
	require.Equal(t, "a | one\na | two\na | \na | ours\n", out.String())
}

// Orders that wait for a kill do not keep it from happening: enough are placed before it. And with usual numbers, some
// are left for the last one.
func TestOrdersWaitForKills(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ orders, kills int }{{500, 2}, {400, 8}, {5000, 20}, {30, 1}, {30, 60}} {
		orders, err := placements(c.orders, "tok_visa")
		require.NoError(t, err)
		plan := kills(c.kills, []string{"payment", "order", "auth"})
		hold(plan, orders)
		for _, k := range plan {
			require.LessOrEqual(t, k.at*float64(expected(orders)), float64(expected(orders[:k.before])), "%v", c)
		}
		if c.kills < c.orders/10 {
			require.Less(t, plan[c.kills-1].before, c.orders, "%v", c)
		}
	}
}

// A service comes back at its address, which neither an outgoing connection nor another demo may have taken meanwhile.
func TestPortsAreGivenOnce(t *testing.T) {
	t.Parallel()
	given := map[string]bool{}
	for range 8 {
		p, err := reservePorts()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.close()) })
		s := &system{ports: p}
		require.NoError(t, s.chooseAddresses(false))
		for _, service := range s.addresses {
			for _, address := range service {
				require.False(t, given[address], address)
				given[address] = true
				at, err := netip.ParseAddrPort(address)
				require.NoError(t, err)
				require.Less(t, at.Port(), uint16(32768))
			}
		}
	}
}
