package leverettest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

func TestRecorder(t *testing.T) {
	t.Parallel()
	var rec leverettest.Recorder
	require.Empty(t, leverettest.Sent(&rec, printed))
	require.NoError(t, printed.Publish(t.Context(), &rec, page{"a"}, leveret.MessageID("id-a"), leveret.Header("tenant", "blue")))
	require.NoError(t, printPage.Send(t.Context(), &rec, page{"b"}))
	require.NoError(t, printed.Publish(t.Context(), &rec, page{"c"}))
	require.Equal(t, []page{{"a"}, {"c"}}, leverettest.Sent(&rec, printed))
	require.Equal(t, []page{{"b"}}, leverettest.Sent(&rec, printPage))

	messages := rec.Messages()
	require.Len(t, messages, 3)
	require.Equal(t, "id-a", messages[0].ID)
	require.Equal(t, "blue", messages[0].Headers["tenant"])
	require.Same(t, printPage, messages[1].Contract)

	rec.Reset()
	require.Empty(t, rec.Messages())
	require.Len(t, messages, 3, "what was returned is the test's own")
}

// TestRecorderRefusesWhatAClientRefuses: otherwise a test would pass that production does not.
func TestRecorderRefusesWhatAClientRefuses(t *testing.T) {
	t.Parallel()
	rec := leverettest.Recorder{Service: press}
	require.ErrorIs(t, printed.Publish(t.Context(), &rec, page{}), leveret.InvalidArgument)
	require.NoError(t, printed.Publish(t.Context(), &rec, page{"a"}))
	err := printPage.Send(t.Context(), &rec, page{"a"})
	require.ErrorIs(t, err, leveret.ErrUndeclared)
	require.EqualError(t, err, `not declared: the service "press" does not say that it sends the command "press.print"`)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = printed.Publish(ctx, &rec, page{"b"})
	require.ErrorIs(t, err, leveret.ErrNotConnected)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []page{{"a"}}, leverettest.Sent(&rec, printed))
}

func TestRecorderFails(t *testing.T) {
	t.Parallel()
	var rec leverettest.Recorder
	rec.FailBefore(2, leveret.ErrNacked)
	rec.FailAfter(3, leveret.ErrUnconfirmed)
	send := func(text string) error { return printed.Publish(t.Context(), &rec, page{text}) }
	require.NoError(t, send("1"))
	require.ErrorIs(t, send("2"), leveret.ErrNacked)
	require.ErrorIs(t, send("3"), leveret.ErrUnconfirmed)
	require.NoError(t, send("4"))
	require.Equal(t, []page{{"1"}, {"3"}, {"4"}}, leverettest.Sent(&rec, printed))

	rec.FailBefore(1, leveret.ErrNotConnected)
	rec.Reset()
	require.NoError(t, send("5"))
	require.Equal(t, []page{{"5"}}, leverettest.Sent(&rec, printed))
}

// TestSameIDsAgain: a handler that runs again sends the same messages again.
func TestSameIDsAgain(t *testing.T) {
	t.Parallel()
	var rec leverettest.Recorder
	h := handler(func(ctx context.Context, p page) error {
		for range 2 {
			if err := printed.Publish(ctx, &rec, p); err != nil {
				return err
			}
		}
		return nil
	})
	rec.FailAfter(2, leveret.ErrUnconfirmed)
	got := leverettest.Deliver(t.Context(), h, printPage, page{"a"})
	require.Equal(t, leveret.VerdictRetry, got.Verdict)
	got = got.Again(t.Context())
	require.Equal(t, leveret.VerdictAck, got.Verdict)

	m := rec.Messages()
	require.Len(t, m, 4)
	require.Equal(t, []string{m[0].ID, m[1].ID}, []string{m[2].ID, m[3].ID})
	require.NotEqual(t, m[0].ID, m[1].ID)
	require.Equal(t, got.Message.ID, m[0].CausationID)

	require.Equal(t, leveret.VerdictAck, leverettest.Deliver(t.Context(), h, printPage, page{"a"}).Verdict)
	require.NotEqual(t, m[0].ID, rec.Messages()[4].ID, "another message")
}

func TestSentPanicsOverForeignBodies(t *testing.T) {
	t.Parallel()
	var rec leverettest.Recorder
	require.NoError(t, rec.Send(t.Context(), leveret.NewMessage(t.Context(), printed, []byte("{"), leveret.MessageID("x"))))
	require.PanicsWithValue(t,
		"leverettest: the message x is no press.printed: invalid_argument: the body is not JSON: unexpected end of JSON input (at byte 1)",
		func() { leverettest.Sent(&rec, printed) })
}

// TestReservedHeaders: what a client refuses, a test notices.
func TestReservedHeaders(t *testing.T) {
	t.Parallel()
	forged := leveret.NewMessage(t.Context(), printed, []byte("{}"), leveret.Header("leveret-attempt", 99))
	var rec leverettest.Recorder
	require.ErrorIs(t, rec.Send(t.Context(), forged), leveret.InvalidArgument)
	require.Empty(t, rec.Messages())
	var stub leverettest.StubCaller
	require.ErrorContains(t, stub.Call(t.Context(), forged), `the header "leveret-attempt" cannot be set`)
	require.Empty(t, stub.Messages())
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	var rec leverettest.Recorder
	rec.FailBefore(50, leveret.ErrNacked)
	var wg sync.WaitGroup
	failed := make(chan error, 100)
	for i := range 100 {
		wg.Go(func() {
			if err := printed.Publish(t.Context(), &rec, page{fmt.Sprint(i)}); err != nil {
				failed <- err
			}
			rec.Messages()
		})
	}
	wg.Wait()
	require.Len(t, failed, 1)
	require.Len(t, leverettest.Sent(&rec, printed), 99)
}
