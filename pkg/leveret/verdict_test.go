package leveret

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// TestVerdicts is the table of what becomes of a command or an event, and of a request.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	retried := []Code{Unavailable, DeadlineExceeded, ResourceExhausted, Aborted, Canceled, Internal, Unknown}
	buried := []Code{
		InvalidArgument, NotFound, AlreadyExists, PermissionDenied, Unauthenticated, FailedPrecondition, OutOfRange,
		Unimplemented, DataLoss,
	}
	require.ElementsMatch(t, allCodes(), slices.Concat(retried, buried), "every code has its place")

	type test struct {
		err     error
		verdict Verdict
	}
	tests := []test{
		{nil, VerdictAck},
		{errors.New("uncoded"), VerdictRetry},
		{&Error{Message: "uncoded too"}, VerdictRetry},
		{recoveredPanic("x"), VerdictRetry},
		{context.DeadlineExceeded, VerdictRetry},
		{ErrNotConnected, VerdictRetry},
		{ErrUndeclared, VerdictDeadLetter},
		{ErrTooLarge, VerdictDeadLetter},
		{RetryAfter(time.Second, Errorf(InvalidArgument, "x")), VerdictRetry},
		{Errorf(InvalidArgument, "x: %w", RetryAfter(time.Second, nil)), VerdictRetry},
		{Discard(errors.New("x")), VerdictDiscard},
		{Discard(nil), VerdictDiscard},
		{fmt.Errorf("x: %w", Discard(NotFound)), VerdictDiscard},
	}
	for _, c := range retried {
		tests = append(tests, test{Errorf(c, "x"), VerdictRetry}, test{c, VerdictRetry})
	}
	for _, c := range buried {
		tests = append(tests, test{Errorf(c, "x"), VerdictDeadLetter}, test{fmt.Errorf("x: %w", c), VerdictDeadLetter})
	}
	for _, contract := range []Contract{NewCommand[int]("a.do"), NewEvent[int]("a.done")} {
		for _, test := range tests {
			o := judge(t.Context(), &Message{Contract: contract, Received: Received{Attempt: 1}}, test.err)
			if contract.Spec().Kind == KindEvent && CodeOf(test.err) == NotFound && test.verdict == VerdictDeadLetter {
				test.verdict = VerdictRetry // events overtake each other
			}
			require.Equal(t, test.verdict, o.Verdict, "%T %v", contract, test.err)
			require.Equal(t, test.err, o.Err)
			if o.Verdict == VerdictRetry {
				require.Equal(t, time.Second, o.Delay, "%v", test.err)
				last := judge(t.Context(), &Message{Contract: contract, Received: Received{Attempt: 5}}, test.err)
				require.Equal(t, VerdictDeadLetter, last.Verdict, "the fifth attempt is the last: %v", test.err)
			}
		}
	}
	// The caller gets every error; a discarded request is counted as such.
	for _, test := range tests {
		o := judge(t.Context(), &Message{Contract: NewRequest[int, int]("a.ask"), Received: Received{Attempt: 1}}, test.err)
		want := VerdictAck
		if test.verdict == VerdictDiscard {
			want = VerdictDiscard
		}
		require.Equal(t, want, o.Verdict, "%v", test.err)
	}
}

func TestRetryOn(t *testing.T) {
	t.Parallel()
	e := NewEvent[int]("a.done", RetryOn(FailedPrecondition))
	for c, want := range map[Code]Verdict{NotFound: VerdictRetry, FailedPrecondition: VerdictRetry, InvalidArgument: VerdictDeadLetter} {
		require.Equal(t, want, judge(t.Context(), &Message{Contract: e, Received: Received{Attempt: 1}}, Errorf(c, "x")).Verdict, "%v", c)
	}
}

// TestDraining: what ends because the worker stops goes back; what failed for another reason does not. What was lost to
// the worker comes again whatever its handler returned.
func TestDraining(t *testing.T) {
	t.Parallel()
	draining, stop := context.WithCancelCause(t.Context())
	stop(rabbit.ErrDraining)
	gone, leave := context.WithCancelCause(t.Context())
	leave(errCallerGone)
	lost, lose := context.WithCancelCause(t.Context())
	lose(fmt.Errorf("the channel was lost: %w", ErrNotConnected))
	for _, test := range []struct {
		ctx  context.Context
		err  error
		want Verdict
	}{
		{draining, context.Canceled, VerdictRequeue},
		{draining, fmt.Errorf("query: %w", context.Canceled), VerdictRequeue},
		{draining, Errorf(Unavailable, "x: %w", context.Canceled), VerdictRequeue},
		{draining, Errorf(Canceled, "as gRPC says it"), VerdictRequeue},
		{draining, context.Cause(draining), VerdictRequeue},
		{draining, nil, VerdictAck},
		{draining, Errorf(InvalidArgument, "x"), VerdictDeadLetter},
		{draining, errors.New("x"), VerdictRetry},
		{draining, Discard(context.Canceled), VerdictDiscard},
		{gone, context.Canceled, VerdictRetry},
		{lost, nil, VerdictAck},
		{lost, context.Canceled, VerdictRequeue},
		{lost, Errorf(InvalidArgument, "x"), VerdictRequeue},
		{lost, Discard(context.Canceled), VerdictDiscard},
		{t.Context(), context.Canceled, VerdictRetry},
	} {
		o := judge(test.ctx, &Message{Contract: NewCommand[int]("a.do"), Received: Received{Attempt: 1}}, test.err)
		require.Equal(t, test.want, o.Verdict, "%v", test.err)
	}
	require.Equal(t, VerdictRequeue, judge(draining, &Message{Contract: NewRequest[int, int]("a.ask")}, context.Canceled).Verdict)
}

func TestDelays(t *testing.T) {
	t.Parallel()
	p := DefaultRetryPolicy()
	for attempt, want := range map[int]time.Duration{1: time.Second, 2: 10 * time.Second, 3: time.Minute, 4: 10 * time.Minute, 5: 10 * time.Minute, 1_000_000: 10 * time.Minute} {
		require.Equal(t, want, p.delay(attempt, 0))
	}
	for asked, want := range map[time.Duration]time.Duration{
		1: time.Second, time.Second: time.Second, time.Second + 1: 10 * time.Second, 30 * time.Second: time.Minute,
		10 * time.Minute: 10 * time.Minute, time.Hour: 10 * time.Minute,
	} {
		require.Equal(t, want, p.delay(1, asked), "asked for %v", asked)
	}
	for asked, want := range map[time.Duration]time.Duration{
		-1: time.Second, time.Second: time.Second, 2 * time.Second: 10 * time.Second, time.Hour: time.Hour,
		maxDelay: maxDelay, maxDelay + 1: maxDelay, math.MaxInt64: maxDelay,
	} {
		m := &Message{Contract: NewCommand[int]("a.do"), Received: Received{Attempt: 1}}
		require.Equal(t, want, judge(t.Context(), m, RetryAfter(asked, nil)).Delay, "asked for %v", asked)
	}
	unsorted := RetryPolicy{Attempts: 9, Delays: []time.Duration{time.Minute, time.Second, time.Hour}}
	require.Equal(t, time.Minute, unsorted.delay(1, 2*time.Second))
	require.Equal(t, time.Second, unsorted.delay(2, 0))
}
