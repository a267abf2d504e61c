package devbroker

import (
	"context"
	"time"
)

// sleep waits for d, or until ctx ends and then returns its cause. It is used to poll
// what gives no notice of changes.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
