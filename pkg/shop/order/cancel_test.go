package order

import (
	"errors"
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
			b := setup(t)
			r := request()
			before(t, b, r)
			require.Equal(t, Status{State: State(name)}, b.status(t, r))
			b.forget(t)

			first := leverettest.Call(t.Context(), b.handlers, queues.CancelOrder, cancellation(r))
			require.NoError(t, first.Err)
			require.Equal(t, "cancelled", first.Reply.State)
			require.Equal(t, queues.CancelRequested, first.Reply.Reason)
			require.NotNil(t, first.Reply.DecidedAt)
			again := leverettest.Call(t.Context(), b.handlers, queues.CancelOrder, cancellation(r))
			require.NoError(t, again.Err)
			require.Equal(t, first.Reply, again.Reply)
			require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))

			// What was under way no longer matters, and nothing is announced for it.
			b.forget(t)
			b.answer(authorize)
			require.NoError(t, b.Place(t.Context(), r))
			require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
			require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
			require.Equal(t, requested, b.status(t, r))
			require.Empty(t, b.messages(t))
		})
	}
}

func TestCancelTooLate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request()
	require.NoError(t, b.Place(t.Context(), r))
	require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
	require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
	b.forget(t)

	got := leverettest.Call(t.Context(), b.handlers, queues.CancelOrder, cancellation(r))
	require.ErrorIs(t, got.Err, ErrConfirmed)
	require.Equal(t, Status{State: StateConfirmed}, b.status(t, r))
	require.Empty(t, b.messages(t))
}

// TestCancelInterrupted: a cancellation and its announcement are one.
func TestCancelInterrupted(t *testing.T) {
	t.Parallel()
	shoptest.Interrupted(t, func(t *testing.T) shoptest.Case {
		t.Helper()
		b, r := setup(t), request()
		require.NoError(t, b.Place(t.Context(), r))
		handle := func(options ...leverettest.Option) leverettest.Delivered {
			return leverettest.Call(t.Context(), b.handlers, queues.CancelOrder, cancellation(r), options...).Delivered
		}
		return b.interrupted(t, handle, func() { require.Equal(t, requested, b.status(t, r)) })
	})
}

// TestAbandon: a cancellation that version 0.1.0 has begun is announced, whether that has changed the order already or not.
func TestAbandon(t *testing.T) {
	t.Parallel()
	for _, changed := range []bool{false, true} {
		b, r := setup(t), request()
		require.NoError(t, b.Place(t.Context(), r))
		if changed {
			_, err := b.Cancel(t.Context(), cancellation(r))
			require.NoError(t, err)
		}
		b.forget(t)
		got := leverettest.Deliver(t.Context(), b.handlers, queues.AbandonOrder, queues.AbandonOrderCommand{OrderID: r.OrderID})
		require.NoError(t, got.Err)
		require.NoError(t, got.Again(t.Context()).Err)
		require.Equal(t, requested, b.status(t, r))
		require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))
	}
}

// TestAbandonTooLate: the order was decided otherwise. That is an outcome, not a dead letter.
func TestAbandonTooLate(t *testing.T) {
	t.Parallel()
	for want, decide := range map[Status]func(b *bundle, r queues.PlaceOrderCommand) error{
		{State: StateConfirmed}: func(b *bundle, r queues.PlaceOrderCommand) error {
			return errors.Join(b.OnPaymentCaptured(t.Context(), captured(r)), b.OnStockReserved(t.Context(), reserved(r)))
		},
		{StateCancelled, queues.CancelOutOfStock}: func(b *bundle, r queues.PlaceOrderCommand) error {
			return b.OnStockRejected(t.Context(), rejected(r))
		},
	} {
		b, r := setup(t), request()
		require.NoError(t, b.Place(t.Context(), r))
		require.NoError(t, decide(b, r))
		b.forget(t)
		got := leverettest.Deliver(t.Context(), b.handlers, queues.AbandonOrder, queues.AbandonOrderCommand{OrderID: r.OrderID})
		require.NoError(t, got.Err)
		require.Equal(t, want, b.status(t, r))
		require.Empty(t, b.messages(t))
	}
}

// TestCancelledWhileAuthorizing: the card answers after the order was cancelled. Whatever it says, the order stays
// cancelled, and nobody is asked to capture or reserve.
func TestCancelledWhileAuthorizing(t *testing.T) {
	t.Parallel()
	for _, answer := range []func(queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error){authorize, decline} {
		b := setup(t)
		r := request()
		b.answer(func(q queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
			_, err := b.Cancel(t.Context(), cancellation(r))
			require.NoError(t, err)
			return answer(q)
		})
		require.NoError(t, b.Place(t.Context(), r))
		require.Equal(t, requested, b.status(t, r))
		require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))
	}
}

func TestCancelTheOrderOfSomebodyElse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request()
	require.NoError(t, b.Place(t.Context(), r))
	b.forget(t)
	_, theirs := b.Cancel(t.Context(), queues.CancelOrderRequest{OrderID: r.OrderID, CustomerID: "c-2"})
	_, unknown := b.Cancel(t.Context(), cancellation(request()))
	require.ErrorIs(t, theirs, leveret.NotFound)
	require.Equal(t, unknown, theirs, "the two cannot be told apart")
	require.Empty(t, b.messages(t))
	require.Equal(t, Status{State: StatePlaced}, b.status(t, r))
}
