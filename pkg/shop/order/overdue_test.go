package order

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

// TestOverdue: those that wait for payment count, and those whose check does not arrive.
func TestOverdue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	overdue := func() int64 {
		n, err := b.overdue(t.Context())
		require.NoError(t, err)
		return n
	}
	b.closes(leveret.ErrNotConnected)
	r, late, cancelled := request(), request(), request()
	require.NoError(t, b.Place(t.Context(), r))
	b.check(t, r)
	require.Zero(t, overdue())
	b.check(t, r)
	require.EqualValues(t, 1, overdue())
	b.age(t, r, time.Hour)
	require.EqualValues(t, 1, overdue(), "once")

	require.NoError(t, b.Place(t.Context(), late))
	b.age(t, late, DefaultTimeLimit/2+30*time.Second)
	require.EqualValues(t, 1, overdue(), "a little late")
	b.age(t, late, time.Minute)
	require.EqualValues(t, 2, overdue())

	b.answer(decline)
	require.NoError(t, b.Place(t.Context(), cancelled))
	b.age(t, cancelled, time.Hour)
	require.EqualValues(t, 2, overdue(), "it is finished")
}

// TestLostChecks: a check that the broker has lost is replaced, by one that does the same, and does nothing if it turns up after
// all. Orders of an older version get one, too.
func TestLostChecks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.closes(nil)
	lost, fine, old := request(), request(), request()
	for _, r := range []queues.PlaceOrderCommand{lost, old, fine} {
		require.NoError(t, b.Place(t.Context(), r))
	}
	execute := func(statement string, arguments ...any) {
		require.NoError(t, b.store.InTx(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), statement, arguments...)
			return err
		}))
	}
	b.forget(t)
	b.age(t, lost, DefaultTimeLimit/2)
	b.age(t, old, DefaultTimeLimit/2-time.Minute)
	execute("UPDATE orders SET check_at = NULL WHERE order_id = $1", old.OrderID)
	b.now = func() time.Time { return time.Now().Add(10 * DefaultTimeLimit) }
	require.NoError(t, b.replaceChecks(t.Context()))
	require.Len(t, b.later(t), 1, "none is late, whatever the clock of this process says")

	b.age(t, lost, DefaultTimeLimit/2+time.Second)
	execute("UPDATE orders SET received_at = received_at - $1 WHERE order_id = $2", time.Hour.Microseconds(), old.OrderID)
	for _, since := range []time.Duration{time.Hour, 0} { // a check waits for the broker, or is just being sent
		execute("INSERT INTO leveret_outbox (slot, order_key, message_id, contract, body, properties, since, due_at) VALUES (0, '', 'waits', 'order.check', '{}', '{}', $1, 0)",
			time.Now().Add(-since).UnixMicro())
		require.NoError(t, b.replaceChecks(t.Context()))
		if since > 0 {
			require.Len(t, b.later(t), 1, "none is lost, as far as is known")
		}
		execute("DELETE FROM leveret_outbox WHERE message_id = 'waits'")
	}
	require.Len(t, b.later(t), 3)
	b.age(t, lost, DefaultTimeLimit) // it is lost, too
	taken := b.checkOf(t, lost)
	for range 2 {
		require.NoError(t, b.replaceChecks(t.Context()))
		require.Len(t, b.later(t), 3)
	}
	require.NoError(t, b.checks(t, lost, taken)().Err)
	require.Empty(t, b.messages(t))
	for _, r := range []queues.PlaceOrderCommand{lost, old} {
		require.NoError(t, b.checks(t, r, b.checkOf(t, r))().Err)
		require.Equal(t, owed[StatePlaced], shoptest.Names(b.forget(t)), "it is sent again before its time is over")
		require.Equal(t, Status{State: StatePlaced}, b.status(t, r))
		require.NoError(t, b.checks(t, r, b.checkOf(t, r))().Err)
		require.Equal(t, expired, b.status(t, r))
		b.forget(t)
	}
	require.Equal(t, Status{State: StatePlaced}, b.status(t, fine))
}

// TestManyLostChecks: more than fit into one transaction; and one of an order that cannot be read.
func TestManyLostChecks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = most + 1
	var bad queues.PlaceOrderCommand
	for range n {
		bad = request()
		require.NoError(t, b.Place(t.Context(), bad))
	}
	require.NoError(t, b.store.InTx(t.Context(), func(tx *sql.Tx) error {
		for _, statement := range []string{
			"DELETE FROM leveret_outbox", "UPDATE orders SET check_at = check_at - 3600000000",
			"UPDATE orders SET lines = 'these are none' WHERE order_id = '" + bad.OrderID + "'",
		} {
			if _, err := tx.ExecContext(t.Context(), statement); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, b.replaceChecks(t.Context()))
	checks, err := b.outbox.List(t.Context(), outbox.Later, 2*n)
	require.NoError(t, err)
	require.Len(t, checks, n)
	got := b.checks(t, bad, "check")()
	require.Equal(t, leveret.VerdictDeadLetter, got.Verdict, "a person sees it")
	require.ErrorIs(t, got.Err, leveret.DataLoss)
}
