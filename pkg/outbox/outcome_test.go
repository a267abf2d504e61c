package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
)

// However often one message meets what others do not, it is not set aside for what is certainly not its fault.
func TestBadLuck(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]error{
		"full":    leveret.Errorf(leveret.ResourceExhausted, "the queue is full"),
		"refused": fmt.Errorf("a right is missing: %w", leveret.ErrRefused),
		"slow":    context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, b := database(t), newBook()
			var tried atomic.Int64
			b.fail = func(_ *leveret.Message, n numbered) error {
				if n.Key == "unlucky" && tried.Add(1) <= 7 {
					return wrong
				}
				return nil
			}
			o := made(t, outbox.Config{DB: db})
			store(t, o, "unlucky", 1)
			relaying(t, o, order, b)
			for n := 0; tried.Load() < 8; n++ { // others are sent meanwhile
				store(t, o, "others", n)
				eventually(t, func() bool { return tried.Load() >= 8 || rows(t, db) <= 1 })
			}
			eventually(t, func() bool { return rows(t, db) == 0 })
			require.Equal(t, []int{1}, b.got["unlucky"])
		})
	}
}

// What the confirm does not come for is a trouble, which ends.
func TestNoConfirm(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	var confirmed atomic.Bool
	b.fail = func(*leveret.Message, numbered) error {
		if !confirmed.Load() {
			return context.DeadlineExceeded
		}
		return nil
	}
	o := made(t, outbox.Config{DB: db, Lease: time.Second})
	store(t, o, "k", 1, 2)
	relaying(t, o, order, b)
	eventually(t, func() bool { s, err := o.Status(ctx); return err == nil && len(s.Trouble) == 1 })
	confirmed.Store(true)
	eventually(t, func() bool { return rows(t, db) == 0 })
	eventually(t, func() bool { s, err := o.Status(ctx); return err == nil && len(s.Trouble) == 0 })
}

// A sender that says at once that there is no connection is not asked again at once.
func TestNotConnected(t *testing.T) {
	t.Parallel()
	db, b := database(t), newBook()
	var tried atomic.Int64
	b.fail = func(*leveret.Message, numbered) error {
		if tried.Add(1) <= 3 {
			return leveret.ErrNotConnected
		}
		return nil
	}
	o := made(t, outbox.Config{DB: db})
	store(t, o, "k", 1)
	began := time.Now()
	relaying(t, o, order, b)
	eventually(t, func() bool { return rows(t, db) == 0 })
	require.GreaterOrEqual(t, time.Since(began), 3*time.Second)
}

// unready is a sender that says whether it is ready, and waits while it is not.
type unready struct {
	leveret.Sender
	ready atomic.Bool
}

func (u *unready) Ready() error {
	if !u.ready.Load() {
		return leveret.ErrNotConnected
	}
	return nil
}

func (u *unready) Send(ctx context.Context, m *leveret.Message) error {
	if !u.ready.Load() {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", leveret.ErrNotConnected, ctx.Err())
	}
	return u.Sender.Send(ctx, m)
}

// A relay that does not reach the broker leaves its share to one that does, and takes it back.
func TestCutOff(t *testing.T) {
	t.Parallel()
	source, ctx := newSource(t), t.Context()
	here, there := newBook(), newBook()
	one, two := made(t, outbox.Config{DB: opened(t, source), Lease: time.Second}), made(t, outbox.Config{DB: opened(t, source), Lease: time.Second})
	cut := &unready{Sender: there}
	relaying(t, one, order, here)
	relaying(t, two, order, cut)
	stored := 0
	more := func() {
		for range 100 {
			store(t, one, fmt.Sprint(stored), stored)
			stored++
		}
	}
	db := opened(t, source)
	more()
	eventually(t, func() bool { return rows(t, db) == 0 })
	require.Zero(t, there.all.Load())
	eventually(t, func() bool {
		s, err := two.Status(ctx)
		return err == nil && len(s.Trouble) == 1
	})

	cut.ready.Store(true)
	eventually(t, func() bool {
		more()
		return there.all.Load() > 0
	})
	eventually(t, func() bool { return rows(t, db) == 0 })
}

// The middleware may be there twice.
func TestOnceTwice(t *testing.T) {
	t.Parallel()
	o, ctx := made(t, outbox.Config{DB: database(t)}), t.Context()
	handled := 0
	h := o.Once(o.Once(func(ctx context.Context, _ *leveret.Message) error {
		require.NotNil(t, outbox.Tx(ctx))
		handled++
		return nil
	}))
	m, err := placed.Message(ctx, numbered{"k", 7})
	require.NoError(t, err)
	require.NoError(t, h(ctx, m))
	require.NoError(t, h(ctx, m))
	require.Equal(t, 1, handled)
}

// However much is blocked, what is ready is counted, and its age is known.
func TestMuchIsBlocked(t *testing.T) {
	t.Parallel()
	db, ctx := database(t), t.Context()
	o := made(t, outbox.Config{DB: db})
	store(t, o, "k", 0, 1)
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE leveret_outbox SET tries = 1, due_at = 9223372036854775807 WHERE message_id = 'k-0'")
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)
			INSERT INTO leveret_outbox (contract, slot, order_key, message_id, due_at, since, properties, body)
			SELECT contract, slot, order_key, 'm' || x, 0, since, properties, body FROM leveret_outbox, c WHERE message_id = 'k-1'`)
		return err
	}))
	store(t, o, "other", 1)
	_, err := db.ExecContext(ctx, "UPDATE leveret_outbox SET since = since - 60000000 WHERE message_id = 'other-1'")
	require.NoError(t, err)
	s, err := o.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, map[outbox.State]int{outbox.Ready: 10000, outbox.Blocked: 10000, outbox.Aside: 1, outbox.Later: 0}, s.Counts, "at most")
	require.Equal(t, 1, s.BlockedKeys)
	require.GreaterOrEqual(t, s.Lag, time.Minute)
}
