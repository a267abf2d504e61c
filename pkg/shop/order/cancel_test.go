package order

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

var requested = Status{StateCancelled, queues.CancelRequested}

func cancellation(r queues.PlaceOrderCommand) queues.CancelOrderRequest {
	return queues.CancelOrderRequest{OrderID: r.OrderID, CustomerID: r.CustomerID}
}

// last returns the message that was sent last.
func (b *bundle) last(t *testing.T) *leveret.Message {
	t.Helper()
	all := b.sent.Messages()
	require.NotEmpty(t, all)
	return all[len(all)-1]
}

// abandon delivers a command that was sent.
func (b *bundle) abandon(t *testing.T, m *leveret.Message) leverettest.Delivered {
	t.Helper()
	c, err := queues.AbandonOrder.Decode(m.Body)
	require.NoError(t, err)
	return leverettest.Deliver(t.Context(), b.handlers, queues.AbandonOrder, c, leverettest.With(leveret.MessageID(m.ID)))
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(t *testing.T, b *bundle, r queues.PlaceOrderCommand){
		"pending": func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) {
			t.Helper()
			b.answer(func(queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
				return queues.AuthorizePaymentReply{}, leveret.ErrUnconfirmed
			})
			require.ErrorIs(t, b.Place(t.Context(), r), leveret.ErrOutcomeUnknown)
		},
		"placed": func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) {
			t.Helper()
			require.NoError(t, b.Place(t.Context(), r))
		},
		"captured": func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) {
			t.Helper()
			require.NoError(t, b.Place(t.Context(), r))
			require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
		},
		"reserved": func(t *testing.T, b *bundle, r queues.PlaceOrderCommand) {
			t.Helper()
			require.NoError(t, b.Place(t.Context(), r))
			require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, &leverettest.Recorder{})
			r := request()
			before(t, b, r)
			require.Equal(t, Status{State: State(name)}, b.status(t, r))
			b.sent.Reset()

			first := leverettest.Call(t.Context(), b.handlers, queues.CancelOrder, cancellation(r))
			require.NoError(t, first.Err)
			require.Equal(t, "cancelled", first.Reply.State)
			require.Equal(t, queues.CancelRequested, first.Reply.Reason)
			require.NotNil(t, first.Reply.DecidedAt)
			require.Equal(t, []string{"order.abandon"}, shoptest.Names(b.sent), "the request announces nothing itself")

			again := leverettest.Call(t.Context(), b.handlers, queues.CancelOrder, cancellation(r))
			require.NoError(t, again.Err)
			require.Equal(t, first.Reply, again.Reply)

			command := b.last(t)
			require.NoError(t, b.abandon(t, command).Err)
			require.NoError(t, b.abandon(t, command).Err)
			require.Equal(t, []string{"order.abandon", "order.cancelled", "order.cancelled"}, shoptest.Names(b.sent))
			require.Equal(t, b.sent.Messages()[1].ID, b.sent.Messages()[2].ID)

			// What was under way no longer matters, and nothing is announced for it.
			b.sent.Reset()
			b.answer(authorize)
			require.NoError(t, b.Place(t.Context(), r))
			require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
			require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
			require.Equal(t, requested, b.status(t, r))
			require.Empty(t, b.sent.Messages())
		})
	}
}

func TestCancelTooLate(t *testing.T) {
	t.Parallel()
	b := setup(t, &leverettest.Recorder{})
	r := request()
	require.NoError(t, b.Place(t.Context(), r))
	require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
	require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
	b.sent.Reset()

	got := leverettest.Call(t.Context(), b.handlers, queues.CancelOrder, cancellation(r))
	require.ErrorIs(t, got.Err, ErrConfirmed)
	late := leverettest.Deliver(t.Context(), b.handlers, queues.AbandonOrder, queues.AbandonOrderCommand{OrderID: r.OrderID})
	require.NoError(t, late.Err, "the command was overtaken: an outcome, not a dead letter")
	require.Equal(t, Status{State: StateConfirmed}, b.status(t, r))
	require.Empty(t, b.sent.Messages())
}

// TestConfirmedWhileCancelling: the order is confirmed after the command was sent. Neither the request nor the command
// cancels it.
func TestConfirmedWhileCancelling(t *testing.T) {
	t.Parallel()
	b := setup(t, &leverettest.Recorder{})
	r := request()
	require.NoError(t, b.Place(t.Context(), r))
	require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
	b.sender = senderFunc(func(ctx context.Context, m *leveret.Message) error {
		b.sender = b.sent
		require.NoError(t, b.OnStockReserved(ctx, reserved(r)))
		return b.sent.Send(ctx, m)
	})
	_, err := b.Cancel(t.Context(), cancellation(r))
	require.ErrorIs(t, err, ErrConfirmed)
	require.NoError(t, b.abandon(t, b.last(t)).Err)
	require.Equal(t, Status{State: StateConfirmed}, b.status(t, r))
	require.NotContains(t, shoptest.Names(b.sent), "order.cancelled")
}

// TestCommandBeforeItsRequest: the command is handled before the request that sent it has changed the order.
func TestCommandBeforeItsRequest(t *testing.T) {
	t.Parallel()
	b := setup(t, &leverettest.Recorder{})
	r := request()
	require.NoError(t, b.Place(t.Context(), r))
	b.sent.Reset()
	b.sender = senderFunc(func(ctx context.Context, m *leveret.Message) error {
		b.sender = b.sent
		require.NoError(t, b.abandon(t, m).Err)
		return b.sent.Send(ctx, m)
	})
	reply, err := b.Cancel(t.Context(), cancellation(r))
	require.NoError(t, err)
	require.Equal(t, queues.CancelRequested, reply.Reason)
	require.NoError(t, b.abandon(t, b.last(t)).Err)
	sent := b.sent.Messages()
	require.Equal(t, []string{"order.cancelled", "order.abandon", "order.cancelled"}, shoptest.Names(b.sent))
	require.Equal(t, sent[0].ID, sent[2].ID, "the same event, published again")
}

type senderFunc func(ctx context.Context, m *leveret.Message) error

func (f senderFunc) Send(ctx context.Context, m *leveret.Message) error { return f(ctx, m) }

// TestCancelInterrupted: a cancellation is never half done. Until the command is in its queue, nothing has happened;
// from then on the command alone completes it.
func TestCancelInterrupted(t *testing.T) {
	t.Parallel()
	t.Run("not sent", func(t *testing.T) {
		t.Parallel()
		b := setup(t, &leverettest.Recorder{})
		r := request()
		require.NoError(t, b.Place(t.Context(), r))
		b.sent.Reset()
		b.sent.FailBefore(1, leveret.ErrNotConnected)
		_, err := b.Cancel(t.Context(), cancellation(r))
		require.ErrorIs(t, err, leveret.Unavailable)
		require.NotErrorIs(t, err, leveret.ErrOutcomeUnknown)
		require.Equal(t, Status{State: StatePlaced}, b.status(t, r))

		b.restart(t)
		_, err = b.Cancel(t.Context(), cancellation(r))
		require.NoError(t, err)
		require.Equal(t, requested, b.status(t, r))
	})
	t.Run("sent, then died", func(t *testing.T) {
		t.Parallel()
		b := setup(t, &leverettest.Recorder{})
		r := request()
		require.NoError(t, b.Place(t.Context(), r))
		b.sent.Reset()
		b.sent.FailAfter(1, leveret.ErrUnconfirmed)
		_, err := b.Cancel(t.Context(), cancellation(r))
		require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
		require.Equal(t, Status{State: StatePlaced}, b.status(t, r))

		b.restart(t)
		require.NoError(t, b.abandon(t, b.last(t)).Err)
		require.Equal(t, requested, b.status(t, r))
		require.Equal(t, []string{"order.abandon", "order.cancelled"}, shoptest.Names(b.sent))
	})
	t.Run("sent, but the store fails", func(t *testing.T) {
		t.Parallel()
		b := setup(t, &leverettest.Recorder{})
		r := request()
		require.NoError(t, b.Place(t.Context(), r))
		ctx, end := context.WithCancel(t.Context())
		b.sender = senderFunc(func(_ context.Context, m *leveret.Message) error { end(); return b.sent.Send(t.Context(), m) })
		_, err := b.Cancel(ctx, cancellation(r))
		require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
		require.ErrorIs(t, err, leveret.Unavailable)
	})
	t.Run("asked twice, sent twice", func(t *testing.T) {
		t.Parallel()
		b := setup(t, &leverettest.Recorder{})
		r := request()
		require.NoError(t, b.Place(t.Context(), r))
		b.sent.Reset()
		b.sent.FailAfter(1, leveret.ErrUnconfirmed)
		_, err := b.Cancel(t.Context(), cancellation(r))
		require.Error(t, err)
		_, err = b.Cancel(t.Context(), cancellation(r))
		require.NoError(t, err)
		sent := b.sent.Messages()
		require.Equal(t, []string{"order.abandon", "order.abandon"}, shoptest.Names(b.sent))
		require.Equal(t, sent[0].ID, sent[1].ID, "one and the same command")
	})
}

// TestAbandonInterrupted interrupts the command's handler.
func TestAbandonInterrupted(t *testing.T) {
	t.Parallel()
	shoptest.Interrupted(t, func(t *testing.T, rec *leverettest.Recorder) shoptest.Case {
		t.Helper()
		b, r := setup(t, &leverettest.Recorder{}), request()
		require.NoError(t, b.Place(t.Context(), r))
		b.sent, b.sender = rec, rec
		return shoptest.Case{
			Handle:  deliver(t, b, queues.AbandonOrder, queues.AbandonOrderCommand{OrderID: r.OrderID}),
			Restart: func() { b.restart(t) },
			Check:   func() { require.Equal(t, requested, b.status(t, r)) },
		}
	})
}

// TestCancelledBeforeItsPlacingIsAnnounced: the process died after it had placed the order, and the customer cancelled
// before the message was redelivered.
func TestCancelledBeforeItsPlacingIsAnnounced(t *testing.T) {
	t.Parallel()
	b := setup(t, &leverettest.Recorder{})
	r := request()
	b.sent.FailBefore(1, leveret.ErrNotConnected)
	placing := leverettest.Deliver(t.Context(), b.handlers, queues.PlaceOrder, r)
	require.Equal(t, leveret.VerdictRetry, placing.Verdict)
	_, err := b.Cancel(t.Context(), cancellation(r))
	require.NoError(t, err)
	b.sent.Reset()
	require.NoError(t, placing.Again(t.Context()).Err)
	require.Empty(t, b.sent.Messages())
	require.Equal(t, requested, b.status(t, r))
}

// TestCancelledWhileAuthorizing: the card answers after the order was cancelled. Whatever it says, the order stays
// cancelled, and nobody is asked to capture or reserve.
func TestCancelledWhileAuthorizing(t *testing.T) {
	t.Parallel()
	for _, answer := range []func(queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error){authorize, decline} {
		b := setup(t, &leverettest.Recorder{})
		r := request()
		b.answer(func(q queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
			_, err := b.Cancel(t.Context(), cancellation(r))
			require.NoError(t, err)
			return answer(q)
		})
		require.NoError(t, b.Place(t.Context(), r))
		require.Equal(t, requested, b.status(t, r))
		require.Equal(t, []string{"order.abandon"}, shoptest.Names(b.sent))
	}
}

func TestCancelTheOrderOfSomebodyElse(t *testing.T) {
	t.Parallel()
	b := setup(t, &leverettest.Recorder{})
	r := request()
	require.NoError(t, b.Place(t.Context(), r))
	b.sent.Reset()
	_, theirs := b.Cancel(t.Context(), queues.CancelOrderRequest{OrderID: r.OrderID, CustomerID: "c-2"})
	_, unknown := b.Cancel(t.Context(), cancellation(request()))
	require.ErrorIs(t, theirs, leveret.NotFound)
	require.Equal(t, unknown, theirs, "the two cannot be told apart")
	require.Empty(t, b.sent.Messages())
	require.Equal(t, Status{State: StatePlaced}, b.status(t, r))
}
