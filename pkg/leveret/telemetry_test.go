package leveret_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// meter collects measurements.
type meter struct {
	provider *sdkmetric.MeterProvider
	reader   *sdkmetric.ManualReader
}

func newMeter() *meter {
	reader := sdkmetric.NewManualReader()
	return &meter{sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), reader}
}

func (m *meter) collect(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, m.reader.Collect(t.Context(), &all))
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		for _, metric := range scope.Metrics {
			found[metric.Name] = metric
		}
	}
	return found
}

// sum returns what a counter has counted, whatever its attributes.
func (m *meter) sum(t *testing.T, name string) int64 {
	t.Helper()
	var n int64
	if s, ok := m.collect(t)[name].Data.(metricdata.Sum[int64]); ok {
		for _, p := range s.DataPoints {
			n += p.Value
		}
	}
	return n
}

// by returns what a counter has counted, by the value of one attribute.
func (m *meter) by(t *testing.T, name, key string) map[string]int64 {
	t.Helper()
	counted := map[string]int64{}
	if s, ok := m.collect(t)[name].Data.(metricdata.Sum[int64]); ok {
		for _, p := range s.DataPoints {
			v, _ := p.Attributes.Value(attribute.Key(key))
			counted[v.AsString()] += p.Value
		}
	}
	return counted
}
