package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// outward is middleware that keeps failures of the system inside. A customer learns that something failed, and whether
// to try again; what it was, such as the address of a service that is away, is logged. Errors that are about the request
// itself pass as they are.
func outward(log *slog.Logger) leveret.Middleware {
	return func(next leveret.Handler) leveret.Handler {
		return func(ctx context.Context, m *leveret.Message) error {
			err := next(ctx, m)
			if err == nil || !internal(err) {
				return err
			}
			level := slog.LevelWarn
			if ctx.Err() != nil { // the customer has gone, or gave it too little time
				level = slog.LevelInfo
			}
			log.LogAttrs(ctx, level, "gateway: a request failed",
				slog.String("request", m.Contract.Spec().Name), slog.String("error", err.Error()))
			return shown(err)
		}
	}
}

// internal reports whether an error is about the system, not about the request.
func internal(err error) bool {
	return httprpc.StatusOf(err) >= http.StatusInternalServerError || errors.Is(err, leveret.PermissionDenied)
}

// shown returns what a customer sees of an internal error: its code, its reason and its delay, but not its text.
func shown(err error) error {
	var e *leveret.Error
	switch {
	case errors.Is(err, ErrNotConfirmed): // even if the outcome is unknown: trying again makes no second order
		e = ErrNotConfirmed
	case errors.Is(err, ErrNotStored):
		e = ErrNotStored
	case errors.Is(err, leveret.ErrOutcomeUnknown):
		e = leveret.NewError(leveret.CodeOf(err), leveret.ReasonOutcomeUnknown, "there was no answer in time; it is not known what became of the request")
	case errors.Is(err, leveret.PermissionDenied):
		e = leveret.NewError(leveret.Internal, "", "something is wrong with the shop")
	default:
		e = leveret.NewError(leveret.CodeOf(err), "", "something is wrong with the shop")
		if first, ok := errors.AsType[*leveret.Error](err); ok {
			e.Reason = first.Reason
		}
		if errors.Is(err, leveret.Unavailable) || errors.Is(err, leveret.DeadlineExceeded) {
			e.Message = "a part of the shop is away; try again later"
		}
	}
	if after := leveret.RetryDelay(err); after > 0 {
		return leveret.RetryAfter(after, e)
	}
	return e
}
