package crossing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A fault is an error that a handler returns.
type fault struct {
	name string
	// declared is what a package declares once, and what callers look for.
	declared *leveret.Error
	delay    time.Duration
}

// faults are all codes with and without reasons, fields and delays, by their names.
var faults = func() map[string]fault {
	all := make(map[string]fault)
	for code := leveret.Canceled; code <= leveret.Unauthenticated; code++ {
		for _, reason := range []string{"", "card_declined", leveret.ReasonOutcomeUnknown} {
			for _, fields := range [][]leveret.FieldViolation{nil, {
				{Field: "lines[0].quantity", Detail: "must be at least 1"}, {Field: "größe", Detail: "„€“ is\nno \"size\": 100 %"},
			}} {
				for _, delay := range []time.Duration{0, 1500 * time.Millisecond} {
					e := leveret.NewError(code, reason, "It is not done: „99 %“")
					e.Fields = fields
					f := fault{fmt.Sprintf("%v, %q, %d fields, %v", code, reason, len(fields), delay), e, delay}
					all[f.name] = f
				}
			}
		}
	}
	return all
}()

// err returns what the handler returns: not the declared error itself, but one that says more.
func (f fault) err() error {
	err := fmt.Errorf("order 7: %w", f.declared)
	if f.delay > 0 {
		err = leveret.RetryAfter(f.delay, err)
	}
	return err
}

// message returns what travels of the error's text.
func (f fault) message() string { return "order 7: " + f.declared.Error() }

func (f fault) unknown() bool { return f.declared.Reason == leveret.ReasonOutcomeUnknown }

const secret = "hunter2"

// blame answers with the fault that it is asked for, and panics when asked to.
func blame(_ context.Context, q question) (answer, error) {
	if q.Do == "panic" {
		panic(secret)
	}
	f, ok := faults[q.Do]
	if !ok {
		return answer{"answered " + q.Do}, nil
	}
	return answer{}, f.err()
}

// requireFault checks an error that has travelled.
func requireFault(t *testing.T, f fault, err error) {
	t.Helper()
	require.True(t, leveret.IsRemote(err), f.name)
	require.ErrorIs(t, err, f.declared.Code, f.name)
	if f.declared.Reason != "" {
		require.ErrorIs(t, err, f.declared, f.name)
	}
	require.Equal(t, f.unknown(), errors.Is(err, leveret.ErrOutcomeUnknown), f.name)
	require.Equal(t, f.declared.Code == leveret.DeadlineExceeded, errors.Is(err, context.DeadlineExceeded), f.name)
	require.Equal(t, f.declared.Code == leveret.Canceled, errors.Is(err, context.Canceled), f.name)
	require.Equal(t, f.delay, leveret.RetryDelay(err), f.name)
	e := errorOf(t, err)
	require.Equal(t, f.declared.Code, e.Code, f.name)
	require.Equal(t, f.declared.Reason, e.Reason, f.name)
	require.Equal(t, f.message(), e.Message, f.name)
	require.Equal(t, f.declared.Fields, e.Fields, f.name)
	require.NoError(t, errors.Unwrap(e), "what an error wraps stays where it is")
}

// Every error is the same on the other side of every transport.
func TestErrorsCross(t *testing.T) {
	t.Parallel()
	s := newStage(t, answering(blame), telemetry{}, bound(ask))
	s.each(t, guest, func(t *testing.T, _ string, c leveret.Caller) {
		for _, f := range faults {
			_, err := ask.Call(t.Context(), c, question{f.name})
			requireFault(t, f, err)
		}
		_, err := ask.Call(t.Context(), c, question{"panic"})
		require.True(t, leveret.IsRemote(err))
		require.ErrorIs(t, err, leveret.Internal)
		require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown)
		require.NotContains(t, fmt.Sprintf("%v %#v", err, errorOf(t, err)), secret)
		a, err := ask.Call(t.Context(), c, question{"it"})
		require.NoError(t, err)
		require.Equal(t, answer{"answered it"}, a)
	})
}

// Errors of every other shape cross, too: those without a code, those with several causes, and what is too much.
func TestOtherErrorsCross(t *testing.T) {
	t.Parallel()
	declined := leveret.NewError(leveret.FailedPrecondition, "card_declined", "the card was declined")
	returned := map[string]error{
		"doubt":        fmt.Errorf("the bank: %w", leveret.ErrUnconfirmed),
		"doubt, coded": fmt.Errorf("%w: %w", leveret.ErrOutcomeUnknown, declined),
		"not sent":     fmt.Errorf("the bank: %w", leveret.ErrNotConnected),
		"uncoded":      errors.New("no code"),
		"joined":       errors.Join(errors.New("no code"), declined),
		"discarded":    leveret.Discard(declined),
		"soon":         leveret.RetryAfter(time.Nanosecond, declined),
		"late":         leveret.RetryAfter(1<<63-1, declined),
		"code":         leveret.NotFound,
		"no UTF-8":     &leveret.Error{Code: leveret.NotFound, Reason: "a\xff", Message: "b\xff"},
		"too much": &leveret.Error{
			Code: leveret.NotFound, Reason: "long", Message: strings.Repeat("€", 1<<20),
			Fields: slices.Repeat([]leveret.FieldViolation{{Field: strings.Repeat("f", 1000), Detail: strings.Repeat("€", 10_000)}}, 1000),
		},
	}
	s := newStage(t, answering(func(_ context.Context, q question) (answer, error) { return answer{}, returned[q.Do] }), telemetry{}, bound(ask))
	s.each(t, guest, func(t *testing.T, _ string, c leveret.Caller) {
		for what, want := range map[string]struct {
			code    leveret.Code
			reason  string
			unknown bool
			delay   time.Duration
		}{
			"doubt":        {leveret.Unavailable, leveret.ReasonOutcomeUnknown, true, 0},
			"doubt, coded": {leveret.FailedPrecondition, leveret.ReasonOutcomeUnknown, true, 0},
			"not sent":     {leveret.Unavailable, "", false, 0},
			"uncoded":      {leveret.Unknown, "", false, 0},
			"joined":       {leveret.FailedPrecondition, "card_declined", false, 0},
			"discarded":    {leveret.FailedPrecondition, "card_declined", false, 0},
			"soon":         {leveret.FailedPrecondition, "card_declined", false, time.Millisecond},
			"late":         {leveret.FailedPrecondition, "card_declined", false, 24 * time.Hour},
			"code":         {leveret.NotFound, "", false, 0},
			"no UTF-8":     {leveret.NotFound, "a�", false, 0},
			"too much":     {leveret.NotFound, "long", false, 0},
		} {
			_, err := ask.Call(t.Context(), c, question{what})
			require.True(t, leveret.IsRemote(err), what)
			require.ErrorIs(t, err, want.code, what)
			require.Equal(t, want.reason, errorOf(t, err).Reason, what)
			require.Equal(t, want.unknown, errors.Is(err, leveret.ErrOutcomeUnknown), what)
			require.Equal(t, want.delay, leveret.RetryDelay(err), what)
		}
	})
}
