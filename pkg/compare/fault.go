package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/measure"
)

// A Fault breaks something, and heals it.
type Fault struct {
	// Name is for programs ("receivers-dead"), and Label for people ("Receivers dead for 5 s").
	Name, Label string
	// Inflict breaks something and returns when it is broken: when the processes have ended, say. A fault that heals
	// itself, such as a restart of one receiver after the other, is over when Inflict returns.
	Inflict func(ctx context.Context) error
	// For is the time between the return of Inflict and the call of Heal.
	For time.Duration
	// Heal returns when everything works again: when the processes say that they are ready. It is not called where ctx
	// has ended. Optional.
	Heal func(ctx context.Context) error
}

// FaultsConfig is how faults are tried. The zero value of an optional field is its default.
type FaultsConfig struct {
	Faults []Fault
	// Rounds is how often each is tried. Default 1; fewer than 6 give no intervals.
	Rounds int
	// Rate is the load of each way, in operations a second. Default 50.
	Rate float64
	// Before and After are how long the load runs before a fault and after its end. Default 3 s and 10 s.
	Before, After time.Duration
	// Alone tries a fault with one way after the other. By default all ways run at once, so that each of them meets the
	// very same fault; then the rate must be one at which they do not disturb each other.
	Alone bool
	// Factor and Floor say what is normal: see [FaultTrial]. Default 3, and 50 ms.
	Factor float64
	Floor  time.Duration
}

// FaultRow is what became of the work of one way in one kind of fault.
type FaultRow struct {
	Fault      string `json:"fault"`
	FaultLabel string `json:"fault_label"`
	Way        string `json:"way"`
	Label      string `json:"label"`
	// Ledger is that of all rounds together.
	Ledger measure.Balance `json:"ledger"`
	// LongestWait and UntilNormal are in seconds, over the rounds.
	LongestWait measure.Spread `json:"longest_wait_seconds"`
	UntilNormal measure.Spread `json:"until_normal_seconds"`
	Trials      []FaultTrial   `json:"trials"`
}

// FaultTrial is one round of a fault. Times are in seconds.
type FaultTrial struct {
	Round int `json:"round"`
	// Lasted is the time between the call of Inflict and the return of Heal.
	Lasted float64         `json:"lasted_seconds"`
	Ledger measure.Balance `json:"ledger"`
	// LongestWait is the longest time from when an operation was due until the caller was answered, whatever it was, or,
	// where nobody waits for an answer, until the effect.
	LongestWait Figure `json:"longest_wait_seconds"`
	// LongestSend is the longest time until the caller was answered, where it does not wait for the effect; else null.
	LongestSend Figure `json:"longest_send_seconds"`
	// Limit is what is still normal: Factor times the 95th percentile of what was due in the second half of the time
	// before the fault, and over when the fault began; at least Floor. An operation is normal if it was reported ok and
	// done within the limit; "done" is the reply, or for an asynchronous way the effect.
	Limit Figure `json:"limit_seconds"`
	// UntilNormal is the time from the end of the fault to the first second of which at least 95 % of the operations are
	// normal, in steps of 0.1 s. It is infinite where the load ended before, and NaN where less was normal before the
	// fault, and Limit infinite. In JSON, both are null.
	UntilNormal Figure `json:"until_normal_seconds"`
	// Disturbed counts the operations of the whole trial that were not normal. If it is 0, the fault did not reach this
	// way.
	Disturbed int `json:"disturbed"`
	// Error is the first error that was reported, if any.
	Error string `json:"error,omitempty"`
}

// trial is one round of a fault with some ways.
type trial struct {
	fault              Fault
	round              int
	began, ended, last time.Time // of the fault, and when the last operations were due
	accounts           []*account
}

// Faults tries each fault, round by round, under a steady load. It returns a row for each fault and way. The ledgers
// are closed at the end of all, so that what comes very late is not taken for lost.
func (c *Comparison) Faults(ctx context.Context, config FaultsConfig) ([]FaultRow, error) {
	config.Rounds, config.Rate = cmp.Or(config.Rounds, 1), cmp.Or(config.Rate, 50)
	config.Before, config.After = cmp.Or(config.Before, 3*time.Second), cmp.Or(config.After, 10*time.Second)
	config.Factor, config.Floor = cmp.Or(config.Factor, 3), cmp.Or(config.Floor, 50*time.Millisecond)
	groups := [][]Way{c.config.Ways}
	if config.Alone {
		groups = nil
		for _, w := range c.config.Ways {
			groups = append(groups, []Way{w})
		}
	}
	for _, w := range c.config.Ways {
		if err := c.warm(ctx, w); err != nil {
			return nil, err
		}
	}
	step := c.steps("faults", config.Rounds*len(config.Faults)*len(groups)*len(stages))
	var trials []*trial
	for round := range config.Rounds {
		for _, f := range config.Faults {
			for _, ways := range groups {
				t := &trial{fault: f, round: round}
				for _, w := range ways {
					t.accounts = append(t.accounts, c.open(w))
				}
				trials = append(trials, t)
				if err := c.try(ctx, t, config, step); err != nil {
					return nil, fmt.Errorf("%s: %w", f.Label, err)
				}
			}
		}
	}
	if _, err := c.collect(ctx); err != nil {
		return nil, err
	}
	step("")
	var rows []FaultRow
	for _, f := range config.Faults {
		for _, w := range c.config.Ways {
			rows = append(rows, rowOf(f, w, trials, config))
		}
	}
	for _, t := range trials {
		for _, a := range t.accounts {
			c.release(a)
		}
	}
	return rows, nil
}

// stages are the steps of a trial.
var stages = []string{"before", "during", "after", "settling"}

// try runs the load and, in the middle of it, the fault.
func (c *Comparison) try(ctx context.Context, t *trial, config FaultsConfig, step func(string)) error {
	schedule, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(t.accounts))
	var all sync.WaitGroup
	for i, a := range t.accounts {
		loop := measure.OpenLoop{
			Rate: config.Rate, Sleep: c.config.Sleep,
			First: time.Duration(float64(i) / float64(len(t.accounts)) / config.Rate * float64(time.Second)),
		}
		all.Go(func() { errs[i] = loop.Run(schedule, func(_ int, due time.Time) { _ = a.do(ctx, due) }) })
	}
	stage := func(n int) { step(t.fault.Label + ": " + stages[n]) }
	err := func() error {
		stage(0)
		if !wait(ctx, config.Before) {
			return ctx.Err()
		}
		stage(1)
		t.began = time.Now()
		err := t.fault.Inflict(ctx)
		if err == nil {
			wait(ctx, t.fault.For)
		}
		if t.fault.Heal != nil && ctx.Err() == nil {
			err = errors.Join(err, t.fault.Heal(ctx))
		}
		t.ended = time.Now()
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		stage(2)
		if !wait(ctx, config.After) {
			return ctx.Err()
		}
		return nil
	}()
	t.last = time.Now()
	stop()
	all.Wait()
	if err := errors.Join(slices.Concat(errs, []error{err})...); err != nil {
		return err
	}
	stage(3)
	return c.settle(ctx, true, t.accounts...)
}

// rowOf closes the ledgers of one way in one fault.
func rowOf(f Fault, w Way, trials []*trial, config FaultsConfig) FaultRow {
	row := FaultRow{Fault: f.Name, FaultLabel: f.Label, Way: w.Name, Label: w.Label}
	var longest, until []float64
	for _, t := range trials {
		for _, a := range t.accounts {
			if t.fault.Name != f.Name || a.way.Name != w.Name {
				continue
			}
			one := t.close(a, config)
			row.Trials = append(row.Trials, one)
			row.Ledger = row.Ledger.Plus(one.Ledger)
			longest = append(longest, float64(one.LongestWait))
			if v := float64(one.UntilNormal); !math.IsNaN(v) {
				until = append(until, v)
			}
		}
	}
	row.LongestWait, row.UntilNormal = measure.SpreadOf(longest), measure.SpreadOf(until)
	return row
}

// close computes what an account comes to.
func (t *trial) close(a *account, config FaultsConfig) FaultTrial {
	r := recoveryOf(a, t, config)
	one := FaultTrial{
		Round: t.round, Lasted: t.ended.Sub(t.began).Seconds(), Ledger: a.ledger.Balance(),
		Limit: Figure(r.limit), UntilNormal: Figure(r.untilNormal(t.ended, t.last)), LongestSend: Figure(math.NaN()),
	}
	if a.err != nil {
		one.Error = a.err.Error()
	}
	var longest, send time.Duration
	for i, o := range r.operations {
		if r.took[i] > r.limit || math.IsInf(r.took[i], 1) {
			one.Disturbed++
		}
		answered := o.Reported.Sub(o.Asked)
		if a.way.Async && o.Effects > 0 {
			longest = max(longest, o.First.Sub(o.Asked))
		} else if !a.way.Async || o.Outcome != measure.OK {
			longest = max(longest, answered)
		}
		send = max(send, answered)
	}
	one.LongestWait = Figure(longest.Seconds())
	if a.way.Async {
		one.LongestSend = Figure(send.Seconds())
	}
	return one
}
