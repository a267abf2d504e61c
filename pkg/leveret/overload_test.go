package leveret_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestRequestsThatCannotBeDoneInTimeAreRefused: a request is not begun if less time is left than the quickest handling
// of late took, and is certainly not handled then. What was measured more than a second ago counts no more.
func TestRequestsThatCannotBeDoneInTimeAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ask := leveret.NewRequest[thing, answer]("a.ask", leveret.Idempotent())
		h := leveret.NewHandlers(leveret.NewService("a", leveret.Answers(ask)), leveret.HandlersConfig{})
		takes, handled := 100*time.Millisecond, 0
		ask.Answer(h, func(ctx context.Context, q thing) (answer, error) {
			handled++
			if q.N == 7 { // an error is quick, and says nothing of how long success takes
				return answer{}, errDeclined
			}
			select {
			case <-time.After(takes):
				return answer{}, nil
			case <-ctx.Done():
				return answer{}, ctx.Err()
			}
		})
		process := func(n string, left time.Duration) leveret.Outcome {
			return h.Process(t.Context(), &leveret.Message{Contract: ask, Body: []byte(`{"n":` + n + `}`), Deadline: time.Now().Add(left)}, nil)
		}
		for range 2 {
			late := process("1", 80*time.Millisecond)
			require.Equal(t, leveret.VerdictAck, late.Verdict, "it may have waited for news")
			require.Equal(t, leveret.DeadlineExceeded, leveret.CodeOf(late.Err))
		}
		for range 2 {
			require.Equal(t, leveret.VerdictAck, process("1", time.Second).Verdict)
		}
		require.ErrorIs(t, process("7", time.Second).Err, errDeclined)
		require.Equal(t, 5, handled)

		o := process("1", 110*time.Millisecond)
		require.Equal(t, leveret.VerdictRefused, o.Verdict)
		require.EqualError(t, o.Err, "deadline_exceeded: not handled: it takes 112.5ms or more now, and 110ms were left")
		require.ErrorIs(t, o.Err, leveret.DeadlineExceeded)
		require.NotErrorIs(t, o.Err, leveret.ErrOutcomeUnknown)
		require.Equal(t, 5, handled)
		again := h.Process(t.Context(), &leveret.Message{
			Contract: ask, Body: []byte(`{}`), Deadline: time.Now().Add(110 * time.Millisecond), Received: leveret.Received{Redelivered: true},
		}, nil)
		require.Equal(t, leveret.VerdictRefused, again.Verdict)
		require.ErrorIs(t, again.Err, leveret.ErrOutcomeUnknown, "an earlier worker may have handled it")
		require.Equal(t, leveret.VerdictAck, process("1", 120*time.Millisecond).Verdict)
		require.Equal(t, leveret.VerdictExpired, process("1", -1).Verdict)

		takes = time.Millisecond
		require.Equal(t, leveret.VerdictRefused, process("1", 50*time.Millisecond).Verdict)
		time.Sleep(time.Second + 1)
		require.Equal(t, leveret.VerdictAck, process("1", 50*time.Millisecond).Verdict)
		require.Equal(t, leveret.VerdictAck, process("1", 2*time.Millisecond).Verdict)

		takes = 200 * time.Millisecond // and slower ones are believed after some
		for range 60 {
			process("1", time.Second)
		}
		require.Equal(t, leveret.VerdictRefused, process("1", 190*time.Millisecond).Verdict)

		time.Sleep(time.Second + 1)
		for range 3 { // one that waits nearly as long as it may says nothing of how long it needs
			require.Equal(t, leveret.VerdictAck, process("1", 210*time.Millisecond).Verdict)
		}
	})
}

// TestCalledOffWhileItWaits: a request that was called off before a worker had begun it is not handled.
func TestCalledOffWhileItWaits(t *testing.T) {
	t.Parallel()
	a := setupAsking(t)
	began, causes := make(chan int, 9), make(chan error, 9)
	a.answering(leveret.WorkerConfig{Concurrency: 1}, func(ctx context.Context, q thing) (answer, error) {
		began <- q.N
		if q.N == 3 {
			return answer{}, nil
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return answer{}, ctx.Err()
	})
	a.hear(1)
	caller, foreign := a.newCaller(), a.peer()
	call := func(n int) (callOff func()) {
		ctx, cancel := context.WithCancel(a.ctx)
		ended := make(chan error, 1)
		go func() {
			_, err := a.ask.Call(ctx, caller, thing{N: n}, leveret.MessageID("the same"))
			ended <- err
		}()
		return func() {
			cancel()
			require.ErrorIs(t, receive(t, ended), leveret.Canceled)
		}
	}
	callOff := call(1)
	require.Equal(t, 1, receive(t, began))
	callOffWaiting := call(2)
	for range 20 { // the time that it takes to get there
		require.Zero(t, foreign.count("a.ask"))
	}
	callOffWaiting()
	callOff()
	require.EqualError(t, receive(t, causes), "the caller has given up")
	_, err := a.ask.Call(a.ctx, caller, thing{N: 3}, leveret.MessageID("the same"))
	require.NoError(t, err)
	require.Equal(t, 3, receive(t, began), "not the one that was called off; a later call of that message id is another")
}
