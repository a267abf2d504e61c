package growth

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLaws(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 10, 50, 100}
	of := func(f func(n float64) float64) (values []float64) {
		for _, n := range sizes {
			values = append(values, f(float64(n)))
		}
		return values
	}
	for name, c := range map[string]struct {
		values []float64
		tolerance
		want string
	}{
		"nothing":           {of(func(float64) float64 { return 0 }), counted, "constant"},
		"noise":             {[]float64{3, 3.1, 3.3, 3}, counted, "constant"},
		"more than noise":   {[]float64{3, 3.7, 3, 3.7}, counted, "up and down"},
		"noise of a clock":  {[]float64{1, 1.9, 1, 1.5}, timed, "constant"},
		"below the floor":   {[]float64{0.001, 0.2, 0.01, 0.1}, lasting, "constant"},
		"above the floor":   {[]float64{0.001, 0.26, 1, 2.1}, lasting, "linear: 0.17, and 0.016 for each"},
		"a line":            {of(func(n float64) float64 { return 12 + 4*n }), counted, "linear: 12.0, and 4.00 for each"},
		"through nothing":   {of(func(n float64) float64 { return 2 * n }), counted, "linear: 2.00 for each"},
		"levels off":        {[]float64{10, 100, 101, 99}, counted, "constant from 10 on"},
		"saturates":         {[]float64{34, 61, 63, 64}, stored, "constant from 10 on"},
		"root":              {of(math.Sqrt), counted, "grows, with the power 0.5"},
		"square":            {of(func(n float64) float64 { return n * n }), counted, "grows, with the power 2.0"},
		"falls":             {of(func(n float64) float64 { return 1 / n }), timed, "falls, with the power -1.0"},
		"a line with noise": {[]float64{2, 20, 160, 200}, counted, "about as the size"},
	} {
		require.Equal(t, c.want, lawOf(sizes, c.values, c.tolerance).String(), name)
	}
	require.Equal(t, "–", lawOf(sizes[:1], []float64{1}, counted).String())
	require.Equal(t, "not constant", lawOf(sizes[:2], []float64{1, 10}, counted).String())
	require.Equal(t, "constant", lawOf(sizes[:2], []float64{1, 1}, counted).String())
}
