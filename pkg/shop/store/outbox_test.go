package store_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

type tick struct{}

var (
	ticked  = leveret.NewEvent[tick]("clock.ticked")
	counted = leveret.NewEvent[tick]("counter.counted")
	ask     = leveret.NewRequest[tick, tick]("counter.ask")
	counter = leveret.NewService("counter", leveret.SubscribesTo(ticked), leveret.Answers(ask), leveret.Publishes(counted))
)

// TestOnce: however often and by how many a message is handled, its effect, and what is sent for it, happen once, even if a
// handling fails in between. Requests, and what is done outside of handlers, are none of the inbox's business.
func TestOnce(t *testing.T) {
	t.Parallel()
	source := shoptest.Source(t, "count")
	s := open(t, source)
	o := shoptest.Outbox(t, s)
	increase := func(ctx context.Context, failure error) error {
		return store.Once(ctx, o, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "UPDATE counts SET n = n + 1"); err != nil {
				return err
			}
			return errors.Join(counted.Publish(ctx, outbox.In(tx), tick{}), failure)
		})
	}
	var failure error
	h := leveret.NewHandlers(counter, leveret.HandlersConfig{})
	ticked.Subscribe(h, func(ctx context.Context, _ tick) error { return increase(ctx, failure) })
	ask.Answer(h, func(ctx context.Context, _ tick) (tick, error) { return tick{}, increase(ctx, nil) })
	require.NoError(t, h.Err())
	stored := func() int {
		n := 0
		require.NoError(t, store.View(t.Context(), source, func(q store.Querier) (err error) {
			n, err = store.Unsent(t.Context(), q)
			return err
		}))
		return n
	}

	failure = errors.New("not now")
	id := leverettest.With(leveret.MessageID("m-1"))
	require.ErrorIs(t, leverettest.Deliver(t.Context(), h, ticked, tick{}, id).Err, failure)
	require.Equal(t, 0, count(t, source))
	require.Equal(t, 0, stored())

	failure = nil
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := leverettest.Deliver(t.Context(), h, ticked, tick{}, id).Err; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, count(t, source))
	require.Equal(t, 1, stored())

	for range 2 {
		require.NoError(t, leverettest.Call(t.Context(), h, ask, tick{}, id).Err)
		require.NoError(t, increase(t.Context(), nil))
	}
	require.Equal(t, 5, count(t, source))
	require.Equal(t, 5, stored())
}
