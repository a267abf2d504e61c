package rabbit

import "context"

// either returns a context that ends with ctx, or with other, and has the cause of the one that ended. The function
// that it returns must be called.
func either(ctx, other context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	end := func() { cancel(context.Cause(other)) }
	stop := context.AfterFunc(other, end)
	if other.Err() != nil {
		end() // before anybody uses it
	}
	return ctx, func() { stop(); cancel(nil) }
}
