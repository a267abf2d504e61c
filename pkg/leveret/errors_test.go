package leveret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

func TestCodeOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want Code
	}{
		{nil, 0},
		{errors.New("x"), Unknown},
		{NotFound, NotFound},
		{Errorf(NotFound, "x"), NotFound},
		{fmt.Errorf("outer: %w", Errorf(NotFound, "x")), NotFound},
		{Errorf(Unavailable, "outer: %w", Errorf(NotFound, "x")), Unavailable},
		{errors.Join(errors.New("x"), Errorf(DataLoss, "y")), DataLoss},
		{NewError(FailedPrecondition, "declined", "no"), FailedPrecondition},
		{recoveredPanic("x"), Internal},
		{Discard(Errorf(NotFound, "x")), NotFound},
		{Discard(nil), Unknown},
		{RetryAfter(time.Second, Errorf(NotFound, "x")), NotFound},
		{RetryAfter(time.Second, errors.New("x")), Unknown},
		{RetryAfter(time.Second, nil), Unavailable},
		{context.DeadlineExceeded, DeadlineExceeded},
		{context.Canceled, Canceled},
		{ErrTooLarge, InvalidArgument},
		{rabbit.ErrInvalid, InvalidArgument},
		{ErrNacked, ResourceExhausted},
		{ErrRefused, PermissionDenied},
		{ErrUnroutable, Unavailable},
		{ErrUnconfirmed, Unavailable},
		{ErrBlocked, Unavailable},
		{ErrNotConnected, Unavailable},
		{ErrClosed, Unavailable},
		{ErrUndeclared, FailedPrecondition},
		{fmt.Errorf("%w: %w", ErrNotConnected, context.DeadlineExceeded), Unavailable},
	} {
		require.Equal(t, test.want, CodeOf(test.err), "%v", test.err)
	}
}

func TestErrorfWraps(t *testing.T) {
	t.Parallel()
	err := Errorf(Unavailable, "charge %d: %w", 7, io.EOF)
	require.EqualError(t, err, "unavailable: charge 7: EOF")
	require.ErrorIs(t, err, io.EOF)
	require.ErrorIs(t, err, Unavailable)
	require.NotErrorIs(t, err, NotFound)

	two := Errorf(Unavailable, "%w, and %w", io.EOF, io.ErrShortWrite)
	require.ErrorIs(t, two, io.EOF)
	require.ErrorIs(t, two, io.ErrShortWrite)

	require.NoError(t, errors.Unwrap(Errorf(NotFound, "no %d", 7)))
	require.EqualError(t, &Error{Code: NotFound}, "not_found")
}

func TestErrorsAreFoundAgainByReason(t *testing.T) {
	t.Parallel()
	declined := NewError(FailedPrecondition, "card_declined", "the card was declined")
	require.ErrorIs(t, &Error{Code: FailedPrecondition, Reason: "card_declined", Message: "from afar"}, declined)
	require.NotErrorIs(t, &Error{Code: FailedPrecondition, Reason: "limit"}, declined)
	require.NotErrorIs(t, &Error{Code: Aborted, Reason: "card_declined"}, declined)
	other := &Error{Code: NotFound}
	require.NotErrorIs(t, &Error{Code: NotFound}, other, "without a reason, two errors of one code are not the same")
}

func TestAskedDelay(t *testing.T) {
	t.Parallel()
	inner := RetryAfter(5*time.Second, io.EOF)
	require.Equal(t, 5*time.Second, RetryDelay(inner))
	require.Equal(t, 5*time.Second, RetryDelay(fmt.Errorf("x: %w", inner)))
	require.Equal(t, 5*time.Second, RetryDelay(Errorf(Unavailable, "x: %w", inner)), "below another code")
	require.Positive(t, RetryDelay(RetryAfter(0, io.EOF)), "no delay is one to be rounded up")
	require.Positive(t, RetryDelay(RetryAfter(-time.Second, io.EOF)))
	require.Zero(t, RetryDelay(Errorf(Unavailable, "x")))
	require.Zero(t, RetryDelay(io.EOF))
	require.Zero(t, RetryDelay(nil))
	require.ErrorIs(t, inner, io.EOF)
}

// recoveredPanic is the error of a handler that panicked.
func recoveredPanic(value any) error {
	return recovered(func(context.Context, *Message) error { panic(value) })(context.Background(), nil)
}
