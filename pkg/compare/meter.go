package compare

import (
	"math"
	"time"

	"github.com/leveretmq/leveret/pkg/measure"
)

// A meter measures the CPU time of all sides.
type meter struct{ caller, receivers, broker cpu }

// meter begins with the others: reading their time takes the caller's.
func (c *Comparison) meter() (m meter) {
	m.broker = begin(sumOf(c.config.Broker, measure.CPUOfTree))
	m.receivers = begin(sumOf(c.config.Receivers, measure.CPUOf))
	m.caller = begin(measure.CPU)
	return m
}

// cpu is the CPU time of one side, between begin and end.
type cpu struct {
	read  func() (time.Duration, bool)
	at    time.Duration
	used  time.Duration
	known bool
}

func begin(read func() (time.Duration, bool)) cpu {
	at, known := read()
	return cpu{read: read, at: at, known: known}
}

func (c *cpu) end() {
	now, known := c.read()
	c.used, c.known = now-c.at, c.known && known
}

// per returns the microseconds for each of n operations; NaN where they are not known.
func (c *cpu) per(n int) Figure {
	if !c.known || n == 0 {
		return Figure(math.NaN())
	}
	return Figure(c.used.Seconds() * 1e6 / float64(n))
}

// sumOf reads the CPU time of several processes; it is known if that of each is.
func sumOf(pids func() []int, of func(pid int) (time.Duration, bool)) func() (time.Duration, bool) {
	return func() (sum time.Duration, ok bool) {
		if pids == nil {
			return 0, false
		}
		for _, pid := range pids() {
			used, known := of(pid)
			if !known {
				return 0, false
			}
			sum, ok = sum+used, true
		}
		return sum, ok
	}
}
