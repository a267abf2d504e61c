// Package report writes the results of a run as docs/benchmarks.md and a chart.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/results"
	shared "github.com/leveretmq/leveret/pkg/measure"
)

// spread is what the rounds of a measurement come to.
type spread struct{ shared.Spread }

// A quantity is one number of a measurement.
type quantity func(measure.Result) float64

var (
	rate   quantity = measure.Result.Rate
	p50    quantity = func(r measure.Result) float64 { return r.P50 }
	p99    quantity = func(r measure.Result) float64 { return r.P99 }
	cpu    quantity = func(r measure.Result) float64 { return r.PerMessage(r.CPU) }
	allocs quantity = func(r measure.Result) float64 { return r.PerMessage(float64(r.Allocs)) }
	heap   quantity = func(r measure.Result) float64 { return r.PerMessage(float64(r.Bytes)) }
	rss    quantity = func(r measure.Result) float64 { return float64(r.PeakRSS) }
	length quantity = func(r measure.Result) float64 { return r.Seconds }

	serverCPU quantity = func(r measure.Result) float64 { return r.Extra["server CPU"] }
)

// over returns a quantity of all rounds of a scenario with a peer.
func over(run *results.Run, scenario, peer string, q quantity) spread {
	var values []float64
	for _, s := range run.Of(scenario, peer) {
		values = append(values, q(s.Result))
	}
	return spread{shared.SpreadOf(values)}
}

// ratio compares two peers round by round, so that what slows a round down slows both: the median of the rounds'
// ratios. To nothing at all it is infinite.
func ratio(run *results.Run, scenario, peer, to string, q quantity) spread {
	all := func(peer string) map[int]float64 {
		values := make(map[int]float64)
		for round, s := range run.Of(scenario, peer) {
			values[round] = q(s.Result)
		}
		return values
	}
	return spread{shared.Ratio(all(peer), all(to))}
}

// known reports whether v is a number, possibly infinite.
func known(v float64) bool { return !math.IsNaN(v) }

// times formats a ratio.
func times(v float64) string {
	if math.IsInf(v, 1) {
		return "∞"
	}
	return fmt.Sprintf("%.2f", v)
}

// between formats the smallest and largest of some ratios.
func (s spread) between() string { return times(s.Min) + "–" + times(s.Max) }

// within formats the interval of a ratio, or a dash if there is none.
func (s spread) within() string {
	if !s.HasInterval() {
		return "–"
	}
	return times(s.Low) + "–" + times(s.High)
}

// leastForP99 is the number of waiting times required for a meaningful 99th percentile.
const leastForP99 = 1000

// waits returns p50 and p99 of a scenario with a peer, in seconds, of all rounds together: where only each round's are
// known, their medians. Without a value they are NaN, and so is p99 of too few.
func waits(run *results.Run, scenario, peer string) (middle, high float64) {
	var all []measure.Result
	var count int64
	for _, s := range run.Of(scenario, peer) {
		all = append(all, s.Result)
		count += s.Result.Messages
	}
	middle, high = over(run, scenario, peer, p50).Median, over(run, scenario, peer, p99).Median
	if pool := measure.Pool(all); pool != nil {
		middle, high, count = pool.Quantile(0.5).Seconds(), pool.Quantile(0.99).Seconds(), pool.Count()
	}
	if middle == 0 {
		return math.NaN(), math.NaN()
	}
	if count < leastForP99 {
		high = math.NaN()
	}
	return middle, high
}

// rounds returns the number of rounds in which a scenario was measured with any peer.
func rounds(run *results.Run, scenario string) int {
	seen := make(map[int]bool)
	for _, s := range run.Samples {
		if s.Scenario == scenario {
			seen[s.Round] = true
		}
	}
	return len(seen)
}

// byRate sorts the names of peers by what they did of a scenario, the quickest first.
func byRate(run *results.Run, scenario string, names []string) []string {
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int {
		return cmp.Compare(over(run, scenario, b, rate).Median, over(run, scenario, a, rate).Median)
	})
	return sorted
}
