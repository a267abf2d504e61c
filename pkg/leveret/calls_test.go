package leveret

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTwoCallsOfOneID: a caller that lost its connection calls again, and then gives up: both end, and the end of one
// leaves the other to be taken back.
func TestTwoCallsOfOneID(t *testing.T) {
	t.Parallel()
	c := calls{running: make(map[string][]*call), gone: make(map[string]time.Time)}
	first, firstDone := c.begin(t.Context(), "id")
	second, secondDone := c.begin(t.Context(), "id")
	other, otherDone := c.begin(t.Context(), "other")
	third, thirdDone := c.begin(t.Context(), "id")
	firstDone()
	require.ErrorIs(t, context.Cause(first), context.Canceled)
	c.cancel("id")
	c.cancel("nobody")
	c.cancel("")
	for _, ctx := range []context.Context{second, third} {
		require.ErrorIs(t, context.Cause(ctx), errCallerGone)
	}
	require.NoError(t, other.Err())
	nameless, namelessDone := c.begin(t.Context(), "")
	c.cancel("")
	require.NoError(t, nameless.Err(), "what has no id cannot be taken back")
	for _, done := range []func(){secondDone, otherDone, thirdDone, namelessDone} {
		done()
	}
	require.Empty(t, c.running)
}

// TestCalledOffBeforeItBegan: a call that was called off while it waited ends as soon as it begins. The
// latest are remembered.
func TestCalledOffBeforeItBegan(t *testing.T) {
	t.Parallel()
	c := calls{running: make(map[string][]*call), gone: make(map[string]time.Time)}
	for i := range maxGone + 10 {
		c.cancel(strconv.Itoa(i))
	}
	for i, cause := range map[int]error{0: nil, maxGone: errCallerGone, maxGone + 9: errCallerGone, maxGone + 10: nil} {
		ctx, done := c.begin(t.Context(), strconv.Itoa(i))
		require.Equal(t, cause, context.Cause(ctx), "%d", i)
		done()
	}
}
