package leveret_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// impatient is a bench on a node of its own, which takes a message back after five seconds, for which it looks every second.
func impatient(t *testing.T, options ...leveret.ContractOption) *handling {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true, Conf: "consumer_timeout = 5000"})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		require.NoError(t, node.Close(ctx))
	})
	for _, interval := range []string{"channel_tick_interval", "quorum_tick_interval"} {
		said, err := node.Ctl(ctx, "eval", "application:set_env(rabbit, "+interval+", 1000).")
		require.NoError(t, err, string(said))
	}
	do := leveret.NewCommand[thing]("a.do", options...)
	return &handling{&bench{t: t, ctx: ctx, url: node.URL(), log: logger(t)}, do, leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))}
}

// TestConsumerTimeout: when the broker takes a message back from a handler that is too slow for it, the handler's
// context ends, so that the message is not handled twice at once, and the queue moves on. That is no failed attempt.
func TestConsumerTimeout(t *testing.T) {
	t.Parallel()
	h := impatient(t)
	seen, causes, done := make(outcomes, 99), make(chan error, 9), make(chan *leveret.Message, 9)
	r := h.handle(leveret.WorkerConfig{Concurrency: 1, NoQuarantine: true}, func(ctx context.Context, v thing) error {
		if m := leveret.MessageFrom(ctx); v.N > 0 || m.Redelivered {
			done <- m
			return nil
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	}, seen.config())
	h.send(thing{N: 0}, thing{N: 1}, thing{N: 2})
	require.ErrorIs(t, receive(t, causes), leveret.ErrNotConnected)
	o := receive(t, seen)
	require.Equal(t, leveret.VerdictRequeue, o.Verdict)
	require.ErrorIs(t, o.SettleErr, leveret.ErrNotConnected)
	for range 3 {
		m := receive(t, done)
		require.Equal(t, 1, m.Attempt)
		require.Equal(t, leveret.VerdictAck, receive(t, seen).Verdict)
	}
	h.eventually(func() bool { return r.Ready() == nil })
	require.NoError(t, r.halt())
	foreign := h.peer()
	require.Zero(t, foreign.count("a.do"))
	require.Empty(t, done)
	require.Empty(t, causes)
}
