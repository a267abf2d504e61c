package leveret

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// recovered turns a panic into an error: one bad message must not take the process along.
func recovered(next Handler) Handler {
	return func(ctx context.Context, m *Message) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = &Error{Code: Internal, Message: fmt.Sprintf("panic: %v", v), stack: debug.Stack()}
			}
		}()
		return next(ctx, m)
	}
}

// doubt is why the outcome of a request is unknown. It is an [ErrOutcomeUnknown].
type doubt string

func (d doubt) Error() string        { return string(d) }
func (d doubt) Is(target error) bool { return target == ErrOutcomeUnknown }

const (
	// errHandlerTimeout is the cause of a handler's context that ends because the handler took too long.
	errHandlerTimeout doubt = "the handler took longer than its limit"
	// errDeadline is the cause of a handler's context that ends with its request's deadline.
	errDeadline doubt = "the caller's deadline has passed"
	// errHandledBefore is wrapped by the error of an idempotent request that was delivered before.
	errHandledBefore doubt = "an earlier worker that had this request is gone"
)

// until returns when the context of a handler that begins now ends, and why: after the time that handlers have, or at
// the request's deadline if that is sooner.
func (h *handler) until(m *Message) (time.Time, doubt) {
	until := time.Now().Add(h.handlers.config.HandlerTimeout)
	if !m.Deadline.IsZero() && m.Deadline.Before(until) {
		return m.Deadline, errDeadline
	}
	return until, errHandlerTimeout
}

// limited ends the handler's context in time, and notes how long requests take.
func (h *handler) limited(next Handler) Handler {
	return func(ctx context.Context, m *Message) error {
		began := time.Now()
		until, cause := h.until(m)
		if d, ok := ctx.Deadline(); !ok || until.Before(d) { // some transports have seen to it
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadlineCause(ctx, until, cause)
			defer cancel()
		}
		err := next(ctx, m)
		took, late := time.Since(began), errors.Is(ctx.Err(), context.DeadlineExceeded) // ours, or the transport's own
		// How long a handler took that used most of its time need not be how long it needs: it may have waited for news.
		if h.spec.Kind == KindRequest && (late || err == nil && took < until.Sub(began)/2) {
			h.took(took, late)
		}
		// A handler that was interrupted seldom knows how far it got. A refusal that trying again would not change stands.
		if err != nil && late && CodeOf(err).retryable() {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
}
