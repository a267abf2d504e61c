package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/measure"
)

// SpeedConfig is how speed is measured. The zero value of a field is its default.
type SpeedConfig struct {
	// Rounds is how often everything is measured, in another order each time. Default 10; fewer than 6 give no interval.
	Rounds int
	// Rate is in operations a second. Default 200.
	Rate float64
	// InFlight are the numbers in flight, flat out. Default 1, 16 and 64.
	InFlight []int
	// Warm is how long each load runs before it is measured, and For how long it is. Default 300 ms and 2 s.
	Warm, For time.Duration
}

// A Load is one that ways are measured under: a fixed rate, or a number in flight.
type Load struct {
	Rate     float64 `json:"rate,omitempty"`
	InFlight int     `json:"in_flight,omitempty"`
}

// String returns "200 a second" or "16 in flight".
func (l Load) String() string {
	if l.InFlight > 0 {
		return fmt.Sprintf("%d in flight", l.InFlight)
	}
	return fmt.Sprintf("%g a second", l.Rate)
}

// Speed is what one way did under one load.
type Speed struct {
	Load  Load   `json:"load"`
	Way   string `json:"way"`
	Label string `json:"label"`
	Figures[measure.Spread]
	// Ledger is that of all rounds.
	Ledger  measure.Balance `json:"ledger"`
	Samples []Sample        `json:"samples"`
}

// Speed measures all ways but those with retries, round by round: under each load one way after the other, in an order
// that rotates. The connections are warm. At a fixed rate, times count from when an operation was due. It returns a row
// for each load and way. A way of which nothing was done under a load is an error.
func (c *Comparison) Speed(ctx context.Context, config SpeedConfig) ([]Speed, error) {
	config.Rounds = cmp.Or(config.Rounds, 10)
	config.Rate = cmp.Or(config.Rate, 200)
	config.Warm, config.For = cmp.Or(config.Warm, 300*time.Millisecond), cmp.Or(config.For, 2*time.Second)
	if config.InFlight == nil {
		config.InFlight = []int{1, 16, 64}
	}
	ways := slices.DeleteFunc(slices.Clone(c.config.Ways), func(w Way) bool { return w.Retries })
	var rows []Speed
	for _, w := range ways {
		rows = append(rows, Speed{Load: Load{Rate: config.Rate}, Way: w.Name, Label: w.Label})
	}
	for _, n := range config.InFlight {
		for _, w := range ways {
			rows = append(rows, Speed{Load: Load{InFlight: n}, Way: w.Name, Label: w.Label})
		}
	}
	step := c.steps("speed", config.Rounds*len(rows))
	for _, w := range ways {
		if err := c.warm(ctx, w); err != nil {
			return nil, err
		}
	}
	for round := range config.Rounds {
		for first := 0; first < len(rows); first += len(ways) {
			for i := range ways {
				n := (i + round) % len(ways)
				row := &rows[first+n]
				step(fmt.Sprintf("round %d of %d: %s, %s", round+1, config.Rounds, row.Label, row.Load))
				if err := c.sample(ctx, row, ways[n], round, config); err != nil {
					return nil, fmt.Errorf("%s, %s: %w", row.Label, row.Load, err)
				}
			}
		}
	}
	step("")
	for i := range rows {
		rows[i].Figures = spreadOf(rows[i].Samples)
	}
	return rows, nil
}

// warm opens the connections of a way.
func (c *Comparison) warm(ctx context.Context, w Way) error {
	a := c.open(w)
	defer c.release(a)
	a.limit *= 12 // these are not measured, and the comparison ends if one of them fails
	for range 16 {
		if err := a.do(ctx, time.Now()); err != nil {
			return fmt.Errorf("%s: the first operations: %w", w.Label, err)
		}
	}
	return c.settle(ctx, false, a)
}

// sample measures one way under one load in one round.
func (c *Comparison) sample(ctx context.Context, row *Speed, w Way, round int, config SpeedConfig) error {
	a := c.open(w)
	defer c.release(a)
	var meter meter
	var began, ended time.Time
	var err error
	if row.Load.InFlight > 0 {
		loop := measure.ClosedLoop{
			InFlight: row.Load.InFlight, Warm: config.Warm, For: config.For,
			Begin: func() error { meter = c.meter(); return nil }, End: func(int64) error { meter.caller.end(); return nil },
		}
		var window measure.Window
		window, err = loop.Run(ctx, func(ctx context.Context, _ int64) error {
			if a.do(ctx, time.Now()) != nil {
				wait(ctx, between) // so that what fails at once does not take all of the CPU
			}
			return nil
		})
		began, ended = window.Began, window.Began.Add(window.Length)
	} else {
		warming := c.open(w)
		defer c.release(warming)
		pace := func(a *account, d time.Duration) error {
			loop := measure.OpenLoop{
				Rate: row.Load.Rate, Operations: max(int(d.Seconds()*row.Load.Rate), 1), Sleep: c.config.Sleep,
			}
			return loop.Run(ctx, func(_ int, due time.Time) { _ = a.do(ctx, due) })
		}
		err = pace(warming, config.Warm)
		meter = c.meter()
		began = time.Now()
		err = errors.Join(err, pace(a, config.For))
		meter.caller.end()
		ended = time.Now()
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	if err := c.settle(ctx, false, a); err != nil {
		return err
	}
	meter.receivers.end()
	meter.broker.end()
	s := a.sample(began, ended, &meter)
	if s.Throughput == 0 {
		return errors.Join(errors.New("nothing was done"), a.err)
	}
	s.Round = round
	row.Samples = append(row.Samples, s)
	row.Ledger = row.Ledger.Plus(a.ledger.Balance())
	return nil
}

// sample computes the figures of what was asked between two times, and done.
func (a *account) sample(began, ended time.Time, m *meter) (s Sample) {
	var waits, effects measure.Histogram
	asked, within, handled, last := 0, 0, 0, ended
	for _, o := range a.ledger.Operations() {
		done, ok := a.done(o)
		if ok && done.After(began) && (a.way.Async || !done.After(ended)) {
			within++
		}
		if a.way.Async && ok && done.After(last) {
			last = done
		}
		// All that the receivers' and the broker's time was used for: what is done after the window, too, and what was still
		// queued before it.
		if !o.Asked.Before(began) || a.way.Async && ok && done.After(began) {
			handled++
		}
		if o.Asked.Before(began) || o.Asked.After(ended) || !ok {
			continue
		}
		asked++
		waits.Record(o.Reported.Sub(o.Asked))
		if o.Effects > 0 {
			effects.Record(o.First.Sub(o.Asked))
		}
	}
	ended = last // for an asynchronous way, when the last of them had its effect
	s.Throughput = Figure(float64(within) / ended.Sub(began).Seconds())
	for h, into := range map[*measure.Histogram][3]*Figure{
		&waits: {&s.P50, &s.P95, &s.P99}, &effects: {&s.EffectP50, &s.EffectP95, &s.EffectP99},
	} {
		for i, q := range []float64{0.5, 0.95, 0.99} {
			*into[i] = Figure(math.NaN())
			if h.Count() > 0 {
				*into[i] = Figure(h.Quantile(q).Seconds() * 1e3)
			}
		}
	}
	s.CallerCPU = m.caller.per(asked)
	if !a.way.Async {
		s.CallerCPU = m.caller.per(max(within, asked))
	}
	s.ReceiversCPU, s.BrokerCPU = m.receivers.per(handled), m.broker.per(handled)
	return s
}

// A Ratio compares two ways round by round.
type Ratio struct {
	Load   Load   `json:"load"`
	Way    string `json:"way"`
	To     string `json:"to"`
	Metric Metric `json:"metric"`
	// Ratio is the spread of the rounds' ratios.
	Ratio measure.Spread `json:"ratio"`
	// Undecided says that the two may be the same: 1 lies in the interval, or there are too few rounds for one.
	Undecided bool `json:"undecided"`
}

// RatioOf returns the ratio of two rows with the same load.
func RatioOf(row, to Speed, m Metric) Ratio {
	spread := measure.Ratio(byRound(row.Samples, m), byRound(to.Samples, m))
	return Ratio{row.Load, row.Way, to.Way, m, spread, spread.Undecided(1)}
}

// Ratios compares every way with the first one under the same load.
func Ratios(rows []Speed) []Ratio {
	var all []Ratio
	first := make(map[Load]Speed)
	for _, row := range rows {
		to, ok := first[row.Load]
		if !ok {
			first[row.Load] = row
			continue
		}
		for _, m := range []Metric{Throughput, P50, P99, CallerCPU, ReceiversCPU, BrokerCPU} {
			if r := RatioOf(row, to, m); r.Ratio.Known() {
				all = append(all, r)
			}
		}
	}
	return all
}
