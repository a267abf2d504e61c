package shoptest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Case is one handling of one message, on a state of its own.
type Case struct {
	// Handle handles the message. It is called again where it returns an error, as the broker and the retry policy do.
	Handle func() error
	// Restart is what a new process does between the two: it opens the store again.
	Restart func()
	// Check looks at the effect, which must have happened once.
	Check func()
}

// Interrupted breaks a handler off at each of its sends, before and after the message got through, and lets it handle
// its message again in a new process: what it sends then must be all that it sends undisturbed, beginning with what it
// had sent already.
func Interrupted(t *testing.T, setup func(t *testing.T, r *Recorder) Case) {
	t.Helper()
	undisturbed := &Recorder{}
	c := setup(t, undisturbed)
	require.NoError(t, c.Handle())
	c.Check()
	want := undisturbed.Names()
	for n := range want {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("send %d, lost %t", n+1, lost), func(t *testing.T) {
				r := &Recorder{FailAt: n + 1, Lost: lost}
				c := setup(t, r)
				require.Error(t, c.Handle())
				before := r.Sent()
				r.Reset()
				c.Restart()
				require.NoError(t, c.Handle())
				require.Equal(t, want, r.Names())
				requireSame(t, before, r.Sent()[:len(before)])
				c.Check()

				again := r.Sent()
				r.Reset()
				require.NoError(t, c.Handle(), "and once more, for an ack that was lost")
				requireSame(t, again, r.Sent())
				c.Check()
			})
		}
	}
}

func requireSame(t *testing.T, want, got []Sent) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].Contract, got[i].Contract)
		require.JSONEq(t, want[i].Body, got[i].Body)
	}
}
