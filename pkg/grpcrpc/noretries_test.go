package grpcrpc_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Without retries, a call is one try, whatever becomes of it.
func TestNoRetries(t *testing.T) {
	t.Parallel()
	k := newKitchen(leveret.Idempotent())
	l := listen(t)
	var calls atomic.Int64
	k.serve(t, l, func(ctx context.Context, q question) (question, error) {
		calls.Add(1)
		_ = l.Close()
		l.cut()
		<-ctx.Done()
		return echo(ctx, q)
	}, grpcrpc.ServerConfig{})
	c := k.callerOf(t, grpcrpc.CallerConfig{Addresses: []string{l.Addr().String()}, NoRetries: true})
	_, _, err := k.call(t.Context(), c, question{})
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
	require.EqualValues(t, 1, calls.Load())
	_, _, err = k.call(t.Context(), c, question{})
	require.ErrorIs(t, err, leveret.ErrNotConnected)
	require.ErrorContains(t, err, l.Addr().String(), "it names what was not reached")
	require.NotContains(t, err.Error(), "broker")
}
