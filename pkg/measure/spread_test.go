package measure_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/measure"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	inf := math.Inf(1)
	for _, c := range []struct {
		values []float64
		want   measure.Spread
	}{
		{[]float64{3}, measure.Spread{Median: 3, Min: 3, Max: 3, High: inf}},
		{[]float64{1, 4, 2, 3, 5}, measure.Spread{Median: 3, Min: 1, Max: 5, High: inf}},
		{[]float64{6, 1, 4, 2, 3, 5}, measure.Spread{Median: 3.5, Min: 1, Max: 6, Low: 1, High: 6}},             // 2/64 of the medians lie outside
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9}, measure.Spread{Median: 5, Min: 1, Max: 9, Low: 2, High: 8}},      // 20/512
		{[]float64{1, 2, 3, 4, 5, 6, 7, inf}, measure.Spread{Median: 4.5, Min: 1, Max: inf, Low: 1, High: inf}}, // 2/256; 18/256 for one less
	} {
		require.Equal(t, c.want, measure.SpreadOf(c.values))
	}
	require.False(t, measure.SpreadOf(nil).Known())
	require.False(t, measure.SpreadOf(nil).HasInterval())
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	t.Parallel()
	of := map[int]float64{0: 2, 1: 20, 2: 6, 3: 0, 4: 1}
	to := map[int]float64{0: 1, 1: 10, 2: 2, 3: 0, 5: 1}
	require.Equal(t, measure.Spread{Median: 2, Min: 2, Max: 3, High: math.Inf(1)}, measure.Ratio(of, to))
	require.True(t, math.IsInf(measure.Ratio(map[int]float64{0: 1}, map[int]float64{0: 0}).Median, 1))
}

func TestUndecided(t *testing.T) {
	t.Parallel()
	six := func(values ...float64) measure.Spread { return measure.SpreadOf(values) }
	require.True(t, six(1.1, 1.2, 1.3).Undecided(1), "too few rounds")
	require.True(t, six(1.1, 1.2, 1.3, 1.4, 1.5, 0.99).Undecided(1))
	require.False(t, six(1.1, 1.2, 1.3, 1.4, 1.5, 1.01).Undecided(1))
	require.False(t, six(0.1, 0.2, 0.3, 0.4, 0.5, 0.6).Undecided(1))
	require.True(t, six().Undecided(1))
}

func TestSpreadAsJSON(t *testing.T) {
	t.Parallel()
	for _, values := range [][]float64{{1, 2, 3, 4, 5, 6}, {1, 2}, {0, 0}, {1, math.Inf(1)}, {math.Inf(1), 1, 1, 1, 1, 1, 1}} {
		s := measure.SpreadOf(values)
		encoded, err := json.Marshal(s)
		require.NoError(t, err)
		var decoded measure.Spread
		require.NoError(t, json.Unmarshal(encoded, &decoded))
		require.Equal(t, s, decoded, string(encoded))
	}
	encoded, err := json.Marshal(measure.SpreadOf([]float64{1, 3}))
	require.NoError(t, err)
	require.JSONEq(t, `{"median": 2, "min": 1, "max": 3, "low": null, "high": null}`, string(encoded))
	encoded, err = json.Marshal(measure.SpreadOf(nil))
	require.NoError(t, err)
	var decoded measure.Spread
	require.NoError(t, json.Unmarshal(encoded, &decoded))
	require.False(t, decoded.Known())
}
