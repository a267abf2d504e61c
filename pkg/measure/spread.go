package measure

import (
	"encoding/json"
	"math"
	"slices"
)

// A Spread is the middle and the ends of the figures of several rounds. Between Low and High lies the middle of all
// that could be measured, with a chance of 95 % or more, whatever the distribution. Where there are too few rounds to
// say so, Low is 0 and High is infinite: see HasInterval. Without any figures, all five are NaN.
//
// In JSON, a figure that is not finite is null.
type Spread struct{ Median, Min, Max, Low, High float64 }

// SpreadOf returns the spread of some figures that are not negative.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	low, high := interval(sorted)
	return Spread{median, sorted[0], sorted[len(sorted)-1], low, high}
}

// interval reaches from the k-th smallest figure to the k-th largest, where k is the most for which tossing as many
// coins gives fewer than k heads, or tails, in 5 % or less. Fewer than six figures give no interval.
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

// Ratio compares two things round by round, so that what slows a round down slows both: the spread of the ratios of
// all rounds that both have, by the rounds' numbers. A round in which both are 0 is left out; a ratio to 0 is infinite.
func Ratio(of, to map[int]float64) Spread {
	var values []float64
	for round, v := range of {
		if other, ok := to[round]; ok && (v > 0 || other > 0) {
			values = append(values, v/other)
		}
	}
	return SpreadOf(values)
}

// Known reports whether there are any figures.
func (s Spread) Known() bool { return !math.IsNaN(s.Median) }

// HasInterval reports whether there were enough rounds for Low and High.
func (s Spread) HasInterval() bool { return s.Known() && (s.Low != 0 || !math.IsInf(s.High, 1)) }

// Undecided reports whether the middle of all that could be measured may be v: v lies in the interval, or there is
// none. Of a [Ratio], Undecided(1) says that no difference was found.
func (s Spread) Undecided(v float64) bool { return !s.HasInterval() || s.Low <= v && v <= s.High }

// spreadJSON is a spread as JSON.
type spreadJSON struct {
	Median *float64 `json:"median"`
	Min    *float64 `json:"min"`
	Max    *float64 `json:"max"`
	Low    *float64 `json:"low"`
	High   *float64 `json:"high"`
}

// MarshalJSON writes null for what is not finite, and for an interval that there is not.
func (s Spread) MarshalJSON() ([]byte, error) {
	finite := func(v float64) *float64 {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
		return &v
	}
	j := spreadJSON{Median: finite(s.Median), Min: finite(s.Min), Max: finite(s.Max)}
	if s.HasInterval() {
		j.Low, j.High = finite(s.Low), finite(s.High)
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes. A null is NaN, or in a spread with figures, where only the end of an
// interval or the largest figure can be missing, infinite.
func (s *Spread) UnmarshalJSON(text []byte) error {
	var j spreadJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	or := func(v *float64, missing float64) float64 {
		if v == nil {
			return missing
		}
		return *v
	}
	if j.Min == nil && j.Median == nil {
		*s = SpreadOf(nil)
		return nil
	}
	inf := math.Inf(1)
	*s = Spread{or(j.Median, inf), or(j.Min, inf), or(j.Max, inf), or(j.Low, 0), or(j.High, inf)}
	return nil
}
