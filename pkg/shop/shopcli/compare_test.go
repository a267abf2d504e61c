//go:build unix

package shopcli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/measure"
)

// Nothing is lost and nothing is done twice, whatever breaks, and what could be measured was.
func TestCompare(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	page, chart := filepath.Join(dir, "page.md"), filepath.Join(dir, "chart.svg")
	const begin, end = "<!-- leveret compare: begin -->\n", "<!-- leveret compare: end -->\n"
	require.NoError(t, os.WriteFile(page, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o600))
	c := command(t, "compare", "--rounds", "1", "--rate", "40", "--for", "100ms", "--in-flight", "4", "--outage", "500ms",
		"-o", "json", "--svg", chart, "--markdown", page)
	c.onSharedNode(t)
	require.NoError(t, c.Start())
	require.Equal(t, 0, c.exitCode(t), "%s", c.err)
	c.requireNoTrace(t)

	var result compare.Result
	require.NoError(t, json.Unmarshal([]byte(c.out.String()), &result))
	require.Len(t, result.Parts, 2)
	ways := []string{"http", "h2c", "grpc", "amqp", "command", "event"}
	for _, part := range result.Parts {
		require.Zero(t, part.Stray)
		require.Len(t, part.Ways, len(ways))
		for _, w := range part.Ways {
			require.GreaterOrEqual(t, w.Connections, 2, w.Name)
			require.NotEmpty(t, w.Protocol)
		}
		var fast, counted []string
		for _, row := range part.Speed {
			fast = append(fast, row.Way)
			l := row.Ledger // on a slow broker, an answer may come too late
			require.Equal(t, measure.Balance{
				Asked: l.OK + l.Failed + l.Unknown, OK: l.OK, Failed: l.Failed, Unknown: l.Unknown, Effects: l.OK + l.Recovered, Recovered: l.Recovered,
			}, l, "%s, %s", row.Way, row.Load)
			require.Positive(t, l.OK, "%s, %s", row.Way, row.Load)
			require.Positive(t, row.P50.Median, row.Way)
			require.Positive(t, row.EffectP50.Median, row.Way)
			require.Positive(t, row.Throughput.Median, row.Way)
		}
		require.Equal(t, append(ways, ways...), fast) // at the rate, and with 4 in flight
		for _, row := range part.Bytes {
			counted = append(counted, row.Way)
			for _, h := range row.Hops {
				require.Greater(t, max(h.Sent, h.Received), 50.0, "%s, %s", row.Way, h.Name)
				require.Positive(t, h.Connections)
			}
		}
		require.Equal(t, ways, counted)
	}
	require.Empty(t, result.Parts[0].Faults)
	requireFaults(t, result.Parts[1].Faults)
	requireShape(t, c.out.String())

	written, err := os.ReadFile(page)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(written), "before\n"+begin), "%s", written)
	require.True(t, strings.HasSuffix(string(written), end+"after\n"), "%s", written)
	require.Contains(t, string(written), "## Handler: store")
	require.NotContains(t, string(written), "old")
	drawn, err := os.ReadFile(chart)
	require.NoError(t, err)
	require.Contains(t, string(drawn), "</svg>")
}

func requireFaults(t *testing.T, rows []compare.FaultRow) {
	t.Helper()
	seen := make(map[string]int)
	for _, row := range rows {
		seen[row.Fault]++
		l := row.Ledger
		what := fmt.Sprintf("%s, %s: %+v", row.Fault, row.Way, l)
		require.Positive(t, l.Asked, what)
		require.Equal(t, l.Asked, l.OK+l.Failed+l.Unknown, what)
		require.Positive(t, l.Effects, what)
		require.Zero(t, l.Lost, what)
		require.Zero(t, l.Twice, what) // the store is idempotent
		if row.Way == "command" || row.Way == "event" {
			require.Zero(t, l.Failed, what)                  // of a slow broker, a confirm may come too late to be known
			require.GreaterOrEqual(t, l.Effects, l.OK, what) // all that were confirmed, at least
		}
	}
	// A configured broker is not killed.
	require.Equal(t, map[string]int{"receivers-dead": 9, "receivers-slow": 9, "receivers-restarted": 9}, seen)
}

// requireShape compares the keys of a JSON value with those of testdata/compare.keys.
func requireShape(t *testing.T, text string) {
	t.Helper()
	var value any
	require.NoError(t, json.Unmarshal([]byte(text), &value))
	seen := make(map[string]bool)
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				seen[path+"."+key] = true
				walk(path+"."+key, inner)
			}
		case []any:
			for _, inner := range v {
				walk(path+"[]", inner)
			}
		}
	}
	walk("", value)
	var keys []string
	for key := range seen {
		if !slices.Contains([]string{".machine.model", ".machine.load", ".parts[].faults[].trials[].error"}, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	const golden = "testdata/compare.keys"
	got := strings.Join(keys, "\n") + "\n"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// Ctrl-C leaves nothing behind, not even a node.
func TestCompareIsInterrupted(t *testing.T) {
	t.Parallel()
	c := command(t, "compare", "--only", "faults")
	require.NoError(t, c.Start())
	require.Eventually(t, func() bool {
		running := 0
		for _, p := range c.processes(t) {
			if strings.Contains(p, "compare receiver") {
				running++
			}
		}
		return running == 2
	}, patience, 20*time.Millisecond, "%s", c.err)
	require.NoError(t, c.Process.Signal(syscall.SIGINT))
	require.Equal(t, 130, c.exitCode(t), "%s", c.err)
	require.Empty(t, c.out.String())
	c.requireNoTrace(t)
}

// A file that cannot be written is found before anything is measured.
func TestCompareSaysEarlyWhatItCannotWrite(t *testing.T) {
	t.Parallel()
	full := filepath.Join(t.TempDir(), "full.md")
	require.NoError(t, os.WriteFile(full, []byte("a page\n"), 0o600))
	for _, args := range [][]string{{"--svg", "/no/such/folder/x.svg"}, {"--markdown", t.TempDir()}, {"--markdown", full}} {
		c := command(t, append([]string{"compare"}, args...)...)
		require.NoError(t, c.Start())
		require.Equal(t, 2, c.exitCode(t), "%s", c.err)
		require.Contains(t, c.err.String(), args[0]+": ")
	}
}
