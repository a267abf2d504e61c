package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/bench/internal/faults"
	"github.com/leveretmq/leveret/bench/internal/growth"
	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/report"
	"github.com/leveretmq/leveret/bench/internal/results"
	"github.com/leveretmq/leveret/bench/internal/runner"
)

// run is a run of three rounds in which the machine halves its speed each time: Leveret is 1.1 times as quick as raw.
func run() *results.Run {
	r := &results.Run{
		Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: "go run .", Rounds: 3, Scenarios: []string{"publish", "call-16"},
		Peers: []results.Peer{
			{Name: peers.Raw}, {Name: peers.Leveret}, {Name: "other <1>", About: "at its best"}, {Name: "mute"},
		},
		Faults: []faults.Finding{
			{Peer: peers.Leveret, Experiment: faults.Broker, Offered: true, Reported: 10, Recovered: true, After: 1.5},
			{Peer: "other <1>", Experiment: faults.Unroutable, Offered: true, Reported: 10, Lost: 7},
			{Peer: "mute", Experiment: faults.Worker},
		},
		Growth: []growth.Row{{What: "backlog", Size: 1000, Handled: 500, RSS: 32 << 20}},
		Hot:    []runner.Hot{{Scenario: "publish", Places: []runner.Place{{Name: "runtime.memmove", Percent: 12.3}}}},
	}
	sample := func(scenario, peer string, round int, rate, p50 float64) {
		r.Samples = append(r.Samples, runner.Sample{Scenario: scenario, Peer: peer, Round: round, Result: measure.Result{
			Messages: int64(rate), Seconds: 1, CPU: rate / 1e5, Allocs: uint64(rate) * 70, P50: p50, P99: 2 * p50, PeakRSS: 30 << 20,
		}})
	}
	for round, speed := range []float64{10_000, 5_000, 2_500} {
		for _, scenario := range []string{"publish", "call-16"} {
			sample(scenario, peers.Raw, round, speed, 10/speed)
			sample(scenario, peers.Leveret, round, 1.1*speed, 12/speed)
			sample(scenario, "other <1>", round, 0.7*speed, 20/speed)
		}
	}
	r.Samples = append(r.Samples, runner.Sample{Scenario: "publish", Peer: "mute", Err: "it | hung"})
	return r
}

func TestRatiosArePairedByRound(t *testing.T) {
	t.Parallel()
	targets := report.Targets(run())
	require.Len(t, targets, 5) // publish: rate and CPU; call: p50, rate and CPU
	for _, target := range targets {
		switch target.What {
		case "rate":
			require.InDelta(t, 1.1, target.Got.Median, 1e-9)
			require.InDelta(t, target.Got.Min, target.Got.Max, 1e-9)
			require.True(t, target.Reached())
		case "p50":
			require.InDelta(t, 1.2, target.Got.Median, 1e-9)
			require.False(t, target.Reached()) // 1.10 at most
		case "client CPU":
			require.InDelta(t, 1, target.Got.Median, 1e-9)
			require.True(t, target.Reached())
		}
	}
	against := report.AgainstPeers(run())
	require.Len(t, against, 2)
	require.True(t, against[0].Reached())  // publishing: ahead
	require.False(t, against[1].Reached()) // requests: 1.57, not twice
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	report.Markdown(&page, run(), "benchmarks.svg")
	for _, want := range []string{
		"2026-01-02 03:04 UTC", "$ go run .", "![Throughput of Leveret, of the raw driver and of other libraries](benchmarks.svg)",
		"| **leveret** | 5500 (2750–11000) | 1.10 (1.10–1.10) | 2.40 | 4.80 | 10.0 | 70 |",
		"| mute | failed: it / hung |", "| mute | not offered |", "**yes**: unroutable", "| leveret | broker | 10 | 0 | 0 | yes, 1.5 s after",
		"4 of 5 reached", "12 % `runtime.memmove`", "| 1000 | 500 |", "at its best",
	} {
		require.Contains(t, page.String(), want)
	}
	require.NotContains(t, page.String(), "NaN")
	require.NotContains(t, page.String(), "%!")
}

func TestChartIsXML(t *testing.T) {
	t.Parallel()
	var chart bytes.Buffer
	require.NoError(t, report.Chart(&chart, run()))
	decoder := xml.NewDecoder(&chart)
	var text string
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if data, ok := token.(xml.CharData); ok {
			text += string(data) + "\n"
		}
	}
	for _, want := range []string{"other <1>", "leveret", "5500 · 1.10 of raw", "messages per second", "Publishing, confirms pipelined"} {
		require.Contains(t, text, want)
	}
}

func TestSavedAndLoaded(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/run.json"
	require.NoError(t, run().Save(path))
	loaded, err := results.Load(path)
	require.NoError(t, err)
	require.Equal(t, run(), loaded)
	_, err = results.Load(path + ".not")
	require.Error(t, err)
}
