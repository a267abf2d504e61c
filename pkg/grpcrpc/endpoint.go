package grpcrpc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// endpoint is the server's side of all methods.
type endpoint struct {
	handlers   *leveret.Handlers
	answeredBy metadata.MD
	logger     *slog.Logger
}

// handler makes the function that gRPC calls for each call of a method. Interceptors see what the caller does: the
// generated messages, and errors that are a status.
func (e *endpoint) handler(fullMethod string, newRequest func() any, handle grpc.UnaryHandler) methodHandler {
	inner := func(ctx context.Context, request any) (any, error) {
		reply, err := handle(ctx, request)
		if err != nil {
			return nil, statusOf(err).Err()
		}
		return reply, nil
	}
	return func(srv any, ctx context.Context, decode func(any) error, interceptor interceptor) (reply any, err error) {
		defer func() {
			if v := recover(); v != nil {
				e.logger.ErrorContext(ctx, "a panic outside of the handler",
					"method", fullMethod, "panic", v, "stack", string(debug.Stack()))
				err = leveret.Errorf(leveret.Internal, "the server panicked")
			}
			reply, err = e.answer(ctx, reply, err)
		}()
		request := newRequest()
		if err := decode(request); err != nil {
			return nil, err // gRPC has sent it already
		}
		if interceptor == nil {
			return inner(ctx, request)
		}
		return interceptor(ctx, request, &grpc.UnaryServerInfo{Server: srv, FullMethod: fullMethod}, inner)
	}
}

// answer names the instance that answers with an error, in the trailer. So an error with the trailer is the handler's
// or an interceptor's, and one without it may be the gRPC library's, on either side: it may have found that the reply of
// a handler cannot be sent.
func (e *endpoint) answer(ctx context.Context, reply any, err error) (any, error) {
	if err == nil {
		return reply, nil
	}
	_ = grpc.SetTrailer(ctx, e.answeredBy) // an error says that this is no call of gRPC
	if _, ok := status.FromError(err); !ok {
		err = statusOf(err).Err()
	}
	return nil, err
}

// report logs an error that is a failure of this side.
func (e *endpoint) report(ctx context.Context, m *leveret.Message, err error) {
	code := leveret.CodeOf(err)
	if code.HTTPStatus() >= http.StatusInternalServerError || errors.Is(err, leveret.ErrOutcomeUnknown) {
		e.logger.WarnContext(ctx, "request answered with an error", "contract", m.Contract.Spec().Name, "message_id", m.ID,
			"error", wire.Cut(err.Error(), wire.MaxMessage), "code", code)
	}
}

// message returns the message that a call carries, and the context in which it is handled.
func (e *endpoint) message(ctx context.Context, c leveret.Contract) (context.Context, *leveret.Message, error) {
	m, err := received(ctx)
	if err != nil {
		return ctx, nil, err
	}
	m.Deadline = time.Now().Add(c.Spec().Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(m.Deadline) {
		m.Deadline = d
	}
	return traced(ctx, m), m, nil
}
