package hello_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"

	"github.com/leveretmq/leveret/examples/hello"
)

// setup makes the greeter's handlers, and a recorder for what they send.
func setup(t *testing.T) (*leveret.Handlers, *leverettest.Recorder) {
	t.Helper()
	rec := &leverettest.Recorder{Service: hello.Service}
	h := leveret.NewHandlers(hello.Service, leveret.HandlersConfig{})
	hello.NewGreeter("Hello", rec).Register(h)
	return h, rec
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	require.NoError(t, hello.Catalog.Err())
}

func TestGreet(t *testing.T) {
	t.Parallel()
	h, rec := setup(t)
	got := leverettest.Deliver(t.Context(), h, hello.Greet, hello.Greeting{GreetingID: "g-1", Name: "Ada"})
	require.NoError(t, got.Err)
	require.Equal(t, leveret.VerdictAck, got.Verdict)
	require.Equal(t, []hello.PersonGreetedEvent{{GreetingID: "g-1", Name: "Ada", Text: "Hello, Ada!"}},
		leverettest.Sent(rec, hello.PersonGreeted))
}

func TestNobodyIsADeadLetter(t *testing.T) {
	t.Parallel()
	h, rec := setup(t)
	got := leverettest.Deliver(t.Context(), h, hello.Greet, hello.Greeting{GreetingID: "g-1", Name: "nobody"})
	require.Equal(t, leveret.VerdictDeadLetter, got.Verdict)
	require.ErrorIs(t, got.Err, leveret.FailedPrecondition)
	require.Empty(t, rec.Messages())
}

// TestBrokerIsAway: the command is retried, and the event is then sent under the same id.
func TestBrokerIsAway(t *testing.T) {
	t.Parallel()
	h, rec := setup(t)
	rec.FailAfter(1, leveret.ErrUnconfirmed)
	got := leverettest.Deliver(t.Context(), h, hello.Greet, hello.Greeting{GreetingID: "g-1", Name: "Ada"})
	require.Equal(t, leveret.VerdictRetry, got.Verdict)
	got = got.Again(t.Context())
	require.Equal(t, leveret.VerdictAck, got.Verdict)
	sent := rec.Messages()
	require.Len(t, sent, 2)
	require.Equal(t, sent[0].ID, sent[1].ID)
}

func TestCount(t *testing.T) {
	t.Parallel()
	h, _ := setup(t)
	count := leverettest.Call(t.Context(), h, hello.CountGreetings, hello.CountQuery{Name: "Ada"})
	require.ErrorIs(t, count.Err, leveret.NotFound)

	got := leverettest.Deliver(t.Context(), h, hello.PersonGreeted, hello.PersonGreetedEvent{GreetingID: "g-1", Name: "Ada"})
	require.NoError(t, got.Err)
	require.NoError(t, got.Again(t.Context()).Err, "the same event, delivered twice")
	count = leverettest.Call(t.Context(), h, hello.CountGreetings, hello.CountQuery{Name: "Ada"})
	require.NoError(t, count.Err)
	require.Equal(t, 1, count.Reply.Greetings)
}
