package measure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A ClosedLoop keeps a fixed number of operations in flight: each one that ends begins another.
type ClosedLoop struct {
	// InFlight is how many operations run at once.
	InFlight int
	// Warm is how long to run before the window in which is measured, and For how long that is.
	Warm, For time.Duration
	// Longest is how far the window is extended until it contains two operations for each in flight, and 32 in total. At
	// most InFlight of them were begun before it. Default 10 s.
	Longest time.Duration
	// Begin is called when the window begins, and End with the number of operations when it ends. Optional.
	Begin func() error
	End   func(operations int64) error
}

const (
	perPlace = 2
	fewest   = 32
)

// A Window is what a [ClosedLoop] measured.
type Window struct {
	// Operations ended in the window, which lasted for Length from Began.
	Operations int64
	Began      time.Time
	Length     time.Duration
	// Times are how long those operations took that began in the window, however late they ended.
	Times *Histogram
}

// Run repeats do and returns when all that it began have ended. do gets the operation's number, from 1; one that fails
// ends its place in the loop, and its error is returned.
func (l ClosedLoop) Run(ctx context.Context, do func(ctx context.Context, n int64) error) (Window, error) {
	if l.InFlight <= 0 {
		return Window{}, fmt.Errorf("%d operations in flight; there must be at least one", l.InFlight)
	}
	const warming, measuring, over = 0, 1, 2
	var phase atomic.Int32
	var next, done atomic.Int64
	w := Window{Times: &Histogram{}}
	errs := make([]error, l.InFlight)
	least := int64(max(perPlace*l.InFlight, fewest))
	enough, ended := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	for i := range l.InFlight {
		all.Go(func() {
			for phase.Load() < over && ctx.Err() == nil {
				began, measured := time.Now(), phase.Load() == measuring
				if errs[i] = do(ctx, next.Add(1)); errs[i] != nil {
					return
				}
				if measured {
					w.Times.Record(time.Since(began))
				}
				if phase.Load() == measuring && done.Add(1) == least {
					close(enough)
				}
			}
		})
	}
	go func() {
		all.Wait()
		close(ended)
	}()
	err := func() error {
		if !wait(ctx, l.Warm) {
			return ctx.Err()
		}
		if err := called(l.Begin); err != nil {
			return err
		}
		w.Began = time.Now()
		phase.Store(measuring)
		_ = wait(ctx, l.For)
		rest := time.NewTimer(max(cmp.Or(l.Longest, 10*time.Second)-l.For, 0))
		defer rest.Stop()
		select {
		case <-enough:
		case <-ended:
		case <-rest.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		w.Operations, w.Length = done.Load(), time.Since(w.Began)
		phase.Store(over)
		if l.End != nil {
			return l.End(w.Operations)
		}
		return nil
	}()
	phase.Store(over)
	<-ended
	return w, errors.Join(slices.Concat(errs, []error{err})...)
}

func called(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

// wait reports whether d has passed; it returns false once ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
