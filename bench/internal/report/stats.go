// Package report writes the results of a run as docs/benchmarks.md and a chart.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/leveretmq/leveret/bench/internal/measure"
	"github.com/leveretmq/leveret/bench/internal/results"
)

// spread is the middle and the ends of some numbers, and between what the middle of all that could be measured lies.
type spread struct{ Median, Min, Max, Low, High float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	low, high := interval(sorted)
	return spread{median, sorted[0], sorted[len(sorted)-1], low, high}
}

// interval holds the true median with a chance of 95 % or more, whatever the distribution: from the k-th smallest to
// the k-th largest, where k is the most for which tossing as many coins gives fewer than k heads, or tails, in 5 % or
// less. Fewer than six numbers give no interval.
func interval(sorted []float64) (low, high float64) {
	n, k := len(sorted), 0
	low, high = 0, math.Inf(1)
	exactly := math.Pow(0.5, float64(n)) // the chance of k heads
	for fewer := exactly; 2*fewer <= 0.05; fewer += exactly {
		low, high = sorted[k], sorted[n-1-k]
		exactly *= float64(n-k) / float64(k+1)
		k++
	}
	return low, high
}

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
	return spreadOf(values)
}

// ratio compares two peers round by round, so that what slows a round down slows both: the median of the rounds'
// ratios. To nothing at all it is infinite.
func ratio(run *results.Run, scenario, peer, to string, q quantity) spread {
	theirs := run.Of(scenario, to)
	var values []float64
	for round, s := range run.Of(scenario, peer) {
		if other, ok := theirs[round]; ok && (q(s.Result) > 0 || q(other.Result) > 0) {
			values = append(values, q(s.Result)/q(other.Result))
		}
	}
	return spreadOf(values)
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
	if s.Low == 0 && math.IsInf(s.High, 1) {
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
		middle, high, count = pool.At(50), pool.At(99), pool.Count()
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
