package cli

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// A pace spreads messages over time. A nil pace does not.
type pace struct{ limiter *rate.Limiter }

// parsePace reads --rate: 50/s, 50 (the same), 3000/m, 10/h.
func parsePace(text string) (*pace, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // a nil pace does not hold back
	}
	number, unit, given := strings.Cut(text, "/")
	per, ok := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || given && unit == "" || !(n > 0) || n > 1e9 {
		return nil, usage("", "--rate is %q; it must be a number of messages per s, m or h, such as 50/s", text)
	}
	return &pace{rate.NewLimiter(rate.Limit(n/per.Seconds()), 1)}, nil
}

// wait blocks until the next message may be sent, or ctx ends.
func (p *pace) wait(ctx context.Context) error {
	if p == nil {
		return ctx.Err()
	}
	return p.limiter.Wait(ctx)
}

// within returns how many messages may be sent within a time, at least one.
func (p *pace) within(d time.Duration) int {
	if p == nil {
		return math.MaxInt
	}
	return max(int(float64(p.limiter.Limit())*d.Seconds()), 1)
}
