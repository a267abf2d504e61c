package leveret

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// panicked is a panic of a handler, as an error.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// Is makes it an Internal error.
func (p *panicked) Is(target error) bool { return target == Internal }

// As lets CodeOf find the code.
func (p *panicked) As(target any) bool {
	if e, ok := target.(**Error); ok {
		*e = &Error{Code: Internal, Message: p.Error()}
		return true
	}
	return false
}

// recovered turns a panic into an error: one bad message must not take the process along.
func recovered(next Handler) Handler {
	return func(ctx context.Context, m *Message) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = &panicked{value: v, stack: debug.Stack()}
			}
		}()
		return next(ctx, m)
	}
}

// errHandlerTimeout is the cause of a handler's context that ends because the handler took too long.
var errHandlerTimeout = errors.New("the handler took longer than its limit")

// errDeadline is the cause of a handler's context that ends with its request's deadline.
var errDeadline = errors.New("the caller's deadline has passed")

// limited ends the handler's context after limit, or at the request's deadline if that is sooner.
func limited(limit time.Duration) Middleware {
	return func(next Handler) Handler {
		return func(ctx context.Context, m *Message) error {
			until, cause := time.Now().Add(limit), errHandlerTimeout
			if d := m.Deadline; !d.IsZero() && d.Before(until) {
				until, cause = d, errDeadline
			}
			ctx, cancel := context.WithDeadlineCause(ctx, until, cause)
			defer cancel()
			err := next(ctx, m)
			if errors.Is(context.Cause(ctx), cause) && errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			return err
		}
	}
}
