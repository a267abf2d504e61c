package contexts_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/internal/contexts"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

func TestOutlasting(t *testing.T) {
	t.Parallel()
	late, gone := errors.New("too late"), errors.New("gone")
	for _, test := range []struct{ cause, want error }{{late, late}, {nil, gone}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancelCause(context.WithValue(t.Context(), test, "kept"))
			longer, stop := contexts.Outlasting(ctx, time.Minute, test.cause)
			defer stop()
			require.Equal(t, "kept", longer.Value(test))
			time.Sleep(time.Hour)
			end(gone)
			time.Sleep(time.Minute - time.Nanosecond)
			synctest.Wait()
			require.NoError(t, longer.Err())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			require.ErrorIs(t, longer.Err(), context.Canceled)
			require.Equal(t, test.want, context.Cause(longer))
		})
	}
}

func TestOutlastingEndsWhenItIsStopped(t *testing.T) {
	t.Parallel()
	for _, ended := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			longer, stop := contexts.Outlasting(ctx, time.Minute, errors.New("too late"))
			if ended {
				end()
				synctest.Wait()
			}
			stop()
			require.Equal(t, context.Canceled, context.Cause(longer))
		})
	}
}
