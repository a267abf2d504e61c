package measure

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the longest time that a [Histogram] distinguishes.
const longest = 10 * time.Minute

// A Histogram holds times from a microsecond to ten minutes with three significant digits; shorter and longer ones
// count as those. The zero value is empty and ready to use. It is safe for concurrent use.
type Histogram struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

// times returns the histogram inside, which is made when it is first needed. The caller holds mu.
func (h *Histogram) times() *hdrhistogram.Histogram {
	if h.h == nil {
		h.h = hdrhistogram.New(1, longest.Microseconds(), 3)
	}
	return h.h
}

// Record adds a time.
func (h *Histogram) Record(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.times().RecordValue(min(max(d.Microseconds(), 1), longest.Microseconds())) // is within the limits
}

// Merge adds all times of another histogram, which stays as it is.
func (h *Histogram) Merge(other *Histogram) {
	other.mu.Lock()
	snapshot := hdrhistogram.Import(other.times().Export())
	other.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.times().Merge(snapshot)
}

// Count returns how many times it holds.
func (h *Histogram) Count() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.times().TotalCount()
}

// Quantile returns the time that a share q of all does not exceed: 0.5 for the median. It is 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Duration(h.times().ValueAtQuantile(100*q)) * time.Microsecond
}

// Max returns the longest time; 0 if there is none.
func (h *Histogram) Max() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Duration(h.times().Max()) * time.Microsecond
}

// MarshalText writes all times in the HdrHistogram format V2, compressed and in base 64.
func (h *Histogram) MarshalText() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.times().Encode(hdrhistogram.V2CompressedEncodingCookieBase)
}

// UnmarshalText reads what MarshalText writes, in place of what h holds.
func (h *Histogram) UnmarshalText(text []byte) error {
	decoded, err := hdrhistogram.Decode(text)
	if err != nil {
		return fmt.Errorf("not a histogram: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.h = decoded
	return nil
}
