package deadletter_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

func TestPeekShowsWhatTheWorkerWrote(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 1, rabbit.Table{"leveret-replayed": int64(2)})
	var l *deadletter.Letter
	total, err := b.store.Peek(b.ctx, b.store.DeadLetters(queue), 10, func(found *deadletter.Letter) bool {
		l = found
		return true
	})
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.Equal(t, id(0), l.ID)
	require.Equal(t, queue, l.Queue)
	require.Equal(t, queue, l.Contract)
	require.Equal(t, []string{"not_found", "no_such_item", "there is no item 7"}, []string{l.Code, l.Reason, l.Error})
	require.Equal(t, []int{5, 2}, []int{l.Attempts, l.Replayed})
	require.Equal(t, []string{"inventory", "here/1"}, []string{l.Service, l.Host})
	require.Equal(t, time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC), l.FailedAt)
	require.Equal(t, time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC), l.FirstFailedAt)
	require.JSONEq(t, `{"n":0}`, string(l.Body))
}

// Every look returns the messages to the queue. Before RabbitMQ 4.3 that counts against the delivery limit, which is 20
// where a queue of 4.0 and later does not say otherwise.
func TestPeekGivesBackAndKeepsTheOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 12, nil)
	for range 45 {
		require.Equal(t, ids(12)[:5], b.peek(5))
	}
	require.Equal(t, ids(12), b.peek(100))
	b.waitFor(names.DeadLetterQueue(queue), 12)
	require.Equal(t, ids(12), b.peek(12))
	require.Equal(t, ids(12), idsOf(b.take(names.DeadLetterQueue(queue))))
}

func TestPeekStopsWhenToldTo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 5, nil)
	seen := 0
	total, err := b.store.Peek(b.ctx, b.store.DeadLetters(queue), 5, func(*deadletter.Letter) bool {
		seen++
		return seen < 2
	})
	require.NoError(t, err)
	require.Equal(t, []int{5, 2}, []int{total, seen})
	b.waitFor(names.DeadLetterQueue(queue), 5)
}

func TestInterruptedPeekGivesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 20, nil)
	cause := errors.New("Ctrl-C")
	ctx, cancel := context.WithCancelCause(b.ctx)
	seen := 0
	_, err := b.store.Peek(ctx, b.store.DeadLetters(queue), 20, func(*deadletter.Letter) bool {
		if seen++; seen == 7 {
			cancel(cause)
		}
		return true
	})
	require.ErrorIs(t, err, cause)
	b.waitFor(names.DeadLetterQueue(queue), 20)
	require.Equal(t, ids(20), b.peek(20))
}

func TestNoSuchQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.store.Count(b.ctx, b.store.DeadLetters("order.place"))
	require.ErrorIs(t, err, deadletter.ErrNoQueue)
	_, err = b.store.Peek(b.ctx, b.store.DeadLetters("order.place"), 1, nil)
	require.ErrorIs(t, err, deadletter.ErrNoQueue)
	require.EqualError(t, err, "the queue order.place.dlq: it does not exist")
	_, err = b.store.Replay(b.ctx, b.store.DeadLetters("order.place"), deadletter.Replay{})
	require.ErrorIs(t, err, deadletter.ErrNoQueue)
}

func TestGroups(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 2, rabbit.Table{"leveret-failed-at": "2026-01-02T15:00:00Z", "leveret-error-message": "first"})
	b.take(queue)
	pipeline := b.publisher.Pipeline()
	for _, at := range []string{"2026-01-02T16:00:00Z", "2026-01-02T14:00:00Z", "not a time"} {
		require.NoError(t, pipeline.Publish(b.ctx, &rabbit.Publication{
			Exchange: names.DeadLetterExchange("inventory"), RoutingKey: queue,
			Publishing: rabbit.Publishing{Headers: rabbit.Table{"leveret-error-code": "internal", "leveret-failed-at": at, "leveret-error-message": at}},
		}, nil))
	}
	require.NoError(t, pipeline.Flush(b.ctx))
	b.waitFor(names.DeadLetterQueue(queue), 5)
	groups, total, err := b.store.Groups(b.ctx, b.store.DeadLetters(queue), 100, nil)
	require.NoError(t, err)
	require.Equal(t, 5, total)
	require.Len(t, groups, 3, "what is no time differs from a time")
	require.Equal(t, []int{2, 2, 1}, []int{groups[0].Count, groups[1].Count, groups[2].Count})
	require.Equal(t, []string{"not_found", "no_such_item", "first"}, []string{groups[0].Code, groups[0].Reason, groups[0].Error})
	require.Equal(t, []string{"internal", "2026-01-02T16:00:00Z"}, []string{groups[1].Code, groups[1].Error})
	require.Equal(t, time.Date(2026, 1, 2, 14, 0, 0, 0, time.UTC), groups[1].Oldest)
	require.Equal(t, time.Date(2026, 1, 2, 16, 0, 0, 0, time.UTC), groups[1].Newest)

	groups, total, err = b.store.Groups(b.ctx, b.store.DeadLetters(queue), 100, func(l *deadletter.Letter) bool { return l.Code == "internal" && !l.FailedAt.IsZero() })
	require.NoError(t, err)
	require.Equal(t, []int{5, 1, 2}, []int{total, len(groups), groups[0].Count})
}

// A handler that crashes again and again says nothing: the broker does.
func TestLetterThatTheBrokerMade(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.publisher.Publish(b.ctx, &rabbit.Publication{
		Exchange: names.CommandExchange("inventory"), RoutingKey: queue, Mandatory: true,
		Publishing: rabbit.Publishing{MessageId: id(0), Type: queue, Body: []byte(`{"n":0}`), DeliveryMode: 2, Headers: rabbit.Table{
			"leveret-attempt": int64(3), "leveret-error-code": "unavailable", "leveret-error-message": "an earlier failure",
		}},
	}))
	channel, err := b.conn.Rabbit().Channel(b.ctx)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // reject counts against the limit on every version
		d, ok, err := channel.Get(queue, false)
		require.NoError(t, err)
		if ok {
			require.NoError(t, d.Reject(true))
		}
		state, err := b.conn.Rabbit().Inspect(b.ctx, names.DeadLetterQueue(queue))
		require.NoError(t, err)
		return state.Ready == 1
	}, patience, time.Millisecond)
	require.NoError(t, channel.Close())

	groups, _, err := b.store.Groups(b.ctx, b.store.DeadLetters(queue), 10, nil)
	require.NoError(t, err)
	require.Len(t, groups, 1)
	require.Equal(t, "delivery_limit", groups[0].Reason)
	require.Empty(t, groups[0].Code)
	_, err = b.store.Peek(b.ctx, b.store.DeadLetters(queue), 1, func(l *deadletter.Letter) bool {
		death := l.Headers["x-death"].([]any)[0].(rabbit.Table)
		require.Equal(t, death["time"].(time.Time).UTC(), groups[0].Oldest.UTC(), "when the broker gave up")
		return true
	})
	require.NoError(t, err)

	result, err := b.store.Replay(b.ctx, b.store.DeadLetters(queue), deadletter.Replay{})
	require.NoError(t, err)
	require.Equal(t, deadletter.Result{Seen: 1, Matched: 1, Replayed: 1}, result)
	got := b.take(queue)
	require.Equal(t, []string{id(0)}, idsOf(got))
	require.Equal(t, rabbit.Table{"leveret-replayed": int64(1)}, got[0].Headers)
	require.False(t, got[0].Redelivered)
}
