package rpc_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

type nothing struct{}

var (
	once         = leveret.NewRequest[nothing, nothing]("x.once", leveret.Timeout(time.Minute))
	repeat       = leveret.NewRequest[nothing, nothing]("x.repeat", leveret.Timeout(time.Minute), leveret.Idempotent())
	errNotSent   = fmt.Errorf("dial: %w", leveret.ErrNotConnected)
	errUnknown   = leveret.Errorf(leveret.Unavailable, "EOF: %w", leveret.ErrOutcomeUnknown)
	errRemote    = leveret.DecodeProblem([]byte(`{"code":"not_found"}`))
	errRemoteToo = leveret.DecodeProblem([]byte(`{"code":"internal","reason":"outcome_unknown"}`))
)

// call makes a call whose tries end in these errors, one after the other; the last one repeats.
func call(ctx context.Context, c leveret.Contract, tries ...error) (made int, err error) {
	err = rpc.Call(ctx, &leveret.Message{Contract: c, ID: "7"}, func(context.Context) error {
		made++
		return tries[min(made, len(tries))-1]
	})
	return made, err
}

func TestCallTriesAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		contract leveret.Contract
		tries    []error
		made     int
		is       []error
		isNot    []error
	}{
		"an answer":                  {once, []error{nil}, 1, nil, nil},
		"not sent, then an answer":   {once, []error{errNotSent, errNotSent, nil}, 3, nil, nil},
		"lost":                       {once, []error{errUnknown}, 1, []error{leveret.ErrOutcomeUnknown, leveret.Unavailable}, nil},
		"lost, idempotent":           {repeat, []error{errUnknown, errNotSent, nil}, 3, nil, nil},
		"an error of the other side": {repeat, []error{errRemote}, 1, []error{leveret.NotFound}, []error{leveret.ErrOutcomeUnknown}},
		"a doubt of the other side":  {repeat, []error{errRemoteToo}, 1, []error{leveret.ErrOutcomeUnknown}, nil},
		"lost, then an error":        {repeat, []error{errUnknown, errRemote}, 2, []error{leveret.NotFound, leveret.ErrOutcomeUnknown}, nil},
		"another error":              {repeat, []error{leveret.Errorf(leveret.InvalidArgument, "x")}, 1, []error{leveret.InvalidArgument}, []error{leveret.ErrOutcomeUnknown}},
		"never connected":            {once, []error{errNotSent}, 0, []error{leveret.DeadlineExceeded, context.DeadlineExceeded, leveret.ErrNotConnected}, []error{leveret.ErrOutcomeUnknown}},
		"lost, and never connected":  {repeat, []error{errUnknown, errNotSent}, 0, []error{leveret.DeadlineExceeded, leveret.ErrOutcomeUnknown}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				made, err := call(t.Context(), c.contract, c.tries...)
				if c.made > 0 {
					require.Equal(t, c.made, made)
				} else {
					require.Equal(t, time.Minute, time.Since(began))
					require.Greater(t, made, 60, "it waits a second at most")
					require.Less(t, made, 1000)
				}
				require.Equal(t, len(c.is) > 0, err != nil)
				for _, target := range c.is {
					require.ErrorIs(t, err, target)
				}
				for _, target := range c.isNot {
					require.NotErrorIs(t, err, target)
				}
			})
		})
	}
}

// A proxy that says when to try again is not asked before.
func TestCallWaitsAsAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		made, err := call(t.Context(), repeat, leveret.RetryAfter(11*time.Second, errUnknown))
		require.Equal(t, 6, made, "in a minute")
		require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
		require.Equal(t, 11*time.Second, leveret.RetryDelay(err))
	})
}

func TestCallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := call(ctx, once, errNotSent)
		require.ErrorIs(t, err, leveret.Canceled)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown)
		require.False(t, leveret.IsRemote(err))
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	m := &leveret.Message{Contract: once}
	require.NoError(t, rpc.Call(ctx, m, func(got context.Context) error {
		require.Equal(t, ctx, got)
		return nil
	}))
	deadline, _ := ctx.Deadline()
	require.Equal(t, deadline, m.Deadline)
	require.NotErrorIs(t, errNotSent, leveret.ErrOutcomeUnknown)
}
