package leverettest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// TestVerdicts: what the handler returns is the verdict, by the worker's own code.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		err     error
		verdict leveret.Verdict
		delay   time.Duration
	}{
		{"nothing", nil, leveret.VerdictAck, 0},
		{"any error", errors.New("no ink"), leveret.VerdictRetry, time.Second},
		{"a passing error", leveret.Errorf(leveret.Unavailable, "no ink"), leveret.VerdictRetry, time.Second},
		{"an error that stays", leveret.Errorf(leveret.FailedPrecondition, "no such press"), leveret.VerdictDeadLetter, 0},
		{"later", leveret.RetryAfter(10*time.Second, leveret.NotFound), leveret.VerdictRetry, time.Minute},
		{"of no use", leveret.Discard(errors.New("printed already")), leveret.VerdictDiscard, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := handler(func(context.Context, page) error { return tc.err })
			got := leverettest.Deliver(t.Context(), h, printPage, page{"a"})
			require.Equal(t, tc.verdict, got.Verdict)
			require.Equal(t, tc.delay, got.Delay)
			require.ErrorIs(t, got.Err, tc.err)
		})
	}
}

func TestPanicIsARetry(t *testing.T) {
	t.Parallel()
	h := handler(func(context.Context, page) error { panic("paper jam") })
	got := leverettest.Deliver(t.Context(), h, printPage, page{"a"})
	require.Equal(t, leveret.VerdictRetry, got.Verdict)
	require.ErrorIs(t, got.Err, leveret.Internal)
	require.ErrorContains(t, got.Err, "paper jam")
}

// TestBodies: what cannot be decoded, or is refused by Validate, never reaches the handler.
func TestBodies(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"text":`:                "the body is not JSON",
		`{"text":7}`:              "text: must be a JSON string",
		`{"text":"a"} {}`:         "the body is not JSON",
		``:                        "the body is empty",
		`null`:                    "the body is null",
		`[]`:                      "must be a JSON object",
		`{}`:                      "text: is required",
		`{"text":"a","new":true}`: "",
	} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			called := false
			h := handler(func(context.Context, page) error { called = true; return nil })
			got := leverettest.Deliver(t.Context(), h, printPage, page{}, leverettest.Body(body))
			if want == "" {
				require.NoError(t, got.Err)
				require.True(t, called)
				return
			}
			require.Equal(t, leveret.VerdictDeadLetter, got.Verdict)
			require.ErrorIs(t, got.Err, leveret.InvalidArgument)
			require.ErrorContains(t, got.Err, want)
			require.False(t, called)
		})
	}
}

// TestPayloadIsValidatedWhereItArrives: the test decides what is sent, the handler's side what is taken.
func TestPayloadIsValidatedWhereItArrives(t *testing.T) {
	t.Parallel()
	h := handler(func(context.Context, page) error { return nil })
	got := leverettest.Deliver(t.Context(), h, printPage, page{})
	require.Equal(t, leveret.VerdictDeadLetter, got.Verdict)
	require.EqualError(t, got.Err, "invalid_argument: text: is required")
}

func TestOptions(t *testing.T) {
	t.Parallel()
	var found leveret.Message
	h := handler(func(ctx context.Context, _ page) error { found = *leveret.MessageFrom(ctx); return nil })
	got := leverettest.Deliver(t.Context(), h, printPage, page{"a"})
	require.NoError(t, got.Err)
	require.NotEmpty(t, found.ID)
	require.Equal(t, "press.print", found.Queue)
	require.Equal(t, 1, found.Attempt)
	require.False(t, found.Redelivered)

	got = leverettest.Deliver(t.Context(), h, printPage, page{"a"},
		leverettest.Attempt(2), leverettest.Redelivered(),
		leverettest.With(leveret.MessageID("id-1"), leveret.Header("tenant", "blue")),
		leverettest.Change(func(m *leveret.Message) { m.AppID = "editor" }))
	require.NoError(t, got.Err)
	require.Equal(t, *got.Message, found)
	require.Equal(t, 2, found.Attempt)
	require.True(t, found.Redelivered)
	require.Equal(t, "id-1", found.ID)
	require.Equal(t, "blue", found.Headers["tenant"])
	require.Equal(t, "editor", found.AppID)
}

// TestAgain: retried until the policy has no more attempts.
func TestAgain(t *testing.T) {
	t.Parallel()
	attempts, redelivered := []int{}, 0
	h := handler(func(ctx context.Context, _ page) error {
		m := leveret.MessageFrom(ctx)
		attempts = append(attempts, m.Attempt)
		if m.Redelivered {
			redelivered++
		}
		return leveret.Unavailable
	})
	first := leverettest.Deliver(t.Context(), h, printPage, page{"a"})
	got := first
	for got.Verdict == leveret.VerdictRetry {
		got = got.Again(t.Context())
		require.Equal(t, first.Message.ID, got.Message.ID)
	}
	require.Equal(t, leveret.VerdictDeadLetter, got.Verdict)
	require.Equal(t, []int{1, 2, 3}, attempts)
	require.Equal(t, 1, first.Message.Attempt, "the earlier delivery is left as it was")
	require.Zero(t, redelivered)

	got = got.Again(t.Context())
	require.Equal(t, 3, got.Message.Attempt)
	require.Equal(t, 1, redelivered)
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	var heard []string
	hear := func(who string) func(context.Context, page) error {
		return func(context.Context, page) error { heard = append(heard, who); return nil }
	}
	h := leveret.NewHandlers(press, leveret.HandlersConfig{})
	printed.Subscribe(h, hear("archive"), leveret.As("archive"))
	printed.Subscribe(h, hear("plain"))
	require.NoError(t, leverettest.Deliver(t.Context(), h, printed, page{"a"}).Err)
	require.NoError(t, leverettest.Deliver(t.Context(), h, printed, page{"a"}, leverettest.Subscription("archive")).Err)
	require.Equal(t, []string{"plain", "archive"}, heard)

	got := leverettest.Deliver(t.Context(), h, printed, page{"a"}, leverettest.Subscription("fraud"))
	require.EqualError(t, got.Err, `leverettest: the service "press" has no subscription to press.printed as "fraud"`)
	require.Zero(t, got.Verdict)
}

// TestPerProcess: what fails for a handler of each process is dropped.
func TestPerProcess(t *testing.T) {
	t.Parallel()
	printed := leveret.NewEvent[page]("press.printed")
	h := leveret.NewHandlers(leveret.NewService("press", leveret.Publishes(printed), leveret.SubscribesPerProcess(printed)), leveret.HandlersConfig{})
	printed.Subscribe(h, func(context.Context, page) error { return errors.New("no ink") }, leveret.PerProcess())
	got := leverettest.Deliver(t.Context(), h, printed, page{"a"}, leverettest.PerProcess())
	require.Equal(t, leveret.VerdictDropped, got.Verdict)
	require.Equal(t, "press.per-process.on.press.printed.*", got.Message.Queue)
}

// TestWrongTests: a mistake of the test is no verdict.
func TestWrongTests(t *testing.T) {
	t.Parallel()
	h := leveret.NewHandlers(press, leveret.HandlersConfig{})
	got := leverettest.Deliver(t.Context(), h, printPage, page{"a"})
	require.ErrorIs(t, got.Err, leveret.ErrUndeclared)
	require.ErrorContains(t, got.Err, `no handler for the command "press.print"`)
	require.Zero(t, got.Verdict)
	require.Zero(t, got.Again(t.Context()).Verdict)

	wrong := leveret.NewCommand[chan int]("press.wrong")
	got = leverettest.Deliver(t.Context(), h, wrong, make(chan int))
	require.ErrorContains(t, got.Err, "the payload of press.wrong cannot be encoded")
	require.Zero(t, got.Verdict)
	require.Equal(t, got, got.Again(t.Context()))

	printPage.Handle(h, func(context.Context, page) error { return nil })
	printPage.Handle(h, func(context.Context, page) error { return nil })
	got = leverettest.Deliver(t.Context(), h, printPage, page{"a"})
	require.ErrorContains(t, got.Err, `the command "press.print" has two handlers`)
	require.Zero(t, got.Verdict)
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	var trail []string
	h := leveret.NewHandlers(press, leveret.HandlersConfig{Middleware: []leveret.Middleware{func(next leveret.Handler) leveret.Handler {
		return func(ctx context.Context, m *leveret.Message) error {
			trail = append(trail, string(m.Body))
			return next(ctx, m)
		}
	}}})
	printPage.Handle(h, func(_ context.Context, p page) error { trail = append(trail, p.Text); return nil })
	require.NoError(t, leverettest.Deliver(t.Context(), h, printPage, page{"a"}).Err)
	require.Equal(t, []string{`{"text":"a"}`, "a"}, trail)
}

// TestTimeLimit: a handler that takes too long has its context ended, and its message retried.
func TestTimeLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := leveret.NewHandlers(press, leveret.HandlersConfig{HandlerTimeout: time.Hour})
		printPage.Handle(h, func(ctx context.Context, _ page) error { <-ctx.Done(); return ctx.Err() })
		start := time.Now()
		got := leverettest.Deliver(t.Context(), h, printPage, page{"a"})
		require.Equal(t, time.Hour, time.Since(start))
		require.Equal(t, leveret.VerdictRetry, got.Verdict)
		require.Equal(t, leveret.DeadlineExceeded, leveret.CodeOf(got.Err))
	})
}

func TestCall(t *testing.T) {
	t.Parallel()
	declined := leveret.NewError(leveret.FailedPrecondition, "out_of_ink", "no ink")
	h := leveret.NewHandlers(press, leveret.HandlersConfig{})
	price.Answer(h, func(_ context.Context, p page) (quote, error) {
		if p.Text == "black" {
			return quote{}, fmt.Errorf("the black press: %w", declined)
		}
		return quote{Cents: len(p.Text)}, nil
	})
	got := leverettest.Call(t.Context(), h, price, page{"abc"})
	require.NoError(t, got.Err)
	require.Equal(t, quote{Cents: 3}, got.Reply)
	require.Equal(t, leveret.VerdictAck, got.Verdict)

	got = leverettest.Call(t.Context(), h, price, page{"black"})
	require.ErrorIs(t, got.Err, declined)
	require.Equal(t, leveret.VerdictAck, got.Verdict, "the caller gets the error, and nothing is retried")
	require.Zero(t, got.Reply)

	got = leverettest.Call(t.Context(), h, price, page{}, leverettest.Body(`{"text":1}`))
	require.ErrorIs(t, got.Err, leveret.InvalidArgument)
	require.Equal(t, leveret.VerdictAck, got.Verdict)
}

// TestCallAgain: a redelivered request that is not idempotent is not handled again.
func TestCallAgain(t *testing.T) {
	t.Parallel()
	calls := 0
	h := leveret.NewHandlers(press, leveret.HandlersConfig{})
	price.Answer(h, func(context.Context, page) (quote, error) { calls++; return quote{Cents: calls}, nil })
	got := leverettest.Call(t.Context(), h, price, page{"a"})
	require.NoError(t, got.Err)
	again := got.Again(t.Context())
	require.ErrorIs(t, again.Err, leveret.Aborted)
	require.Zero(t, again.Reply)
	require.Equal(t, 1, calls)
}

// TestDeadlines: the caller's deadline, or the contract's timeout, is the handler's; an expired request is not handled.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := leveret.NewHandlers(press, leveret.HandlersConfig{})
		var left time.Duration
		price.Answer(h, func(ctx context.Context, _ page) (quote, error) {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return quote{}, nil
		})
		require.NoError(t, leverettest.Call(t.Context(), h, price, page{"a"}).Err)
		require.Equal(t, time.Minute, left)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, leverettest.Call(ctx, h, price, page{"a"}).Err)
		require.Equal(t, time.Second, left)

		left = 0
		late := leverettest.Call(t.Context(), h, price, page{"a"},
			leverettest.Change(func(m *leveret.Message) { m.Deadline = time.Now().Add(-time.Hour) }))
		require.Equal(t, leveret.VerdictExpired, late.Verdict)
		require.ErrorIs(t, late.Err, leveret.DeadlineExceeded)
		require.Zero(t, left, "it was handled")
	})
}

func BenchmarkDeliver(b *testing.B) {
	h := handler(func(context.Context, page) error { return nil })
	b.ReportAllocs()
	for b.Loop() {
		if got := leverettest.Deliver(b.Context(), h, printPage, page{"a"}); got.Err != nil {
			b.Fatal(got.Err)
		}
	}
}
