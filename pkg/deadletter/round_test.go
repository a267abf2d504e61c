package deadletter_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

// Whatever takes longer than letters may be held is done in rounds: each letter is seen once.
func TestRounds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 100, nil)
	const budget = 5 * time.Second // within which each round gets further than the one before
	b.store.SetBudget(budget)
	seen := map[string]int{}
	total, err := b.store.Peek(b.ctx, b.store.DeadLetters(queue), 1000, func(l *deadletter.Letter) bool {
		if seen[l.ID]++; len(seen)%40 == 0 {
			pass(b, budget) // the round is over
		}
		return true
	})
	require.NoError(t, err)
	require.Equal(t, 100, total)
	require.Len(t, seen, 100)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
	require.Equal(t, ids(100), b.peek(1000))
}

// pass returns when that time has passed.
func pass(b *bench, d time.Duration) {
	ctx, cancel := context.WithTimeout(b.ctx, d)
	defer cancel()
	<-ctx.Done()
}

// A replay that waits for long between letters holds none meanwhile.
func TestRoundsOfASlowReplay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 6, nil)
	b.store.SetBudget(3 * time.Second)
	interrupted := 0
	result, err := b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{
		Select: func(l *deadletter.Letter) bool { return l.ID != id(0) },
		Wait: func(ctx context.Context) error {
			if interrupted%2 == 0 { // each first wait lasts until the letters are put back
				<-ctx.Done()
				interrupted++
				return ctx.Err()
			}
			interrupted++
			return nil
		},
	})
	require.NoError(t, err)
	require.Equal(t, deadletter.Result{Seen: 6, Matched: 5, Replayed: 5}, result)
	require.Equal(t, ids(6)[1:], idsOf(b.take(queue)))
	require.Equal(t, ids(1), b.peek(10))
}

// The broker takes back what is held for longer than its consumer timeout, which nobody can ask it for.
func TestConsumerTimeout(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true, Conf: "consumer_timeout = 10000"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.WithoutCancel(ctx))) })
	// At so short an interval RabbitMQ 3.10 closes a channel several times before it is answered.
	_, err = node.Ctl(ctx, "eval", "application:set_env(rabbit, channel_tick_interval, 1).")
	require.NoError(t, err)
	b := on(t, node.URL())
	connections := func() string {
		all, err := node.Ctl(ctx, "list_connections", "--quiet", "pid")
		require.NoError(t, err)
		lines := strings.Fields(string(all))
		slices.Sort(lines)
		return strings.Join(lines, " ")
	}
	first := connections()
	b.bury(queue, 40, nil)
	// RabbitMQ 4.3.6 forgets a timeout that begins in the same millisecond in which another one passes, until the queue
	// gets something to do. "Collect garbage" changes nothing.
	poke := fmt.Sprintf("{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<%q>>)), "+
		"ra:pipeline_command(amqqueue:get_pid(Q), rabbit_fifo:make_garbage_collection()).", names.DeadLetterQueue(queue))
	strike := func() { // returns when the broker has begun to take back what is held
		require.Eventually(t, func() bool {
			_, poked := node.Ctl(ctx, "eval", poke)
			n, err := b.store.Count(ctx, b.store.DeadLetters(queue))
			return poked == nil && err == nil && n > 0
		}, patience, 10*time.Millisecond)
	}
	seen := map[string]int{}
	total, err := b.store.Peek(ctx, b.store.DeadLetters(queue), 1000, func(l *deadletter.Letter) bool {
		if seen[l.ID]++; len(seen) == 10 {
			strike()
		}
		return true
	})
	require.NoError(t, err)
	require.Equal(t, 40, total)
	require.Len(t, seen, 40)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
	b.waitFor(names.DeadLetterQueue(queue), 40)

	waits := 0
	result, err := b.store.Replay(ctx, b.store.DeadLetters(queue), deadletter.Replay{
		Select: func(l *deadletter.Letter) bool { return l.ID != id(0) },
		Wait: func(context.Context) error {
			if waits++; waits == 10 {
				strike()
			}
			return nil
		},
	})
	require.NoError(t, err)
	require.Equal(t, 39, result.Replayed+result.Unsure, "%+v", result)
	b.waitFor(queue, 39) // each once
	b.waitFor(names.DeadLetterQueue(queue), 1)
	require.Equal(t, first, connections(), "a connection was lost")
}
