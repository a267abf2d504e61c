package measure

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// An OpenLoop begins operations at a fixed rate, however long they take. Measure each from the moment at which it was
// due: what keeps it waiting then counts, even where it kept the load itself (coordinated omission).
type OpenLoop struct {
	// Rate is in operations a second.
	Rate float64
	// Operations is how many to begin. Default: until ctx ends.
	Operations int
	// First delays the first operation, so that several loops do not begin theirs at the same moments.
	First time.Duration
	// MaxInFlight limits how many run at once; further ones begin late. Default 10,000.
	MaxInFlight int
	// Sleep waits for the next operation. It is called with 20 ms at most. The default is exact, where the system can be;
	// under the fake time of a test it has to be time.Sleep.
	Sleep func(time.Duration)
}

// longestSleep bounds how late the end of a context is noticed.
const longestSleep = 20 * time.Millisecond

// Run begins the operations, each in a goroutine of its own, and returns when all that it began have ended. do gets the
// operation's number, from 0, and when it was due. The end of ctx, which is no error, only begins no more.
func (l OpenLoop) Run(ctx context.Context, do func(n int, due time.Time)) error {
	if l.Rate <= 0 {
		return fmt.Errorf("the rate is %g a second; it must be positive", l.Rate)
	}
	pause := l.Sleep
	if pause == nil {
		pause = exactly
	}
	places := make(chan struct{}, cmp.Or(l.MaxInFlight, 10_000))
	var all sync.WaitGroup
	defer all.Wait()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now().Add(l.First)
	for n := 0; l.Operations == 0 || n < l.Operations; n++ {
		due := start.Add(time.Duration(float64(n) / l.Rate * float64(time.Second)))
		for wait := time.Until(due); wait > 0 && ctx.Err() == nil; wait = time.Until(due) {
			pause(min(wait, longestSleep))
		}
		if ctx.Err() != nil {
			return nil
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		all.Go(func() {
			do(n, due)
			<-places
		})
	}
	return nil
}
