package compare

import (
	"encoding/json"
	"math"

	"github.com/leveretmq/leveret/pkg/measure"
)

// A Figure is a number. NaN means that it is not known, and is null in JSON.
type Figure float64

// MarshalJSON writes null for what is not finite.
func (f Figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

// UnmarshalJSON reads null as NaN.
func (f *Figure) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*f = Figure(math.NaN())
		return nil
	}
	return json.Unmarshal(text, (*float64)(f))
}

// Figures are what is measured of a way under one load, in one round as [Figure]s, and in all as measure.Spreads.
type Figures[T any] struct {
	// Throughput is in operations a second that were done.
	Throughput T `json:"throughput_per_second"`
	// P50, P95 and P99 are what the caller waits, from when the operation was due, in milliseconds.
	P50 T `json:"p50_ms"`
	P95 T `json:"p95_ms"`
	P99 T `json:"p99_ms"`
	// EffectP50, EffectP95 and EffectP99 are the times until the effect.
	EffectP50 T `json:"effect_p50_ms"`
	EffectP95 T `json:"effect_p95_ms"`
	EffectP99 T `json:"effect_p99_ms"`
	// CallerCPU, ReceiversCPU and BrokerCPU are what an operation takes of them, in microseconds.
	CallerCPU    T `json:"caller_cpu_us"`
	ReceiversCPU T `json:"receivers_cpu_us"`
	BrokerCPU    T `json:"broker_cpu_us"`
}

// A Metric names one of the [Figures].
type Metric string

// The metrics.
const (
	Throughput   Metric = "throughput_per_second"
	P50          Metric = "p50_ms"
	P95          Metric = "p95_ms"
	P99          Metric = "p99_ms"
	EffectP50    Metric = "effect_p50_ms"
	EffectP95    Metric = "effect_p95_ms"
	EffectP99    Metric = "effect_p99_ms"
	CallerCPU    Metric = "caller_cpu_us"
	ReceiversCPU Metric = "receivers_cpu_us"
	BrokerCPU    Metric = "broker_cpu_us"
)

// metrics are all of them.
var metrics = []Metric{Throughput, P50, P95, P99, EffectP50, EffectP95, EffectP99, CallerCPU, ReceiversCPU, BrokerCPU}

// Of returns the figure that a metric names; nil for a name that there is not.
func (f *Figures[T]) Of(m Metric) *T {
	return map[Metric]*T{
		Throughput: &f.Throughput, P50: &f.P50, P95: &f.P95, P99: &f.P99,
		EffectP50: &f.EffectP50, EffectP95: &f.EffectP95, EffectP99: &f.EffectP99,
		CallerCPU: &f.CallerCPU, ReceiversCPU: &f.ReceiversCPU, BrokerCPU: &f.BrokerCPU,
	}[m]
}

// A Sample is what was measured in one round.
type Sample struct {
	Round int `json:"round"`
	Figures[Figure]
}

// byRound returns one figure of each round in which it is known.
func byRound(samples []Sample, m Metric) map[int]float64 {
	all := make(map[int]float64)
	for _, s := range samples {
		if v := float64(*s.Of(m)); !math.IsNaN(v) {
			all[s.Round] = v
		}
	}
	return all
}

// spreadOf returns the spread of all figures.
func spreadOf(samples []Sample) (f Figures[measure.Spread]) {
	for _, m := range metrics {
		var values []float64
		for _, v := range byRound(samples, m) {
			values = append(values, v)
		}
		*f.Of(m) = measure.SpreadOf(values)
	}
	return f
}
