package measure_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/measure"
)

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h, other measure.Histogram
	require.Zero(t, h.Quantile(0.5))
	require.Zero(t, h.Count())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ms := range 250 {
				h.Record(time.Duration(ms+1) * time.Millisecond)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1000, h.Count())
	require.InEpsilon(t, 125*time.Millisecond, h.Quantile(0.5), 0.002)
	require.InEpsilon(t, 250*time.Millisecond, h.Max(), 0.002)

	other.Record(-time.Second)
	other.Record(time.Hour)
	require.Equal(t, time.Microsecond, other.Quantile(0.1))
	require.InEpsilon(t, 10*time.Minute, other.Max(), 0.002)
	h.Merge(&other)
	h.Merge(&h)
	require.EqualValues(t, 2004, h.Count())
	require.EqualValues(t, 2, other.Count())

	encoded, err := json.Marshal(&h)
	require.NoError(t, err)
	var decoded measure.Histogram
	require.NoError(t, json.Unmarshal(encoded, &decoded))
	require.Equal(t, h.Count(), decoded.Count())
	require.Equal(t, h.Quantile(0.99), decoded.Quantile(0.99))
	require.ErrorContains(t, decoded.UnmarshalText([]byte("no")), "not a histogram")
}
