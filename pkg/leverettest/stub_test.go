package leverettest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

func TestStubCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var rep leverettest.StubCaller
		leverettest.Answer(&rep, ink, func(_ context.Context, p page) (quote, error) { return quote{Cents: len(p.Text)}, nil })
		reply, err := ink.Call(t.Context(), &rep, page{"abc"})
		require.NoError(t, err)
		require.Equal(t, quote{Cents: 3}, reply)

		leverettest.Answer(&rep, ink, func(context.Context, page) (quote, error) { return quote{Cents: 9}, nil })
		reply, err = ink.Call(t.Context(), &rep, page{"d"})
		require.NoError(t, err)
		require.Equal(t, quote{Cents: 9}, reply)

		require.Equal(t, []page{{"abc"}, {"d"}}, leverettest.Sent(&rep, ink))
		require.Equal(t, time.Now().Add(time.Minute).UTC(), rep.Messages()[0].Deadline.UTC(), "the contract's timeout")
		rep.Reset()
		require.Empty(t, rep.Messages())
		_, err = ink.Call(t.Context(), &rep, page{"e"})
		require.NoError(t, err)
	})
}

func TestStubCallerWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	rep := leverettest.StubCaller{Service: press}
	_, err := ink.Call(t.Context(), &rep, page{"a"})
	require.ErrorIs(t, err, leveret.Unimplemented)
	require.ErrorContains(t, err, `this test has no answer to the request "ink.price"; give it one with leverettest.Answer`)

	_, err = price.Call(t.Context(), &rep, page{"a"})
	require.ErrorIs(t, err, leveret.ErrUndeclared)
	require.ErrorContains(t, err, `the service "press" does not say that it calls the request "press.price"`)

	_, err = ink.Call(t.Context(), &rep, page{})
	require.ErrorIs(t, err, leveret.InvalidArgument)
	require.Equal(t, []page{{"a"}}, leverettest.Sent(&rep, ink))
}

// TestStubCallerErrors: what was on the other side stays there; what the call itself ended in is seen.
func TestStubCallerErrors(t *testing.T) {
	t.Parallel()
	var rep leverettest.StubCaller
	answer := func(err error) error {
		leverettest.Answer(&rep, ink, func(context.Context, page) (quote, error) { return quote{}, err })
		_, err = ink.Call(t.Context(), &rep, page{"a"})
		return err
	}
	empty := leveret.NewError(leveret.FailedPrecondition, "empty", "the tank is empty")
	require.ErrorIs(t, answer(fmt.Errorf("tank 7: %w", empty)), empty)

	cause := errors.New("a row of their database")
	err := answer(leveret.Errorf(leveret.NotFound, "no such ink: %w", cause))
	require.ErrorIs(t, err, leveret.NotFound)
	require.ErrorContains(t, err, "no such ink")
	require.NotErrorIs(t, err, cause)

	require.ErrorIs(t, answer(leveret.ErrUnroutable), leveret.ErrUnroutable)
}

// TestStubCallerKeepsTheDeadline: a service that does not answer in time.
func TestStubCallerKeepsTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var rep leverettest.StubCaller
		leverettest.Answer(&rep, ink, func(ctx context.Context, _ page) (quote, error) {
			<-ctx.Done()
			return quote{Cents: 1}, nil
		})
		start := time.Now()
		_, err := ink.Call(t.Context(), &rep, page{"a"})
		require.Equal(t, time.Minute, time.Since(start))
		require.ErrorIs(t, err, leveret.DeadlineExceeded)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = ink.Call(ctx, &rep, page{"a"})
		require.ErrorIs(t, err, leveret.Canceled)

		_, err = ink.Call(ctx, &rep, page{"b"})
		require.ErrorIs(t, err, leveret.Canceled)
		require.Equal(t, []page{{"a"}, {"a"}}, leverettest.Sent(&rep, ink), "a call that has ended before it began sends nothing")
	})
}
