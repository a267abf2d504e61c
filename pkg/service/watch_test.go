package service

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestWatch: checks are made before a handler's error is returned, where they may explain it.
func TestWatch(t *testing.T) {
	t.Parallel()
	checks := 0
	r := &required{log: slog.New(slog.DiscardHandler), checks: []*requirement{{name: "store", check: func(context.Context) error {
		checks++
		return nil
	}}}}
	handle := func(err error) {
		require.Equal(t, err, r.watch(func(context.Context, *leveret.Message) error { return err })(t.Context(), nil))
	}
	for _, err := range []error{nil, leveret.NotFound, leveret.Errorf(leveret.InvalidArgument, "x"), leveret.RetryAfter(time.Hour, leveret.FailedPrecondition)} {
		handle(err)
	}
	require.Zero(t, checks)
	full := errors.New("database or disk is full")
	for i, err := range []error{full, leveret.Errorf(leveret.Unavailable, "x: %w", full), leveret.RetryAfter(time.Hour, full)} {
		handle(err)
		require.Equal(t, i+1, checks)
	}
	none := &required{}
	require.Equal(t, full, none.watch(func(context.Context, *leveret.Message) error { return full })(t.Context(), nil))
}
