package payment

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

func cancellation(r queues.AuthorizePaymentRequest) queues.OrderCancelledEvent {
	return queues.OrderCancelledEvent{OrderID: r.OrderID, Reason: queues.CancelRequested, CancelledAt: time.Now()}
}

// TestCancelledBeforeItsAuthorization: the order's cancellation is settled at once, and a later authorisation holds
// nothing, however often it is asked for.
func TestCancelledBeforeItsAuthorization(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request(TokenVisa)
	for range 2 {
		got := leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, cancellation(r))
		require.Equal(t, leveret.VerdictAck, got.Verdict, "%v", got.Err)
	}
	b.restart(t)
	first, err := b.Authorize(t.Context(), r)
	require.NoError(t, err)
	require.NoError(t, first.Validate())
	require.Equal(t, queues.PaymentDeclined, first.Status)
	require.Equal(t, DeclineOrderCancelled, first.DeclineReason)

	again, err := b.Authorize(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.NoError(t, b.OnOrderCancelled(t.Context(), cancellation(r)))
	require.Equal(t, Account{}, b.account(t, r.OrderID))
	require.Empty(t, b.messages(t))
}

// TestCancelledWhileTheCardIsAsked: the cancellation arrives between the card's answer and its storing.
func TestCancelledWhileTheCardIsAsked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request(TokenVisa)
	p, err := b.store.Known(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, StateUnknown, p.State)
	require.NoError(t, b.OnOrderCancelled(t.Context(), cancellation(r)))
	p, err = b.store.Authorize(t.Context(), r, "", time.Now())
	require.NoError(t, err)
	require.Equal(t, StateDeclined, p.State)
	require.Equal(t, DeclineOrderCancelled, p.DeclineReason)
	require.Equal(t, Account{}, b.account(t, r.OrderID))
}

// TestPlacedAfterACancellationWithoutPayment: nothing can be charged, and nothing has to be.
func TestPlacedAfterACancellationWithoutPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request(TokenVisa)
	require.NoError(t, b.OnOrderCancelled(t.Context(), cancellation(r)))
	require.NoError(t, b.OnOrderPlaced(t.Context(), placed(queues.AuthorizePaymentReply{OrderID: r.OrderID, Amount: price})))
	require.Equal(t, Account{}, b.account(t, r.OrderID))
	require.Empty(t, b.messages(t))
}

// TestNewReason: a cancellation for a reason that this version does not know is a cancellation.
func TestNewReason(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.authorized(t)
	lost := cancelled(a)
	lost.Reason = "lost_at_sea"
	got := leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, lost)
	require.Equal(t, leveret.VerdictAck, got.Verdict, "%v", got.Err)
	require.Equal(t, []string{"payment.voided"}, shoptest.Names(b.messages(t)))
}

// TestKeyReused: a message id stands for one request only.
func TestKeyReused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request(TokenVisa)
	key := leverettest.With(leveret.MessageID("any text"))
	first := leverettest.Call(t.Context(), b.handlers, queues.AuthorizePayment, r, key)
	require.NoError(t, first.Err)

	b.restart(t)
	again := leverettest.Call(t.Context(), b.handlers, queues.AuthorizePayment, r, key)
	require.NoError(t, again.Err)
	require.Equal(t, first.Reply, again.Reply)

	for name, change := range map[string]func(*queues.AuthorizePaymentRequest){
		"another order":  func(r *queues.AuthorizePaymentRequest) { r.OrderID = uuid.NewString() },
		"another amount": func(r *queues.AuthorizePaymentRequest) { r.Amount.Amount++ },
		"another card":   func(r *queues.AuthorizePaymentRequest) { r.CardToken = TokenMastercard },
	} {
		other := r
		change(&other)
		got := leverettest.Call(t.Context(), b.handlers, queues.AuthorizePayment, other, key)
		require.ErrorIs(t, got.Err, store.ErrKeyReused, name)
		require.ErrorIs(t, got.Err, leveret.AlreadyExists, name)
		if other.OrderID != r.OrderID {
			require.Equal(t, Account{}, b.account(t, other.OrderID))
		}
	}
	require.Equal(t, 1, b.account(t, r.OrderID).Authorized)

	// White space, the order of the fields and unknown fields are not another request.
	body := `{ "amount": {"currency": "EUR", "amount": 1998}, "new": 1, "card_token": "tok_visa", "order_id": "` + r.OrderID + `" }`
	same := leverettest.Call(t.Context(), b.handlers, queues.AuthorizePayment, r, key, leverettest.Body(body))
	require.NoError(t, same.Err)
	require.Equal(t, first.Reply, same.Reply)

	other := r
	other.Amount.Amount++
	got := leverettest.Call(t.Context(), b.handlers, queues.AuthorizePayment, other)
	require.ErrorIs(t, got.Err, ErrOther, "under a key of its own")
}
