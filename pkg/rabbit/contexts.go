package rabbit

import "context"

// either returns a context that ends with ctx, or with other. The function that it returns must be called.
func either(ctx, other context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	if other.Err() != nil {
		cancel() // before anybody uses it
	}
	return ctx, func() { stop(); cancel() }
}

// until is either with a channel that is closed.
func until(ctx context.Context, closed <-chan struct{}) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	select {
	case <-closed:
		cancel() // before anybody uses it
	default:
	}
	go func() {
		defer close(ended)
		select {
		case <-closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(); <-ended }
}
