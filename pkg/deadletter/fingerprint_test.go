package deadletter_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A fingerprint is the same at every look, though the broker counts returns meanwhile, and differs for letters that
// differ.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	header := func(v any) rabbit.Table { return rabbit.Table{"leveret-error-code": "internal", "v": v} }
	for _, p := range []rabbit.Publishing{
		{Body: []byte("a")},
		{Body: []byte("b")},
		{Body: []byte("a"), Type: "x"},
		{MessageId: "same", Headers: header(int64(1))},
		{MessageId: "same", Headers: header("1")},
		{Headers: header(rabbit.Table{"a": []any{"b", "c"}})},
		{Headers: header(rabbit.Table{"a": []any{"bc"}})},
	} {
		require.NoError(t, b.publisher.Publish(b.ctx, &rabbit.Publication{RoutingKey: names.DeadLetterQueue(queue), Mandatory: true, Publishing: p}))
	}
	looks := make([][]string, 3)
	for i := range looks {
		_, err := b.store.Peek(b.ctx, b.store.DeadLetters(queue), 10, func(l *deadletter.Letter) bool {
			looks[i] = append(looks[i], l.Fingerprint())
			return true
		})
		require.NoError(t, err)
		require.Equal(t, looks[0], looks[i])
	}
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(looks[0]))), 7)
}

// There are at most a hundred groups, and one of all others.
func TestManyGroups(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pipeline := b.publisher.Pipeline()
	for i := range 110 {
		message := fmt.Sprintf("%c%c: no item %d of \"order %d\" at 10.0.0.%d:5672", 'a'+i/26, 'a'+i%26, i, i, i)
		for range 1 + (i+9)/10%2 { // some twice
			require.NoError(t, pipeline.Publish(b.ctx, &rabbit.Publication{RoutingKey: names.DeadLetterQueue(queue), Mandatory: true, Publishing: rabbit.Publishing{
				Headers: rabbit.Table{"leveret-error-code": "internal", "leveret-error-message": message},
			}}, nil))
		}
	}
	require.NoError(t, pipeline.Flush(b.ctx))
	groups, total, err := b.store.Groups(b.ctx, b.store.DeadLetters(queue), 1000, nil)
	require.NoError(t, err)
	require.Len(t, groups, 101)
	sum := 0
	for i, g := range groups {
		sum += g.Count
		require.Equal(t, i == 100, g.Rest)
	}
	require.Equal(t, total, sum)
	require.Equal(t, 2, groups[0].Count, "the largest first")
}

// What waits in retry.lost goes back to its own queue; what has none stays.
func TestReturnFromRetryLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 30 {
		to := []string{queue, "gone"}[i%3/2]
		require.NoError(t, b.publisher.Publish(b.ctx, &rabbit.Publication{
			Exchange: names.RetryLost("inventory"), RoutingKey: to, Mandatory: true,
			Publishing: rabbit.Publishing{MessageId: id(i), Headers: rabbit.Table{"leveret-attempt": int64(3), "leveret-error-code": "unavailable"}},
		}))
	}
	from := b.store.RetryLost("inventory")
	for range 2 { // again for the rest
		failed := map[string]error{}
		result, err := b.store.Replay(b.ctx, from, deadletter.Replay{Done: func(l *deadletter.Letter, err error) {
			if err != nil {
				failed[l.Queue] = err
			}
		}})
		require.NoError(t, err)
		require.Equal(t, 10, result.Failed, "%+v", result)
		require.Equal(t, []string{"gone"}, slices.Collect(maps.Keys(failed)))
		require.ErrorIs(t, failed["gone"], rabbit.ErrUnroutable)
		b.waitFor(from.Name, 10)
	}
	returned := b.take(queue)
	require.Len(t, returned, 20)
	require.Equal(t, int64(3), returned[0].Headers["leveret-attempt"], "the same attempt")
}

// A reader is seen while it reads, and not once it has ended.
func TestReaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 3, nil)
	from := b.store.DeadLetters(queue)
	for range 5 {
		_, err := b.store.Peek(b.ctx, from, 10, func(*deadletter.Letter) bool {
			n, err := b.store.Readers(b.ctx, from)
			require.NoError(t, err)
			require.Equal(t, 1, n)
			return false
		})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			n, err := b.store.Readers(b.ctx, from)
			return err == nil && n == 0
		}, patience, time.Millisecond)
	}
}

// Letters that arrive meanwhile wait for the next command, and those that another takes are not waited for.
func TestLettersComeAndGo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.bury(queue, 50, nil)
	seen := 0
	total, err := b.store.Peek(b.ctx, b.store.DeadLetters(queue), 100, func(*deadletter.Letter) bool {
		if seen++; seen == 1 {
			require.Len(t, b.take(names.DeadLetterQueue(queue)), 46, "the first four are held")
			require.NoError(t, b.publisher.Publish(b.ctx, &rabbit.Publication{RoutingKey: names.DeadLetterQueue(queue), Mandatory: true}))
		}
		return true
	})
	require.NoError(t, err)
	require.Equal(t, []int{50, 5}, []int{total, seen})
	b.waitFor(names.DeadLetterQueue(queue), 5)
}
