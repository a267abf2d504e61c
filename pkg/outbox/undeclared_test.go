package outbox_test

import (
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
)

// note publishes a message of a contract that the service order does not declare.
func note(t *testing.T, o *outbox.Outbox, id string) {
	t.Helper()
	require.NoError(t, o.InTx(t.Context(), func(tx *sql.Tx) error {
		return noted.Publish(t.Context(), outbox.In(tx), numbered{"k", 1}, leveret.MessageID(id))
	}))
}

const undeclared = "order does not declare that it sends desk.noted: add leveret.Publishes or leveret.Sends, or run a version that does"

// A message of a contract that the service does not declare waits, and is a trouble, until it is skipped, or a version runs that
// declares it.
func TestUndeclared(t *testing.T) {
	t.Parallel()
	source, b, ctx := newSource(t), newBook(), t.Context()
	db := opened(t, source)
	o := made(t, outbox.Config{DB: db, Lease: time.Second})
	note(t, o, "one")
	note(t, o, "two")
	stop := relaying(t, o, order, b)
	troubles := func() []string {
		s, err := o.Status(ctx)
		require.NoError(t, err)
		return s.Trouble
	}
	eventually(t, func() bool { all := troubles(); return len(all) == 1 && all[0] == undeclared })
	store(t, o, "others", 1)
	eventually(t, func() bool { return rows(t, db) == 2 })

	apart := made(t, outbox.Config{DB: opened(t, source), Lease: time.Second}) // as another process, which runs no relay, has it
	eventually(t, func() bool { return apart.Skip(ctx, "one") == nil })
	require.Equal(t, 1, rows(t, db))
	require.Equal(t, []string{undeclared}, troubles(), "there is another one")

	newer := leveret.NewService("order", leveret.Publishes(placed, noted))
	stop()
	relaying(t, apart, newer, b)
	eventually(t, func() bool { return rows(t, db) == 0 })
	s, err := apart.Status(ctx)
	require.NoError(t, err)
	require.Empty(t, s.Trouble)
	require.Equal(t, 1, b.ids["two"])
}

// The trouble is over as soon as the message is gone.
func TestUndeclaredIsOver(t *testing.T) {
	t.Parallel()
	o, ctx := made(t, outbox.Config{DB: database(t)}), t.Context()
	note(t, o, "one")
	relaying(t, o, order, newBook())
	eventually(t, func() bool { return o.Ready() != nil })
	require.EqualError(t, o.Ready(), undeclared)
	require.NoError(t, o.Skip(ctx, "one"))
	eventually(t, func() bool { return o.Ready() == nil })
}

// While a relay sends what is ready, nobody removes it; while none runs, anybody may.
func TestSkipOfWhatIsReady(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	o := made(t, outbox.Config{DB: db})
	sending, release := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	b.fail = func(*leveret.Message, numbered) error {
		if once.CompareAndSwap(false, true) {
			close(sending)
			<-release
		}
		return nil
	}
	store(t, o, "k", 1, 2, 3)
	require.NoError(t, o.Skip(ctx, "k-1"))
	stop := relaying(t, o, order, b)
	<-sending
	err := o.Skip(ctx, "k-2")
	require.ErrorIs(t, err, leveret.FailedPrecondition)
	require.ErrorContains(t, err, "the message k-2 is ready, and sent by itself")
	close(release)
	eventually(t, func() bool { return rows(t, db) == 0 })
	stop()
	require.Equal(t, []int{2, 3}, b.got["k"])
}

// What cannot be decided about a message depends on what it waits for.
func TestRefusals(t *testing.T) {
	t.Parallel()
	db, b, ctx := database(t), newBook(), t.Context()
	b.fail = func(_ *leveret.Message, n numbered) error {
		if n.N == 1 {
			return leveret.Errorf(leveret.InvalidArgument, "wrong")
		}
		return nil
	}
	o := made(t, outbox.Config{DB: db})
	store(t, o, "k", 1, 2)
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		return placed.Publish(ctx, outbox.In(tx), numbered{"k", 3}, leveret.MessageID("later"), leveret.After(time.Hour))
	}))
	relaying(t, o, order, b)
	eventually(t, func() bool { e, err := o.Get(ctx, "k-1"); return err == nil && e.State == outbox.Aside })
	for id, want := range map[string]string{
		"later": `the message later is for later \(due in (1h0m0s|59m\d+s)\): outbox cancel removes it`,
		"k-2":   "the message k-2 waits behind k-1",
	} {
		for _, err := range []error{o.Retry(ctx, id), o.Skip(ctx, id)} {
			require.ErrorIs(t, err, leveret.FailedPrecondition)
			require.Regexp(t, want, err.Error())
		}
	}
	require.ErrorIs(t, o.Retry(ctx, "none"), leveret.NotFound)
	require.ErrorIs(t, o.Skip(ctx, "none"), leveret.NotFound)
	require.Equal(t, 3, rows(t, db))
}
