package measure

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// meter measures the resources used by the process between begin and end.
type meter struct {
	profile string
	result  Result
	started time.Time
	cpu     float64
	memory  runtime.MemStats
	out     *os.File
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
	m.cpu, m.started = cpuTime(), time.Now()
	return nil
}

// end ends the measurement of the given number of messages.
func (m *meter) end(messages int64) error {
	seconds, cpu := time.Since(m.started).Seconds(), cpuTime()-m.cpu
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

// cpuTime returns the CPU time used by this process, in seconds.
func cpuTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// peakRSS returns the peak memory of the process, in bytes. It uses the system's high-water mark if available, because
// the maximum reported by getrusage is inherited from the parent process.
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
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Maxrss // bytes on macOS
}

// histogram collects waiting times from several goroutines.
type histogram struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

// newHistogram returns a histogram from a microsecond to ten minutes, with three significant digits.
func newHistogram() *histogram {
	return &histogram{h: hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)}
}

func (h *histogram) record(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.h.RecordValue(min(max(d.Microseconds(), 1), (10 * time.Minute).Microseconds()))
}

func (h *histogram) into(r *Result) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.h.TotalCount() == 0 {
		return fmt.Errorf("nothing was measured")
	}
	r.P50 = float64(h.h.ValueAtQuantile(50)) / 1e6
	r.P99 = float64(h.h.ValueAtQuantile(99)) / 1e6
	r.Max = float64(h.h.Max()) / 1e6
	encoded, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	r.Times = string(encoded)
	return err
}

// Waits are the combined waiting times of several measurements.
type Waits struct{ h *hdrhistogram.Histogram }

// Pool combines the waiting times of several results. It returns nil if there are none, or if one of them has no times.
func Pool(results []Result) *Waits {
	var all *hdrhistogram.Histogram
	for _, r := range results {
		one, err := hdrhistogram.Decode([]byte(r.Times))
		switch {
		case err != nil:
			return nil
		case all == nil:
			all = one
		default:
			all.Merge(one)
		}
	}
	if all == nil {
		return nil
	}
	return &Waits{all}
}

// Count returns the number of waiting times.
func (w *Waits) Count() int64 { return w.h.TotalCount() }

// At returns the given percentile in seconds.
func (w *Waits) At(percent float64) float64 { return float64(w.h.ValueAtQuantile(percent)) / 1e6 }
