package crossing_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	shopproto "github.com/leveretmq/leveret/pkg/shop/internal/proto"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/payment"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// An idempotency key stands for one request, whatever transport brings it: repeated over another one, it gets the reply
// of the first time; with another body, it is refused.
func TestIdempotencyKeysCross(t *testing.T) {
	t.Parallel()
	path := shoptest.Source(t, "payment")
	payments, err := payment.OpenStore(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, payments.Close()) })
	h := leveret.NewHandlers(queues.Payment, leveret.HandlersConfig{})
	payment.New(payments, shoptest.Outbox(t, payments.Store), payment.Processor{}).Register(h)
	s := newStage(t, h, telemetry{}, shopproto.Payment()...)
	callers := s.callers(t, queues.Order)
	requireRefused(t, callers)

	for first, c := range callers {
		request := queues.AuthorizePaymentRequest{
			OrderID: uuid.Must(uuid.NewV7()).String(), CardToken: payment.TokenVisa, Amount: queues.Money{Amount: 1998, Currency: "EUR"},
		}
		key := leveret.MessageID(`Bestellung "№ 7", zuerst über ` + first)
		reply, err := queues.AuthorizePayment.Call(t.Context(), c, request, key)
		require.NoError(t, err, first)
		require.Equal(t, queues.PaymentAuthorized, reply.Status)
		for then, c := range callers {
			again, err := queues.AuthorizePayment.Call(t.Context(), c, request, key)
			require.NoError(t, err, "%s after %s", then, first)
			require.Equal(t, reply, again, "%s after %s", then, first)
			for what, change := range map[string]func(*queues.AuthorizePaymentRequest){
				"order":    func(r *queues.AuthorizePaymentRequest) { r.OrderID = uuid.Must(uuid.NewV7()).String() },
				"card":     func(r *queues.AuthorizePaymentRequest) { r.CardToken = payment.TokenMastercard },
				"amount":   func(r *queues.AuthorizePaymentRequest) { r.Amount.Amount++ },
				"currency": func(r *queues.AuthorizePaymentRequest) { r.Amount.Currency = "USD" },
			} {
				other := request
				change(&other)
				_, err := queues.AuthorizePayment.Call(t.Context(), c, other, key)
				require.ErrorIs(t, err, store.ErrKeyReused, "another %s over %s after %s", what, then, first)
				require.ErrorIs(t, err, leveret.AlreadyExists)
				require.True(t, leveret.IsRemote(err))
				require.Equal(t, "idempotency_key_reused", errorOf(t, err).Reason)
			}
		}
	}
	audit, err := payment.ReadAudit(t.Context(), path)
	require.NoError(t, err)
	require.Len(t, audit.Payments, len(callers), "what was refused has no effect")
	require.Len(t, audit.Ledger, len(callers))
}

// requireRefused checks that a payload that is wrong is refused by the handler's side with the same error over every
// transport, for callers that did not look.
func requireRefused(t *testing.T, callers map[string]leveret.Caller) {
	t.Helper()
	body := []byte(`{"order_id":"7","card_token":"4111 1111 1111 1111","amount":{"amount":-1,"currency":"euro"}}`)
	for transport, c := range callers {
		err := c.Call(t.Context(), leveret.NewMessage(t.Context(), queues.AuthorizePayment, body))
		require.True(t, leveret.IsRemote(err), transport)
		require.ErrorIs(t, err, leveret.InvalidArgument, transport)
		var fields []string
		for _, f := range errorOf(t, err).Fields {
			fields = append(fields, f.Field)
			require.NotContains(t, f.Detail, "4111", transport)
		}
		require.Equal(t, []string{"order_id", "card_token", "amount.amount", "amount.currency"}, fields, transport)
	}
}
