package shoptest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// A Case handles one message, with its own state.
type Case struct {
	// Handle delivers the message. After a failure it is called again, as the broker and the retry policy would do.
	Handle func(options ...leverettest.Option) leverettest.Delivered
	// Restart does what a new process would do between the two deliveries: it reopens the store.
	Restart func()
	// Check checks that the effect has happened exactly once.
	Check func()
}

// Interrupted interrupts a handler at each of its sends, both before and after the message got through, and delivers the
// message again to a new process. That process must send everything that an undisturbed handler sends, beginning with
// what was already sent, under the same ids.
func Interrupted(t *testing.T, setup func(t *testing.T, r *leverettest.Recorder) Case) {
	t.Helper()
	undisturbed := &leverettest.Recorder{}
	c := setup(t, undisturbed)
	require.NoError(t, c.Handle().Err)
	c.Check()
	want := Names(undisturbed)
	require.NotEmpty(t, want)
	for n := range want {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("send %d, lost %t", n+1, lost), func(t *testing.T) {
				r := &leverettest.Recorder{}
				c := setup(t, r)
				if lost {
					r.FailAfter(n+1, leveret.ErrUnconfirmed)
				} else {
					r.FailBefore(n+1, leveret.ErrNotConnected)
				}
				broken := c.Handle()
				require.Equal(t, leveret.VerdictRetry, broken.Verdict, "%v", broken.Err)
				before := r.Messages()
				r.Reset()
				c.Restart()
				again := []leverettest.Option{leverettest.With(leveret.MessageID(broken.Message.ID)), leverettest.Redelivered()}
				require.NoError(t, c.Handle(again...).Err)
				require.Equal(t, want, Names(r))
				requireSame(t, before, r.Messages()[:len(before)])
				c.Check()

				sent := r.Messages()
				r.Reset()
				require.NoError(t, c.Handle(again...).Err, "and once more, for an ack that was lost")
				requireSame(t, sent, r.Messages())
				c.Check()
			})
		}
	}
}

func requireSame(t *testing.T, want, got []*leveret.Message) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Same(t, want[i].Contract, got[i].Contract)
		require.Equal(t, want[i].ID, got[i].ID)
		require.JSONEq(t, string(want[i].Body), string(got[i].Body))
	}
}

// Names returns the contracts of what a service sent, in order.
func Names(r *leverettest.Recorder) []string {
	names := []string{}
	for _, m := range r.Messages() {
		names = append(names, m.Contract.Spec().Name)
	}
	return names
}
