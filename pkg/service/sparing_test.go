package service

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A flood of refused messages fills no disk: of each text a burst is logged, then ten a second with how many were left
// out. Other texts do not suffer.
func TestFloodsAreLoggedSparingly(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	h := newSparing(slog.NewJSONHandler(&out, nil))
	h.seen.now = func() time.Time { return now }
	log := slog.New(h).With("service", "a")
	flood := func(n int) (lines []string) {
		out.Reset()
		for range n {
			log.Warn("request forbidden")
		}
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
	omitted := func(line string) any {
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		require.Equal(t, "a", record["service"])
		return record["omitted"]
	}
	lines := flood(10_000)
	require.Len(t, lines, burst)
	require.Nil(t, omitted(lines[burst-1]))
	log.WithGroup("g").Warn("connection lost")
	require.Contains(t, out.String(), "connection lost")

	now = now.Add(time.Second)
	lines = flood(10_000)
	require.Len(t, lines, 10)
	require.EqualValues(t, 10_000-burst, omitted(lines[0]))
	require.Nil(t, omitted(lines[1]))

	now = now.Add(time.Hour)
	lines = flood(1)
	require.EqualValues(t, 10_000-10, omitted(lines[0]))
	require.Len(t, flood(10_000), burst-1)
}
