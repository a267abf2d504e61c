// Package contexts makes contexts out of others, and waits with them.
package contexts

import (
	"cmp"
	"context"
	"time"
)

// Outlasting returns a context that ends d after ctx does, with the given cause; nil stands for that of ctx. The
// function that it returns must be called: it ends the context at once.
func Outlasting(ctx context.Context, d time.Duration, cause error) (context.Context, func()) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(d, func() { cancel(cmp.Or(cause, context.Cause(ctx))) })
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() { stop(); cancel(nil) }
}

// Sleep waits for d, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
