package order

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

var (
	closing = Status{State: StateClosing}
	expired = Status{StateCancelled, queues.CancelExpired}
)

// closes sets the payment service's answer to payment.close: an error, or that it is closed.
func (b *bundle) closes(err error) {
	leverettest.Answer(b.payment, queues.ClosePayment, func(_ context.Context, q queues.ClosePaymentRequest) (queues.ClosePaymentReply, error) {
		return queues.ClosePaymentReply{OrderID: q.OrderID, State: "in_a_state_of_tomorrow"}, err
	})
}

// askedToClose returns how often payment was asked to close something.
func (b *bundle) askedToClose() (n int) {
	for _, m := range b.payment.Messages() {
		if m.Contract == queues.ClosePayment {
			n++
		}
	}
	return n
}

// later returns the checks that are stored for later.
func (b *bundle) later(t *testing.T) []*outbox.Entry {
	t.Helper()
	entries, err := b.outbox.List(t.Context(), outbox.Later, 10)
	require.NoError(t, err)
	return entries
}

// takeCheck takes the only check out of the outbox, as a relay does when its time has come, and returns its id.
func (b *bundle) takeCheck(t *testing.T) string {
	t.Helper()
	entries := b.later(t)
	require.Len(t, entries, 1)
	require.NoError(t, b.outbox.Cancel(t.Context(), entries[0].ID))
	return entries[0].ID
}

// checks delivers a check with an id.
func (b *bundle) checks(t *testing.T, r queues.PlaceOrderCommand, id string) func(...leverettest.Option) leverettest.Delivered {
	t.Helper()
	return func(options ...leverettest.Option) leverettest.Delivered {
		options = append([]leverettest.Option{leverettest.With(leveret.MessageID(id))}, options...)
		return leverettest.Deliver(t.Context(), b.handlers, queues.CheckOrder, queues.CheckOrderCommand{OrderID: r.OrderID}, options...)
	}
}

// check has the time of the next check come.
func (b *bundle) check(t *testing.T, r queues.PlaceOrderCommand) {
	t.Helper()
	got := b.checks(t, r, b.takeCheck(t))()
	require.Equal(t, leveret.VerdictAck, got.Verdict, "%v", got.Err)
}

// age has an order be older than it is, and its check with it, which is then for that time. Nothing of it is in the outbox.
func (b *bundle) age(t *testing.T, r queues.PlaceOrderCommand, by time.Duration) {
	t.Helper()
	o := b.order(t, r)
	require.NoError(t, b.store.InTx(t.Context(), func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(t.Context(), "DELETE FROM leveret_outbox WHERE message_id = $1", o.checkID()); err != nil {
			return err
		}
		_, err := tx.ExecContext(t.Context(), `UPDATE orders SET received_at = received_at - $1, placed_at = placed_at - $1, decided_at = decided_at - $1,
			check_at = check_at - $1, repeated_at = repeated_at - $1 WHERE order_id = $2`, by.Microseconds(), r.OrderID)
		return err
	}))
}

// clock returns the time by the database's clock.
func (b *bundle) clock(t *testing.T) time.Time {
	t.Helper()
	now, err := b.store.Now(t.Context(), b.store.Reader())
	require.NoError(t, err)
	return now
}

// checkOf returns the id of an order's next check.
func (b *bundle) checkOf(t *testing.T, r queues.PlaceOrderCommand) string {
	t.Helper()
	return b.order(t, r).checkID()
}

func (b *bundle) order(t *testing.T, r queues.PlaceOrderCommand) *Order {
	t.Helper()
	o, err := b.store.Find(t.Context(), r.OrderID, r.CustomerID)
	require.NoError(t, err)
	return o
}

// unfinished leads an order to a state.
func unfinished() map[State]func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) {
	return map[State]func(t *testing.T, b *bundle, r queues.PlaceOrderCommand){
		StatePending: func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) {
			t.Helper()
			b.answer(func(queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
				return queues.AuthorizePaymentReply{}, leveret.ErrUnconfirmed
			})
			require.Error(t, b.Place(t.Context(), r))
		},
		StatePlaced: func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) {
			t.Helper()
			require.NoError(t, b.Place(t.Context(), r))
		},
		StateCaptured: func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) {
			t.Helper()
			require.NoError(t, b.Place(t.Context(), r))
			require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
		},
		StateReserved: func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) {
			t.Helper()
			require.NoError(t, b.Place(t.Context(), r))
			require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
		},
	}
}

// owed is what is sent again for an order that takes long.
var owed = map[State][]string{
	StatePending: {}, StatePlaced: {"order.placed", "inventory.reserve"}, StateCaptured: {"inventory.reserve"}, StateReserved: {"order.placed"},
}

func TestTimeLimit(t *testing.T) {
	t.Parallel()
	for state, lead := range unfinished() {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b, r := setup(t), request()
			b.closes(nil)
			lead(t, b, r)
			require.Equal(t, Status{State: state}, b.status(t, r))
			before := ids(b.forget(t))
			o := b.order(t, r)
			require.Equal(t, o.ReceivedAt.Add(DefaultTimeLimit/2), b.later(t)[0].DueAt)

			b.check(t, r)
			again := b.forget(t)
			require.Equal(t, owed[state], shoptest.Names(again))
			for _, m := range again {
				require.NotContains(t, before, m.ID, "an inbox that knows the first would ignore the second")
			}
			require.Equal(t, Status{State: state}, b.status(t, r))
			require.Zero(t, b.askedToClose())
			require.Equal(t, o.ReceivedAt.Add(DefaultTimeLimit), b.later(t)[0].DueAt)

			b.check(t, r)
			require.Equal(t, expired, b.status(t, r))
			require.Equal(t, 1, b.askedToClose())
			sent := b.forget(t)
			require.Equal(t, []string{"order.cancelled"}, shoptest.Names(sent))
			require.Equal(t, queues.CancelExpired, leverettest.Sent(&recorded{sent}, queues.OrderCancelled)[0].Reason)
			require.Equal(t, b.order(t, r).DecidedAt.Add(DefaultTimeLimit/2), b.later(t)[0].DueAt)

			b.check(t, r)
			require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)), "once more, for services that have lost it")
			require.NotEqual(t, ids(sent), ids(b.messages(t)))
			require.Equal(t, 2, b.askedToClose())
			require.Empty(t, b.later(t), "nothing is left to do")
			require.Zero(t, b.order(t, r).CheckAt)
		})
	}
}

// recorded is messages that were sent.
type recorded struct{ messages []*leveret.Message }

func (r *recorded) Messages() []*leveret.Message { return r.messages }

func ids(messages []*leveret.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, m.ID)
	}
	return all
}

// TestConfirmedInTime: nothing is left in the outbox, and a check that was under way does nothing.
func TestConfirmedInTime(t *testing.T) {
	t.Parallel()
	for _, underWay := range []bool{false, true} {
		b, r := setup(t), request()
		require.NoError(t, b.Place(t.Context(), r))
		id := b.later(t)[0].ID
		if underWay {
			b.takeCheck(t)
		}
		require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
		require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
		require.Empty(t, b.later(t))
		b.forget(t)
		require.NoError(t, b.checks(t, r, id)().Err)
		require.Empty(t, b.messages(t))
		require.Zero(t, b.askedToClose())
		require.Equal(t, Status{State: StateConfirmed}, b.status(t, r))
	}
}

// TestConfirmedByTheVersionBefore: version 0.1.0, beside this one, has confirmed an order and left its check. Payment is
// not asked to close it.
func TestConfirmedByTheVersionBefore(t *testing.T) {
	t.Parallel()
	b, r := setup(t), request()
	b.closes(nil)
	require.NoError(t, b.Place(t.Context(), r))
	b.forget(t)
	require.NoError(t, b.store.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE orders SET state = 'confirmed', decided_at = 5 WHERE order_id = $1", r.OrderID)
		return err
	}))
	b.check(t, r)
	require.Equal(t, Status{State: StateConfirmed}, b.status(t, r))
	require.Zero(t, b.askedToClose())
	require.Empty(t, b.messages(t))
	require.Empty(t, b.later(t))
	require.Zero(t, b.order(t, r).CheckAt)
}

// TestLostCancellation: services that have lost a cancellation, for whatever reason, get it again: payment as a request, others
// as the event.
func TestLostCancellation(t *testing.T) {
	t.Parallel()
	for want, cancel := range map[Status]func(b *bundle, r queues.PlaceOrderCommand) error{
		{StateCancelled, queues.CancelDeclined}: func(b *bundle, r queues.PlaceOrderCommand) error {
			b.answer(decline)
			return b.Place(t.Context(), r)
		},
		{StateCancelled, queues.CancelOutOfStock}: func(b *bundle, r queues.PlaceOrderCommand) error {
			require.NoError(t, b.Place(t.Context(), r))
			return b.OnStockRejected(t.Context(), rejected(r))
		},
		requested: func(b *bundle, r queues.PlaceOrderCommand) error {
			require.NoError(t, b.Place(t.Context(), r))
			_, err := b.Cancel(t.Context(), cancellation(r))
			return err
		},
	} {
		b, r := setup(t), request()
		require.NoError(t, cancel(b, r))
		require.Equal(t, want, b.status(t, r))
		b.forget(t)
		b.closes(leveret.Errorf(leveret.NotFound, "payment of version 0.1.0 has no such path"))
		for range 3 {
			b.check(t, r)
			require.Equal(t, want, b.status(t, r))
			require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)), "once, whatever payment answers")
			require.Len(t, b.later(t), 1)
		}
		b.closes(nil)
		b.check(t, r)
		require.Equal(t, want, b.status(t, r))
		require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))
		require.Equal(t, 4, b.askedToClose())
		require.Empty(t, b.later(t))
	}
}

// TestPaymentIsAway: the order is closing for as long as that takes, whatever is reported meanwhile, and no message fails.
func TestPaymentIsAway(t *testing.T) {
	t.Parallel()
	for state, lead := range unfinished() {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b, r := setup(t), request()
			lead(t, b, r)
			b.closes(leveret.ErrNotConnected)
			b.check(t, r)
			b.forget(t)
			var waits []time.Duration
			for range 20 {
				before := b.later(t)[0].DueAt
				b.check(t, r)
				require.Equal(t, closing, b.status(t, r))
				waits = append(waits, b.later(t)[0].DueAt.Sub(before).Round(time.Minute))
				b.restart(t)
			}
			require.Equal(t, 20, b.askedToClose())
			require.Equal(t, time.Minute, waits[0])
			require.IsIncreasing(t, waits[1:5])
			require.Equal(t, DefaultTimeLimit/2, waits[19])

			asked := b.asked()
			require.NoError(t, b.Place(t.Context(), r))
			require.Equal(t, asked, b.asked(), "nothing is authorised for it")
			require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
			require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
			require.NoError(t, b.OnStockRejected(t.Context(), rejected(r)))
			for _, e := range []Event{EventAuthorized, EventDeclined} { // of a call that began before
				require.NoError(t, b.apply(t.Context(), Update{OrderID: r.OrderID, Event: e}))
			}
			got := leverettest.Call(t.Context(), b.handlers, queues.CancelOrder, cancellation(r))
			require.NoError(t, got.Err)
			require.Equal(t, "closing", got.Reply.State)
			require.Nil(t, got.Reply.DecidedAt)
			require.Empty(t, b.messages(t))

			b.closes(nil)
			b.check(t, r)
			require.Equal(t, expired, b.status(t, r))
			require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))
		})
	}
}

// TestPaymentClosesAnother: a reply that is for another order is none.
func TestPaymentClosesAnother(t *testing.T) {
	t.Parallel()
	b, r := setup(t), request()
	require.NoError(t, b.Place(t.Context(), r))
	leverettest.Answer(b.payment, queues.ClosePayment, func(context.Context, queues.ClosePaymentRequest) (queues.ClosePaymentReply, error) {
		return queues.ClosePaymentReply{OrderID: uuid.NewString(), State: queues.ClosedVoided}, nil
	})
	b.check(t, r)
	b.check(t, r)
	require.Equal(t, closing, b.status(t, r))
}

// TestClockOfAnotherProcess: wherever the clock is of the process that has stored an order, others have half of the limit to
// answer what was sent again.
func TestClockOfAnotherProcess(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{-time.Hour, time.Hour} {
		b, r := setup(t), request()
		b.closes(leveret.ErrNotConnected)
		b.now = func() time.Time { return time.Now().Add(ahead) }
		require.NoError(t, b.Place(t.Context(), r))
		b.forget(t)
		start := b.clock(t)
		b.check(t, r)
		require.Equal(t, Status{State: StatePlaced}, b.status(t, r))
		require.Len(t, b.messages(t), 2, "it was the first check, whatever the clock says")
		require.GreaterOrEqual(t, b.later(t)[0].DueAt, start.Add(DefaultTimeLimit/2))
		for range 3 {
			b.check(t, r)
			require.Equal(t, closing, b.status(t, r))
			require.GreaterOrEqual(t, b.later(t)[0].DueAt, start.Add(time.Minute))
		}
	}
}

// TestOutageLongerThanTheLimit: a check that comes too late is the one that it was to be. What it sends again can be answered.
func TestOutageLongerThanTheLimit(t *testing.T) {
	t.Parallel()
	b, r := setup(t), request()
	b.closes(nil)
	require.NoError(t, b.Place(t.Context(), r))
	b.forget(t)
	b.age(t, r, 10*DefaultTimeLimit)
	start := b.clock(t)
	require.NoError(t, b.checks(t, r, b.checkOf(t, r))().Err)
	require.Equal(t, owed[StatePlaced], shoptest.Names(b.messages(t)))
	require.Equal(t, Status{State: StatePlaced}, b.status(t, r))
	require.GreaterOrEqual(t, b.later(t)[0].DueAt, start.Add(DefaultTimeLimit/2))
	b.check(t, r)
	require.Equal(t, expired, b.status(t, r))
}

// TestSilenceIsLoggedOnce: not for each order and check, and again after payment has answered.
func TestSilenceIsLoggedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var log bytes.Buffer
	b.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	b.restart(t)
	all := []queues.PlaceOrderCommand{request(), request(), request()}
	for _, r := range all {
		require.NoError(t, b.Place(t.Context(), r))
		b.check(t, r)
		b.age(t, r, 0) // out of the way of the next
	}
	for range 2 {
		b.closes(leveret.ErrNotConnected)
		for range 3 {
			for _, r := range all {
				require.NoError(t, b.checks(t, r, b.checkOf(t, r))().Err)
			}
		}
		require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
		require.Equal(t, 1, strings.Count(log.String(), "is asked again"))
		require.NotContains(t, log.String(), "closes orders again")
		b.closes(nil)
		for _, r := range all {
			require.NoError(t, b.checks(t, r, b.checkOf(t, r))().Err)
			b.age(t, r, 0)
		}
		require.Equal(t, 1, strings.Count(log.String(), "payment closes orders again"))
		log.Reset() // their cancellations are checked next
	}
}

// TestHandlerHasLittleTime: what payment does not answer is noted before the handler's time is over, so that no attempt is used
// up.
func TestHandlerHasLittleTime(t *testing.T) {
	t.Parallel()
	b, r := setup(t), request()
	require.NoError(t, b.Place(t.Context(), r))
	b.check(t, r)
	end := time.Now().Add(4 * time.Second)
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	var left, half time.Duration
	leverettest.Answer(b.payment, queues.ClosePayment, func(ctx context.Context, _ queues.ClosePaymentRequest) (queues.ClosePaymentReply, error) {
		until, ok := ctx.Deadline()
		require.True(t, ok)
		left, half = end.Sub(until), time.Until(end)/2
		return queues.ClosePaymentReply{}, context.DeadlineExceeded
	})
	leverettest.Deliver(ctx, b.handlers, queues.CheckOrder, queues.CheckOrderCommand{OrderID: r.OrderID}, leverettest.With(leveret.MessageID(b.takeCheck(t))))
	require.GreaterOrEqual(t, left, half)
}

// TestCheckOfAnUnknownOrder: the store was restored from a backup.
func TestCheckOfAnUnknownOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := b.checks(t, request(), "check-1")()
	require.NoError(t, got.Err)
	require.Equal(t, leveret.VerdictAck, got.Verdict)
}

func TestChecksInterrupted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before int // checks
		want   Status
		later  bool // another check is stored
	}{
		"half":           {0, Status{State: StatePlaced}, true},
		"limit":          {1, expired, true},
		"its announcing": {2, expired, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shoptest.Interrupted(t, func(t *testing.T) shoptest.Case {
				t.Helper()
				b, r := setup(t), request()
				b.closes(nil)
				require.NoError(t, b.Place(t.Context(), r))
				for range tc.before {
					b.check(t, r)
				}
				id := b.takeCheck(t)
				handle := func(options ...leverettest.Option) leverettest.Delivered { return b.checks(t, r, id)(options...) }
				c := b.interrupted(t, handle, func() {
					require.Equal(t, tc.want, b.status(t, r))
					if tc.later {
						require.Len(t, b.later(t), 1)
					} else {
						require.Empty(t, b.later(t))
					}
				})
				c.Later = tc.later
				return c
			})
		})
	}
}

// TestPlaceInterrupted: an order is never stored without its check.
func TestPlaceInterrupted(t *testing.T) {
	t.Parallel()
	shoptest.Interrupted(t, func(t *testing.T) shoptest.Case {
		t.Helper()
		b, r := setup(t), request()
		c := b.interrupted(t, deliver(t, b, queues.PlaceOrder, r), func() { require.Len(t, b.later(t), 1) })
		c.Later = true
		return c
	})
}

func TestAnnounce(t *testing.T) {
	t.Parallel()
	announce := func(b *bundle, r queues.PlaceOrderCommand) leverettest.Delivered {
		return leverettest.Deliver(t.Context(), b.handlers, queues.AnnounceOrder, queues.AnnounceOrderCommand{OrderID: r.OrderID})
	}
	for state, lead := range unfinished() {
		b, r := setup(t), request()
		lead(t, b, r)
		before := ids(b.forget(t))
		got := announce(b, r)
		require.NoError(t, got.Err)
		require.NoError(t, got.Again(t.Context()).Err)
		require.Equal(t, owed[state], shoptest.Names(b.messages(t)), "%s", state)
		for _, id := range ids(b.messages(t)) {
			require.NotContains(t, before, id)
		}
	}
	b, r := setup(t), request()
	require.NoError(t, b.Place(t.Context(), r))
	require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
	require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
	b.forget(t)
	require.NoError(t, announce(b, r).Err)
	require.Equal(t, []string{"order.confirmed"}, shoptest.Names(b.messages(t)))

	cancelled := request()
	b.answer(decline)
	require.NoError(t, b.Place(t.Context(), cancelled))
	b.forget(t)
	require.NoError(t, announce(b, cancelled).Err)
	require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))

	unknown := announce(b, request())
	require.ErrorIs(t, unknown.Err, ErrUnknown)
	require.Equal(t, leveret.VerdictDeadLetter, unknown.Verdict)
}
