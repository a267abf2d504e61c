package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
)

const patience = 2 * time.Minute

// eventually waits for a fact.
func eventually(t *testing.T, fact func() bool) {
	t.Helper()
	require.Eventually(t, fact, patience, time.Millisecond)
}

// store publishes numbered messages of a key in one transaction.
func store(t *testing.T, o *outbox.Outbox, key string, numbers ...int) {
	t.Helper()
	require.NoError(t, o.InTx(t.Context(), func(tx *sql.Tx) error {
		for _, n := range numbers {
			if err := placed.Publish(t.Context(), outbox.In(tx), numbered{key, n}, leveret.MessageID(fmt.Sprint(key, "-", n))); err != nil {
				return err
			}
		}
		return nil
	}))
}

func numbers(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// A key that has a message which was set aside, and thousands behind it, holds up no other; and goes on, in its order.
func TestLongBlockedKey(t *testing.T) {
	t.Parallel()
	const n = 4000
	db, b, ctx := database(t), newBook(), t.Context()
	b.fail = func(_ *leveret.Message, n numbered) error {
		if n.Key == "bad" && n.N == 0 {
			return leveret.Errorf(leveret.InvalidArgument, "wrong")
		}
		return nil
	}
	o := made(t, outbox.Config{DB: db})
	store(t, o, "bad", numbers(n)...)
	store(t, o, "good", numbers(100)...)
	relaying(t, o, order, b)
	eventually(t, func() bool { return rows(t, db) == n })
	s, err := o.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, map[outbox.State]int{outbox.Aside: 1, outbox.Blocked: n - 1, outbox.Ready: 0, outbox.Later: 0}, s.Counts)
	require.Equal(t, 1, s.BlockedKeys)
	require.Zero(t, s.Lag, "what is blocked is not late")
	found, err := o.List(ctx, outbox.Blocked, 3)
	require.NoError(t, err)
	require.Len(t, found, 3)
	require.Equal(t, outbox.Blocked, found[0].State)
	store(t, o, "bad", n)
	require.NoError(t, o.Skip(ctx, "bad-0"))
	eventually(t, func() bool { return rows(t, db) == 0 })
	require.Equal(t, numbers(n + 1)[1:], b.got["bad"])
	require.Equal(t, numbers(100), b.got["good"])
}

// What becomes ready before a message that was set aside, and is retried, is sent before it.
func TestReadyBeforeARetriedOne(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	var fixed atomic.Bool
	b.fail = func(_ *leveret.Message, n numbered) error {
		if n.N == 9 && !fixed.Load() {
			return leveret.Errorf(leveret.InvalidArgument, "wrong")
		}
		return nil
	}
	o := made(t, outbox.Config{DB: db})
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		return placed.Publish(ctx, outbox.In(tx), numbered{"k", 5}, leveret.MessageID("later"), leveret.After(time.Hour))
	}))
	store(t, o, "k", 9, 10)
	relaying(t, o, order, b)
	eventually(t, func() bool { e, err := o.Get(ctx, "k-9"); return err == nil && e.State == outbox.Aside })
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error { return outbox.Move(ctx, tx, "later", time.Now()) }))
	fixed.Store(true)
	require.NoError(t, o.Retry(ctx, "k-9"))
	eventually(t, func() bool { return rows(t, db) == 0 })
	require.Len(t, b.got["k"], 3)
	require.Less(t, index(b.got["k"], 9), index(b.got["k"], 10))
}

func index(all []int, n int) int {
	for i, x := range all {
		if x == n {
			return i
		}
	}
	return -1
}

// A message that alone of its contract cannot be sent, with an error that blames the way, is set aside while others go on.
func TestOnlyOneCannotBeSent(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	b.fail = func(_ *leveret.Message, n numbered) error {
		if n.Key == "nowhere" {
			return leveret.Errorf(leveret.NotFound, "no queue is bound for it")
		}
		return nil
	}
	o := made(t, outbox.Config{DB: db})
	store(t, o, "nowhere", 1)
	relaying(t, o, order, b)
	stored := 0
	eventually(t, func() bool {
		store(t, o, "others", stored)
		stored++
		e, err := o.Get(ctx, "nowhere-1")
		return err == nil && e.State == outbox.Aside
	})
	eventually(t, func() bool { return rows(t, db) == 1 })
	require.Equal(t, numbers(stored), b.got["others"])
	eventually(t, func() bool { s, err := o.Status(ctx); return err == nil && len(s.Trouble) == 0 })
}

// A sender that panics over a message does not end the process.
func TestPanicSetsAside(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	b.fail = func(_ *leveret.Message, n numbered) error {
		if n.N == 1 {
			panic("a bug")
		}
		return nil
	}
	o := made(t, outbox.Config{DB: db})
	store(t, o, "k", 0)
	store(t, o, "l", 1)
	relaying(t, o, order, b)
	eventually(t, func() bool { return rows(t, db) == 1 })
	eventually(t, func() bool { e, err := o.Get(ctx, "l-1"); return err == nil && e.State == outbox.Aside })
	e, err := o.Get(ctx, "l-1")
	require.NoError(t, err)
	require.Contains(t, e.Trouble, "a bug")
}

// What was deleted while a relay had it is not sent; and what has its number now is not deleted.
func TestDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	sending, release := make(chan struct{}), make(chan struct{})
	b.fail = func(_ *leveret.Message, n numbered) error {
		if n.N == 0 {
			close(sending)
			<-release
		}
		return nil
	}
	o := made(t, outbox.Config{DB: db})
	store(t, o, "k", 0, 1)
	relaying(t, o, order, b)
	<-sending
	_, err := db.ExecContext(ctx, "UPDATE leveret_outbox SET message_id = 'another', due_at = $1 WHERE message_id = 'k-0'", time.Now().Add(time.Hour).UnixMicro())
	require.NoError(t, err)
	_, err = db.ExecContext(ctx, "DELETE FROM leveret_outbox WHERE message_id = 'k-1'")
	require.NoError(t, err)
	close(release)
	store(t, o, "k", 2)
	eventually(t, func() bool { return rows(t, db) == 1 })
	e, err := o.Get(ctx, "another")
	require.NoError(t, err)
	require.Equal(t, outbox.Later, e.State)
	require.Equal(t, 0, b.got["k"][0])
	require.Equal(t, 2, b.got["k"][len(b.got["k"])-1])
}

// What cannot be stored is refused at once.
func TestInRefuses(t *testing.T) {
	t.Parallel()
	db, ctx := database(t), t.Context()
	o := made(t, outbox.Config{DB: db})
	m, err := placed.Message(ctx, numbered{"k", 1})
	require.NoError(t, err)
	for why, change := range map[string]func(*leveret.Message){
		"has 0 bytes":         func(m *leveret.Message) { m.ID = "" },
		"has 256 bytes":       func(m *leveret.Message) { m.ID = strings.Repeat("x", 256) },
		"NaN cannot travel":   func(m *leveret.Message) { m.Headers = map[string]any{"n": math.NaN()} },
		"the message id":      func(m *leveret.Message) { m.ID = "a\x00b" },
		"without a contract":  func(m *leveret.Message) { m.Contract = nil },
		"requests are called": func(m *leveret.Message) { m.Contract = leveret.NewRequest[numbered, numbered]("desk.ask") },
	} {
		other := *m
		change(&other)
		err := o.InTx(ctx, func(tx *sql.Tx) error { return outbox.In(tx).Send(ctx, &other) })
		require.ErrorContains(t, err, why)
		require.ErrorIs(t, err, leveret.InvalidArgument)
	}
	require.Zero(t, rows(t, db))
}

// The inbox forgets ids whose time is over, though no relay runs.
func TestInboxForgets(t *testing.T) {
	t.Parallel()
	db, ctx := database(t), t.Context()
	o := made(t, outbox.Config{DB: db, Remember: time.Millisecond})
	h := o.Once(func(context.Context, *leveret.Message) error { return nil })
	m, err := placed.Message(ctx, numbered{"k", 7})
	require.NoError(t, err)
	kept := 0
	for i := range 1500 {
		m.ID = fmt.Sprint("m-", i)
		require.NoError(t, h(ctx, m))
	}
	require.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM leveret_inbox").Scan(&kept))
	require.Less(t, kept, 1200)
	require.NotZero(t, kept)
	require.NoError(t, errors.Join(err))
}
