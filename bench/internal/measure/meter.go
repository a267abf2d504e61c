package measure

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/bench/internal/wire"
	"github.com/leveretmq/leveret/pkg/measure"
)

// meter measures the resources used by the process between begin and end.
type meter struct {
	profile string
	result  Result
	started time.Time
	cpu     float64
	memory  runtime.MemStats
	out     *os.File

	tap        *wire.Tap // nil: nothing is counted
	wire       wire.Count
	goroutines int
	heap       int64
}

// rest notes what the process holds before the peer begins.
func (m *meter) rest() { m.goroutines, m.heap = held() }

func held() (goroutines int, heap int64) {
	runtime.GC()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return runtime.NumGoroutine(), int64(now.HeapAlloc + now.StackInuse)
}

// begun notes what the peer has done until it is ready, and what it holds, if that is counted. Own is the number of the
// measurement's goroutines.
func (m *meter) begun(own int) {
	if m.tap == nil {
		return
	}
	m.result.Start = m.tap.Count()
	m.holds(own)
}

// holds notes what the peer holds now.
func (m *meter) holds(own int) {
	if m.tap == nil {
		return
	}
	tapped := int(m.tap.Count().Connections)
	goroutines, heap := held()
	m.result.Goroutines = goroutines - m.goroutines - own - tapped*wire.GoroutinesEach
	m.result.Heap = heap - m.heap - int64(tapped*wire.BytesEach)
}

func (m *meter) begin() error {
	if m.profile != "" {
		var err error
		if m.out, err = os.Create(m.profile); err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(m.out); err != nil {
			return err
		}
	}
	runtime.ReadMemStats(&m.memory)
	if m.tap != nil {
		m.wire = m.tap.Count()
	}
	m.cpu, m.started = cpu(), time.Now()
	return nil
}

// end ends the measurement of the given number of messages.
func (m *meter) end(messages int64) error {
	seconds, cpu := time.Since(m.started).Seconds(), cpu()-m.cpu
	if m.tap != nil {
		m.result.Wire = m.tap.Count().Since(m.wire)
	}
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	m.result.Messages, m.result.Seconds, m.result.CPU = messages, seconds, cpu
	m.result.Allocs, m.result.Bytes = now.Mallocs-m.memory.Mallocs, now.TotalAlloc-m.memory.TotalAlloc
	if m.out != nil {
		pprof.StopCPUProfile()
		return m.out.Close()
	}
	return nil
}

// cpu returns the CPU time used by this process, in seconds.
func cpu() float64 {
	used, _ := measure.CPU()
	return used.Seconds()
}

// peakRSS returns the peak memory of the process, in bytes, and 0 where it is not known. It uses the system's high-water
// mark if available, because the maximum reported by getrusage is inherited from the parent process.
func peakRSS() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
				if err == nil {
					return kb << 10
				}
			}
		}
	}
	return maxRSS()
}

// into sets the waiting times of a result.
func into(r *Result, times *measure.Histogram) error {
	if times.Count() == 0 {
		return errors.New("nothing was measured")
	}
	r.P50, r.P99, r.Max = times.Quantile(0.5).Seconds(), times.Quantile(0.99).Seconds(), times.Max().Seconds()
	encoded, err := times.MarshalText()
	r.Times = string(encoded)
	return err
}

// Pool combines the waiting times of several results. It returns nil if there are none, or if one of them has no times.
func Pool(results []Result) *measure.Histogram {
	if len(results) == 0 {
		return nil
	}
	all := &measure.Histogram{}
	for _, r := range results {
		one := &measure.Histogram{}
		if one.UnmarshalText([]byte(r.Times)) != nil {
			return nil
		}
		all.Merge(one)
	}
	return all
}
