package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParsePace(t *testing.T) {
	t.Parallel()
	none, err := parsePace("")
	require.NoError(t, err)
	require.NoError(t, none.wait(t.Context()))
	for text, perSecond := range map[string]float64{"50/s": 50, "50": 50, "3000/m": 50, "180000/h": 50, "0.5/s": 0.5} {
		p, err := parsePace(text)
		require.NoError(t, err)
		require.InDelta(t, perSecond, float64(p.limiter.Limit()), 1e-9, text)
	}
	for _, wrong := range []string{"fast", "0", "-1/s", "5/", "5/d", "/s", "NaN", "Inf", "1e300", "5/s/s"} {
		_, err := parsePace(wrong)
		require.ErrorContains(t, err, "it must be a number of messages per s, m or h", wrong)
		require.Equal(t, ExitUsage, exitOf(err))
	}
}

func TestRoughNumbers(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{
		0: "<1s", 0.9: "<1s", 1: "1s", 119: "119s", 120: "2m", 7199: "119m", 7200: "2h", 172799: "47h", 172800: "2d", 1e9: "11574d",
	} {
		require.Equal(t, want, secondsText(&seconds))
	}
	require.Empty(t, secondsText(nil))
	for d, want := range map[time.Duration]string{
		10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m", 61 * time.Second: "1m1s", 2100 * time.Microsecond: "2.1ms", 1500 * time.Millisecond: "1.5s",
	} {
		require.Equal(t, want, short(d))
	}
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	n := func(v int) *int { return &v }
	f := func(v float64) *float64 { return &v }
	for _, c := range []struct {
		name    string
		row     queueRow
		before  map[string]int
		elapsed time.Duration
		want    string
	}{
		{"empty", queueRow{Kind: kindWork, Ready: n(0), Out: f(5), In: f(0)}, nil, 0, ""},
		{"both rates", queueRow{Kind: kindWork, Ready: n(100), Out: f(15), In: f(5)}, nil, 0, "10s"},
		{"grows", queueRow{Kind: kindWork, Ready: n(100), Out: f(5), In: f(15)}, nil, 0, "grows"},
		{"stands", queueRow{Kind: kindWork, Ready: n(100), Out: f(5), In: f(5)}, nil, 0, ""},
		{"only out", queueRow{Kind: kindWork, Ready: n(100), Out: f(10)}, nil, 0, "10s"},
		{"only in", queueRow{Kind: kindWork, Ready: n(100), In: f(10)}, nil, 0, "grows"},
		{"two samples", queueRow{Kind: kindWork, Ready: n(100), Name: "q"}, map[string]int{"q": 120}, 2 * time.Second, "10s"},
		{"two samples, more", queueRow{Kind: kindWork, Ready: n(100), Name: "q"}, map[string]int{"q": 80}, 2 * time.Second, "grows"},
		{"first sample", queueRow{Kind: kindWork, Ready: n(100), Name: "q"}, nil, 0, ""},
		{"dead letters", queueRow{Kind: kindDeadLetters, Ready: n(100), Out: f(15), In: f(5)}, nil, 0, ""},
		{"not known", queueRow{Kind: kindWork}, nil, 0, ""},
	} {
		c.row.estimate(c.before, c.elapsed)
		require.Equal(t, c.want, c.row.clears().Text, c.name)
	}
}
