package payment

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

// TestClose: whatever has become of a payment, it costs nothing once it is closed, and that is done and published once, however
// often it is asked for, also if the event comes as well.
func TestClose(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		token leveret.Secret // empty: the payment is not asked for
		paid  bool
		state string
		sent  []string
		want  Account
	}{
		{"unknown", "", false, queues.ClosedCancelled, []string{}, Account{}},
		{"declined", TokenDeclined, false, queues.ClosedDeclined, []string{}, Account{}},
		{"authorized", TokenVisa, false, queues.ClosedVoided, []string{"payment.voided"}, Account{Authorized: 1, Voided: 1, Held: 1998}},
		{
			"captured", TokenVisa, true, queues.ClosedRefunded,
			[]string{"payment.refunded"},
			Account{Authorized: 1, Captured: 1, Refunded: 1, Held: 1998, Charged: 1998, Returned: 1998},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b, r := setup(t), request(TokenVisa)
			if tc.token != "" {
				r.CardToken = tc.token
				a, err := b.Authorize(t.Context(), r)
				require.NoError(t, err)
				if tc.paid {
					require.NoError(t, b.OnOrderPlaced(t.Context(), placed(a)))
				}
			}
			b.forget(t)
			for range 3 {
				got := leverettest.Call(t.Context(), b.handlers, queues.ClosePayment, queues.ClosePaymentRequest{OrderID: r.OrderID})
				require.NoError(t, got.Err)
				require.Equal(t, queues.ClosePaymentReply{OrderID: r.OrderID, State: tc.state}, got.Reply)
				again := got.Again(t.Context())
				require.NoError(t, again.Err)
				require.Equal(t, got.Reply, again.Reply)
				b.restart(t)
			}
			require.Equal(t, tc.sent, shoptest.Names(b.forget(t)))
			require.Equal(t, tc.want, b.account(t, r.OrderID))

			// The authorization, and its capture, come too late.
			if tc.token == "" {
				late, err := b.Authorize(t.Context(), r)
				require.NoError(t, err)
				require.Equal(t, queues.PaymentDeclined, late.Status)
				require.Equal(t, DeclineOrderCancelled, late.DeclineReason)
				closed, err := b.Close(t.Context(), queues.ClosePaymentRequest{OrderID: r.OrderID})
				require.NoError(t, err)
				require.Equal(t, queues.ClosedDeclined, closed.State)
			} else if tc.state != queues.ClosedDeclined {
				require.NoError(t, b.OnOrderPlaced(t.Context(), placed(queues.AuthorizePaymentReply{OrderID: r.OrderID, Amount: price})))
			}
			require.NoError(t, b.OnOrderCancelled(t.Context(), cancellation(r)))
			require.Equal(t, tc.want, b.account(t, r.OrderID))
		})
	}
}

// TestCloseInterrupted: the money moves once, and that is published once, or the caller has no answer and nothing was done.
func TestCloseInterrupted(t *testing.T) {
	t.Parallel()
	for _, paid := range []bool{false, true} {
		shoptest.Interrupted(t, func(t *testing.T) shoptest.Case {
			t.Helper()
			b := setup(t)
			a := b.authorized(t)
			want := Account{Authorized: 1, Voided: 1, Held: 1998}
			if paid {
				require.NoError(t, b.OnOrderPlaced(t.Context(), placed(a)))
				want = Account{Authorized: 1, Captured: 1, Refunded: 1, Held: 1998, Charged: 1998, Returned: 1998}
			}
			handle := func(options ...leverettest.Option) leverettest.Delivered {
				return leverettest.Call(t.Context(), b.handlers, queues.ClosePayment, queues.ClosePaymentRequest{OrderID: a.OrderID}, options...).Delivered
			}
			return b.interrupted(t, handle, func() { require.Equal(t, want, b.account(t, a.OrderID)) })
		})
	}
}

// TestCloseAtOnce closes a payment while it is authorized, captured and cancelled. Whatever is first, it costs nothing in
// the end.
func TestCloseAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		b, r := setup(t), request(TokenVisa)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				a, err := b.Authorize(t.Context(), r)
				if err == nil && a.Status == queues.PaymentAuthorized {
					err = b.OnOrderPlaced(t.Context(), placed(a))
				}
				if err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if _, err := b.Close(t.Context(), queues.ClosePaymentRequest{OrderID: r.OrderID}); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if err := b.OnOrderCancelled(t.Context(), cancellation(r)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		got := b.account(t, r.OrderID)
		require.Equal(t, got.Charged, got.Returned)
		require.Equal(t, got.Authorized, got.Voided+got.Refunded)
	}
}
