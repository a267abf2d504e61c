package leveret_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

var errFull = errors.New("the disk is full")

// TestPause: a paused worker leaves commands, events and requests in their queues, and says why. What it was handling
// is finished; if that fails, it is in its queue again, in no retry tier. After the pause everything is handled.
func TestPause(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, happened := leveret.NewCommand[thing]("a.do"), leveret.NewEvent[thing]("a.happened")
	ask := leveret.NewRequest[thing, answer]("a.ask", leveret.Idempotent(), leveret.Timeout(time.Minute))
	service := leveret.NewService("a", leveret.Handles(do), leveret.SubscribesTo(happened), leveret.Answers(ask))
	client := b.sender(leveret.Sends(do), leveret.Publishes(happened), leveret.Calls(ask))
	foreign := b.peer()

	var full atomic.Bool
	retried := make(chan leveret.Outcome, 99)
	began, goOn, done := make(chan struct{}, 99), make(chan struct{}), make(chan int, 99)
	w := b.worker(b.connect(leveret.ConnConfig{}), service, leveret.WorkerConfig{Concurrency: 2, Prefetch: 8}, leveret.HandlersConfig{
		OnOutcome: func(_ context.Context, _ *leveret.Message, o leveret.Outcome) {
			if o.Verdict == leveret.VerdictRetry {
				retried <- o
			}
		},
	})
	work := func(ctx context.Context, v thing) error {
		if m := leveret.MessageFrom(ctx); m.Attempt != 1 {
			t.Errorf("%d is handled as attempt %d: it has been in a retry tier", v.N, m.Attempt)
		}
		if full.Load() {
			began <- struct{}{}
			<-goOn
			if v.N%2 == 0 {
				return errFull
			}
		}
		done <- v.N
		return nil
	}
	do.Handle(w.Handlers, work)
	happened.Subscribe(w.Handlers, work)
	ask.Answer(w.Handlers, func(ctx context.Context, v thing) (answer, error) { return answer(v), work(ctx, v) })
	r := b.run(w)
	full.Store(true)
	const n = 20
	for i := range n {
		require.NoError(t, do.Send(b.ctx, client, thing{N: i}))
	}
	receive(t, began)
	receive(t, began)
	r.Pause(errFull)
	r.Pause(errFull) // once more changes nothing
	require.EqualError(t, r.Ready(), "paused: the disk is full")
	b.eventually(func() bool { return foreign.count("a.do") >= n-2 })
	b.eventually(func() bool {
		q, err := foreign.QueueDeclarePassive("a.ask", true, false, false, false, nil)
		return err == nil && q.Consumers == 0
	}, "it takes no requests")
	require.NoError(t, happened.Publish(b.ctx, client, thing{N: n}))
	answered := make(chan error, 1)
	go func() {
		_, err := ask.Call(b.ctx, client, thing{N: n + 1})
		answered <- err
	}()
	b.eventually(func() bool { return foreign.count("a.ask") == 1 && foreign.count("a.on.a.happened") == 1 })
	close(goOn)
	odd := receive(t, done) // two were being handled: 0, which fails, and 1
	require.Equal(t, 1, odd)
	b.eventually(func() bool { return foreign.count("a.do") == n-1 }, "the failed one is back")
	require.Zero(t, foreign.count("retry.1s"))
	require.Zero(t, foreign.count("a.do.dlq"))
	require.Empty(t, began)
	o := receive(t, retried)
	require.ErrorIs(t, o.Err, errFull)
	require.ErrorContains(t, o.SettleErr, "the worker is paused")
	require.Empty(t, retried)

	full.Store(false)
	r.Resume()
	r.Resume()
	require.NoError(t, receive(t, answered))
	seen := map[int]int{odd: 1}
	for range n + 1 {
		seen[receive(t, done)]++
	}
	for i := range n + 2 {
		require.Equal(t, 1, seen[i], "%d", i)
	}
	b.eventually(func() bool { return r.Ready() == nil })
	require.NoError(t, r.halt())
	require.Zero(t, foreign.count("a.do"))
}

// TestPauseAnyTime: before Run, while the connection is down, at the end, and from many goroutines at once.
func TestPauseAnyTime(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	p := h.proxy()
	done := make(chan int, 9)
	w := h.worker(h.connect(leveret.ConnConfig{URLs: []string{p.url}}), h.service, leveret.WorkerConfig{})
	h.do.Handle(w.Handlers, func(_ context.Context, v thing) error { done <- v.N; return nil })
	var err error
	w.Worker, err = leveret.NewWorker(w.conn, w.Handlers, w.config)
	require.NoError(t, err)
	w.Pause(errFull)
	ctx, stop := context.WithCancel(h.ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	h.send(thing{N: 1})
	h.eventually(func() bool { return w.Ready().Error() == "paused: the disk is full" })
	foreign := h.peer()
	h.eventually(func() bool { return foreign.count("a.do") == 1 })
	w.Resume()
	require.Equal(t, 1, receive(t, done))

	p.cut()
	w.Pause(errFull)
	p.cut()
	h.send(thing{N: 2})
	h.eventually(func() bool { return w.Ready().Error() == "paused: the disk is full" }, "connected again, and paused")
	// The first one may be there as well, its ack lost with the connection.
	h.eventually(func() bool { return foreign.count("a.do") > 0 })

	many := make(chan struct{})
	for i := range 8 {
		go func() {
			for range 50 {
				if i%2 == 0 {
					w.Pause(errFull)
				} else {
					w.Resume()
				}
			}
			many <- struct{}{}
		}()
	}
	for range 8 {
		receive(t, many)
	}
	w.Resume()
	for n := 0; n != 2; {
		n = receive(t, done)
	}
	h.eventually(func() bool { return w.Ready() == nil })
	w.Pause(nil)
	require.EqualError(t, w.Ready(), "paused: closed")
	stop()
	require.NoError(t, receive(t, ended))
}
