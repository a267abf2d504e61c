package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// failures keeps the failures of the system inside. A customer learns that something failed, and whether to try again.
// What it was, such as the address of a service that is away, is logged instead. Errors about the request itself pass
// unchanged.
type failures struct{ log *slog.Logger }

// middleware does so for the errors of handlers.
func (f failures) middleware(next leveret.Handler) leveret.Handler {
	return func(ctx context.Context, m *leveret.Message) error {
		return f.keep(ctx, m.Contract.Spec().Name, next(ctx, m))
	}
}

// keep logs an internal error, and returns what the customer sees in its place.
func (f failures) keep(ctx context.Context, request string, err error) error {
	if err == nil || !internal(err) {
		return err
	}
	level := slog.LevelWarn
	if ctx.Err() != nil { // the customer has gone, or has left too little time
		level = slog.LevelInfo
	}
	f.log.LogAttrs(ctx, level, "gateway: a request failed", slog.String("request", request), slog.String("error", err.Error()))
	return shown(err)
}

// internal reports whether an error is about the system, not about the request.
func internal(err error) bool {
	_, own := errors.AsType[*unanswered](err)
	return own || httprpc.Status(err) >= http.StatusInternalServerError || errors.Is(err, leveret.PermissionDenied)
}

// An unanswered error is why a service gave no answer of its own, whatever the code: a proxy before it may say 401.
type unanswered struct{ error }

func (e *unanswered) Unwrap() error { return e.error }

// answered marks the errors of calls that are not the other side's.
type answered struct{ leveret.Caller }

func (c answered) Call(ctx context.Context, m *leveret.Message) error {
	err := c.Caller.Call(ctx, m)
	if err != nil && !leveret.IsRemote(err) {
		return &unanswered{err}
	}
	return err
}

// shown returns what a customer sees of an internal error: what kind it is and when to try again, never its text.
func shown(err error) error {
	var e *leveret.Error
	switch {
	case errors.Is(err, ErrNotConfirmed): // even if the outcome is unknown: trying again makes no second order
		e = ErrNotConfirmed
	case errors.Is(err, ErrNotStored):
		e = ErrNotStored
	case errors.Is(err, leveret.ErrOutcomeUnknown):
		e = leveret.NewError(leveret.CodeOf(err), leveret.ReasonOutcomeUnknown,
			"there was no answer in time; it is not known what became of the request")
	case errors.Is(err, leveret.PermissionDenied):
		e = leveret.NewError(leveret.Internal, "", "something is wrong with the shop")
	default:
		e = leveret.NewError(leveret.CodeOf(err), "", "something is wrong with the shop")
		if e.Code.HTTPStatus() < http.StatusInternalServerError { // which would blame the customer
			e.Code = leveret.Internal
		}
		if first, ok := errors.AsType[*leveret.Error](err); ok {
			e.Reason = first.Reason
		}
		// After DeadlineExceeded alone, nothing was done: a service was not reached in time.
		if e.Code == leveret.Unavailable || e.Code == leveret.DeadlineExceeded {
			e.Code, e.Message = leveret.Unavailable, "a part of the shop is away; try again later"
		}
	}
	if after := leveret.RetryDelay(err); after > 0 {
		return leveret.RetryAfter(after, e)
	}
	return e
}
