package leveret

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTwoCallsOfOneID: a caller that lost its connection calls again, and then gives up: both end, and the end of one
// leaves the other to be taken back.
func TestTwoCallsOfOneID(t *testing.T) {
	t.Parallel()
	var c calls
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
