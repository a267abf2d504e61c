package report_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/bench/internal/faults"
	"github.com/leveretmq/leveret/bench/internal/growth"
	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/report"
	"github.com/leveretmq/leveret/bench/internal/results"
	"github.com/leveretmq/leveret/bench/internal/runner"
)

// run is a run of six rounds in which the machine halves its speed each time and begins again: Leveret is 1.1 times as
// quick as raw.
func run() *results.Run {
	r := &results.Run{
		Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: "go run .", Rounds: 6, Scenarios: []string{"publish", "call-16"},
		Driver: "v9.9.9", Window: 77, Prefetch: 66,
		Peers: []results.Peer{
			{Name: peers.Raw}, {Name: peers.Leveret}, {Name: peers.Telemetry}, {Name: "other <1>", About: "at its best"}, {Name: "mute"},
		},
		Faults: []faults.Finding{
			{Peer: peers.Leveret, Experiment: faults.BrokerPipelined, Offered: true, Trials: 3, Reported: 10, Recovered: true, After: 1.5},
			{Peer: "other <1>", Experiment: faults.UnroutablePipelined, Offered: true, Trials: 5, Reported: 10, Lost: 7},
			{Peer: "other <1>", Experiment: faults.BrokerPipelined, Offered: true, Trials: 3, Reported: 10, Hung: true, Recovered: true},
			{Peer: "other <1>", Experiment: faults.Worker, Offered: true, Trials: 3, Reported: 10},
			{Peer: "mute", Experiment: faults.Worker},
		},
		Growth: []growth.Series{{
			Name: "backlog", Title: "Backlog", Of: "messages", About: "A queue.", Load: "2 CPUs", Sizes: []int{1000, 20_000}, Missing: []string{"5: no | time"},
			Figures: []growth.Figure{{Name: "frames", Values: []float64{3, 3.01}, Law: growth.Law{Kind: growth.Constant}}},
		}},
		Hot: []runner.Hot{{Scenario: "publish", Places: []runner.Place{{Name: "runtime.memmove", Percent: 12.3}}}},
	}
	sample := func(scenario, peer string, round int, rate, p50 float64) {
		r.Samples = append(r.Samples, runner.Sample{Scenario: scenario, Peer: peer, Round: round, Result: measure.Result{
			Messages: int64(rate), Seconds: 1, CPU: rate / 1e5, Allocs: uint64(rate) * 70, P50: p50, P99: 2 * p50, PeakRSS: 30 << 20,
		}})
	}
	for round, speed := range []float64{10_000, 5_000, 2_500, 10_000, 5_000, 2_500} {
		for _, scenario := range []string{"publish", "call-16"} {
			sample(scenario, peers.Raw, round, speed, 10/speed)
			sample(scenario, peers.Leveret, round, 1.1*speed, 12/speed)
			sample(scenario, "other <1>", round, 0.7*speed, 20/speed)
		}
		sample("call-16", "mute", round, 0, 0)
	}
	sample("publish", peers.Telemetry, 0, 5_000, 0.001)
	r.Samples = append(r.Samples, runner.Sample{Scenario: "publish", Peer: "mute", Err: "it | hung"})
	return r
}

func TestRatiosArePairedByRound(t *testing.T) {
	t.Parallel()
	targets := report.Targets(run())
	require.Len(t, targets, 7) // publish: rate and CPU, of two; call: p50, rate and CPU
	for _, target := range targets {
		if target.Of == peers.Telemetry {
			require.True(t, target.Informs)
			require.Equal(t, report.None, target.Verdict())
			continue
		}
		switch target.What {
		case "rate":
			require.InDelta(t, 1.1, target.Got.Median, 1e-9)
			require.InDelta(t, target.Got.Min, target.Got.Max, 1e-9)
			require.Equal(t, report.Reached, target.Verdict())
		case "p50":
			require.InDelta(t, 1.2, target.Got.Median, 1e-9)
			require.Equal(t, report.Missed, target.Verdict()) // 1.10 at most
		case "client CPU":
			require.InDelta(t, 1, target.Got.Median, 1e-9)
			require.Equal(t, report.Reached, target.Verdict())
		}
	}
	against := report.AgainstPeers(run())
	require.Len(t, against, 3)
	require.Equal(t, report.Reached, against[0].Verdict()) // publishing: ahead
	require.Equal(t, report.Missed, against[1].Verdict())  // requests: 1.57, not twice
	require.Equal(t, report.Reached, against[2].Verdict()) // a rate of nothing is beaten
}

func TestNoiseDecidesNothing(t *testing.T) {
	t.Parallel()
	verdict := func(scenario, what string, ratios ...float64) report.Verdict {
		r := &results.Run{Scenarios: []string{scenario}, Peers: []results.Peer{{Name: "other"}}}
		for round, ratio := range ratios {
			add := func(peer string, v float64) {
				r.Samples = append(r.Samples, runner.Sample{Scenario: scenario, Peer: peer, Round: round, Result: measure.Result{
					Messages: int64(1000 * v), Seconds: 1, P50: v, P99: v,
				}})
			}
			add(peers.Leveret, ratio)
			add("other", 1)
		}
		for _, target := range report.AgainstPeers(r) {
			if target.What == what {
				return target.Verdict()
			}
		}
		return ""
	}
	// Of ten, the second smallest and the second largest count: 98 % lie between.
	require.Equal(t, report.Reached, verdict("publish", "rate", 0.5, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1))
	require.Equal(t, report.Undecided, verdict("publish", "rate", 0.5, 0.6, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1))
	require.Equal(t, report.Undecided, verdict("publish", "rate", 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 1.1, 1.1))
	require.Equal(t, report.Missed, verdict("publish", "rate", 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 1.1))
	// Less is better, in both waiting times.
	for _, what := range []string{"p50", "p99"} {
		require.Equal(t, report.Reached, verdict("latency-500", what, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9))
		require.Equal(t, report.Undecided, verdict("latency-500", what, 0.9, 0.9, 0.9, 0.9, 0.9, 1.1)) // of six, all count
		require.Equal(t, report.Missed, verdict("latency-500", what, 1.2, 1.1, 1.1, 1.1, 1.1, 1.1))
	}
	require.Equal(t, report.Undecided, verdict("publish", "rate", 2, 2, 2, 2, 2)) // too few, whatever they are
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	report.Markdown(&page, run(), "benchmarks.svg")
	for _, want := range []string{
		"2026-01-02 03:04 UTC", "$ go run .", "![Throughput of Leveret and of what it is compared with](benchmarks.svg)",
		"| **leveret** | 5500 (2750–11000) | 1.10 (1.10–1.10) | 2.40 | 4.80 | 10.0 | 70 |",
		"| mute | failed: it / hung |", "| mute | 0 (0–0) |", "**yes**: unroutable-pipelined (7 of 10); **hangs**: broker-pipelined |",
		"| leveret | broker-pipelined | 3 | 0 of 10 | 0 | yes, 1.5 s after", "| other <1> | unroutable-pipelined | 5 | **7 of 10** |",
		"4 of 5 reached, 0 undecided, 1 missed.", "2 of 3 reached", "12 % `runtime.memmove`", "(scale.md#how-it-grows)", "at its best", "| ∞ |",
		"| leveret-otel | 5000 (5000–5000), 1 of 6 rounds |", "no (as leveret, not tried)", "| no target | **0.50** | – | – |",
		"v9.9.9", "flight: 77", "prefetch: 66", "server CPU µs", "| 30 | 1.00 | no |", "| Publishing, confirms pipelined | 1.57 | ✗ |",
	} {
		require.Contains(t, page.String(), want)
	}
	require.NotContains(t, page.String(), "NaN")
	require.NotContains(t, page.String(), "%!")
}

func TestGrowthIsWrittenBetweenItsLines(t *testing.T) {
	t.Parallel()
	page := "# Scale\n\nBefore.\n\n<!-- Written by `bench`; run it again instead of editing. -->\nold\n<!-- What `bench` has written ends here. -->\n\nAfter.\n"
	written, err := report.ReplaceGrowth([]byte(page), run())
	require.NoError(t, err)
	text := string(written)
	require.True(t, strings.HasPrefix(text, "# Scale\n\nBefore.\n"))
	require.True(t, strings.HasSuffix(text, "\n\nAfter.\n"))
	require.NotContains(t, text, "old\n")
	for _, want := range []string{
		"### Backlog\n\nA queue. (2 CPUs)\n\n| messages | 1,000 | 20,000 | law |\n| --- | --- | --- | --- |\n| frames | 3.00 | 3.01 | constant |\n",
		"Not measured: 5: no / time.", "2026-01-02 03:04 UTC", "`go run .`",
	} {
		require.Contains(t, text, want)
	}
	again, err := report.ReplaceGrowth(written, run())
	require.NoError(t, err)
	require.Equal(t, text, string(again))
	for _, broken := range []string{"", "old", strings.ReplaceAll(page, "ends here", "goes on")} {
		_, err := report.ReplaceGrowth([]byte(broken), run())
		require.ErrorIs(t, err, report.ErrNotMarked)
	}
	published, err := os.ReadFile("../../../docs/scale.md")
	require.NoError(t, err)
	_, err = report.ReplaceGrowth(published, run())
	require.NoError(t, err)
}

func TestGrowthOnATerminal(t *testing.T) {
	t.Parallel()
	require.Equal(t, "\nBacklog (2 CPUs)\n  messages  1,000  20,000  law\n  frames    3.00   3.01    constant\n  not measured: 5: no | time\n",
		report.GrowthText(run()))
}

func TestAVerdictIsOfTheWayOfUse(t *testing.T) {
	t.Parallel()
	finding := func(e faults.Experiment, lost int, recovered bool) faults.Finding {
		return faults.Finding{Peer: peers.Raw, Experiment: e, Offered: true, Reported: 9, Lost: lost, Recovered: recovered}
	}
	r := &results.Run{
		Rounds: 1, Peers: []results.Peer{{Name: peers.Raw}}, Scenarios: []string{"publish", "waiters-50", "consume", "call-16", "latency-500"},
		Faults: []faults.Finding{
			finding(faults.Unroutable, 1, false), finding(faults.UnroutablePipelined, 0, false),
			finding(faults.Broker, 0, true), finding(faults.BrokerPipelined, 0, true), finding(faults.Worker, 0, false),
		},
	}
	verdicts := func() (found []string) {
		var page bytes.Buffer
		report.Markdown(&page, r, "")
		for line := range strings.Lines(page.String()) {
			if strings.HasPrefix(line, "| raw | not offered") && strings.Count(line, "|") > 9 { // no measurement, but a verdict
				cells := strings.Split(line, " | ")
				found = append(found, strings.TrimSuffix(cells[len(cells)-1], " |\n"))
			}
		}
		return found
	}
	unroutable, worker := "**yes**: unroutable (1 of 9)", "**stops**: worker"
	require.Equal(t, []string{"no", unroutable, worker, "not tried", unroutable + "; " + worker}, verdicts())
	r.Faults = append(r.Faults, finding(faults.WorkerInBatches, 0, true))
	require.Equal(t, "no", verdicts()[2])
}

func TestChartIsXML(t *testing.T) {
	t.Parallel()
	var chart bytes.Buffer
	require.NoError(t, report.Chart(&chart, run()))
	text := textOf(t, &chart)
	for _, want := range []string{"other <1>", "leveret", "5500 · 1.10 × raw", "messages per second", "Publishing, confirms pipelined"} {
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
	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
	_, err = results.Load(path)
	require.ErrorContains(t, err, "no measurements")
}

func TestWaitingTimesAreOfAllRounds(t *testing.T) {
	t.Parallel()
	kept := func(ms ...int64) string {
		h := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
		for _, v := range ms {
			require.NoError(t, h.RecordValues(v*1000, 400))
		}
		encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
		require.NoError(t, err)
		return string(encoded)
	}
	r := &results.Run{Rounds: 2, Scenarios: []string{"waiters-50"}, Peers: []results.Peer{{Name: peers.Raw}, {Name: peers.Leveret}}}
	add := func(peer string, round int, times string) {
		r.Samples = append(r.Samples, runner.Sample{Scenario: "waiters-50", Peer: peer, Round: round, Result: measure.Result{
			Messages: 1000, Seconds: 1, P50: 9, P99: 9, Times: times,
		}})
	}
	add(peers.Raw, 0, kept(1, 1))
	add(peers.Raw, 1, kept(1, 20))
	add(peers.Leveret, 0, kept(2))
	add(peers.Leveret, 1, kept(2))
	var page bytes.Buffer
	report.Markdown(&page, r, "")
	require.Contains(t, page.String(), "| raw | 1000 (1000–1000) | 1 | 1.00 | 20.02 |")
	require.Contains(t, page.String(), "| **leveret** | 1000 (1000–1000) | 1.00 (1.00–1.00) | 2.00 | – |") // 800 say nothing
}
