package payment

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

// bundle is a service with its own store.
type bundle struct {
	*Service
	path     string
	sent     leverettest.Recorder
	handlers *leveret.Handlers
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{path: shoptest.Source(t, "payment")}
	b.open(t)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })
	return b
}

func (b *bundle) open(t *testing.T) {
	t.Helper()
	s, err := OpenStore(t.Context(), b.path)
	require.NoError(t, err)
	b.Service = New(s, shoptest.Outbox(t, s.Store), Processor{})
	h := leveret.NewHandlers(queues.Payment, leveret.HandlersConfig{})
	b.Register(h)
	b.handlers = h
}

// messages returns what was sent, after sending what is stored.
func (b *bundle) messages(t *testing.T) []*leveret.Message {
	t.Helper()
	shoptest.Relay(t, b.store.Store, b.outbox, queues.Payment, &b.sent)
	return b.sent.Messages()
}

// forget forgets what was sent, and returns it.
func (b *bundle) forget(t *testing.T) []*leveret.Message {
	t.Helper()
	defer b.sent.Reset()
	return b.messages(t)
}

// interrupted returns the case of a message for this service.
func (b *bundle) interrupted(t *testing.T, handle func(...leverettest.Option) leverettest.Delivered, check func()) shoptest.Case {
	t.Helper()
	b.forget(t)
	return shoptest.Case{
		Handle: handle, Restart: func() { b.restart(t) }, Store: func() *store.Store { return b.store.Store },
		Sent: func() []*leveret.Message { return b.forget(t) }, Check: check,
	}
}

func (b *bundle) restart(t *testing.T) {
	t.Helper()
	require.NoError(t, b.store.Close())
	b.open(t)
}

func (b *bundle) account(t *testing.T, orderID string) Account {
	t.Helper()
	a, err := ReadAudit(t.Context(), b.path)
	require.NoError(t, err)
	return a.Accounts()[orderID]
}

func (b *bundle) exec(t *testing.T, query string) error {
	t.Helper()
	return b.store.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), query)
		return err
	})
}

var price = queues.Money{Amount: 1998, Currency: "EUR"}

func request(token leveret.Secret) queues.AuthorizePaymentRequest {
	return queues.AuthorizePaymentRequest{OrderID: uuid.Must(uuid.NewV7()).String(), CardToken: token, Amount: price}
}

func (b *bundle) authorized(t *testing.T) queues.AuthorizePaymentReply {
	t.Helper()
	a, err := b.Authorize(t.Context(), request(TokenVisa))
	require.NoError(t, err)
	return a
}

func placed(a queues.AuthorizePaymentReply) queues.OrderPlacedEvent {
	return queues.OrderPlacedEvent{
		OrderID: a.OrderID, CustomerID: "c-1", Total: a.Amount, AuthorizationID: a.AuthorizationID, PlacedAt: a.DecidedAt,
		Lines: []queues.OrderLine{{SKU: "TEA-GREEN", Quantity: 1, UnitPrice: a.Amount}},
	}
}

func cancelled(a queues.AuthorizePaymentReply) queues.OrderCancelledEvent {
	return queues.OrderCancelledEvent{OrderID: a.OrderID, Reason: queues.CancelOutOfStock, CancelledAt: a.DecidedAt}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	for token, want := range map[leveret.Secret]queues.AuthorizePaymentReply{
		TokenVisa:              {Status: queues.PaymentAuthorized},
		TokenDeclined:          {Status: queues.PaymentDeclined, DeclineReason: DeclineByIssuer},
		TokenInsufficientFunds: {Status: queues.PaymentDeclined, DeclineReason: DeclineInsufficientFunds},
	} {
		t.Run(string(token), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			r := request(token)
			a, err := b.Authorize(t.Context(), r)
			require.NoError(t, err)
			require.NoError(t, a.Validate())
			want.OrderID, want.Amount, want.AuthorizationID, want.DecidedAt = r.OrderID, r.Amount, a.AuthorizationID, a.DecidedAt
			require.Equal(t, want, a)

			b.restart(t)
			again, err := b.Authorize(t.Context(), r)
			require.NoError(t, err)
			require.Equal(t, a, again, "the same question gets the same answer")
			held := Account{}
			if want.Status == queues.PaymentAuthorized {
				held = Account{Authorized: 1, Held: 1998}
			}
			require.Equal(t, held, b.account(t, r.OrderID))

			for _, change := range []func(*queues.AuthorizePaymentRequest){
				func(r *queues.AuthorizePaymentRequest) { r.Amount.Amount++ },
				func(r *queues.AuthorizePaymentRequest) { r.Amount.Currency = "USD" },
				func(r *queues.AuthorizePaymentRequest) { r.CardToken = "tok_other" },
			} {
				other := r
				change(&other)
				_, err = b.Authorize(t.Context(), other)
				require.ErrorIs(t, err, ErrOther)
				require.ErrorIs(t, err, leveret.AlreadyExists)
			}
		})
	}
}

func TestAuthorizeAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request(TokenVisa)
	answers := make([]queues.AuthorizePaymentReply, 10)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			var err error
			if answers[i], err = b.Authorize(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range answers {
		require.Equal(t, answers[0], a)
	}
	require.Equal(t, 1, b.account(t, r.OrderID).Authorized)
}

// TestEvents goes through the sequences in which the events of an order can arrive.
func TestEvents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		events []Event
		sent   []string
		want   Account
	}{
		{"placed", []Event{EventOrderPlaced}, []string{"payment.captured"}, Account{Authorized: 1, Captured: 1, Held: 1998, Charged: 1998}},
		{
			"placed twice",
			[]Event{EventOrderPlaced, EventOrderPlaced},
			[]string{"payment.captured", "payment.captured"},
			Account{Authorized: 1, Captured: 1, Held: 1998, Charged: 1998},
		},
		{"cancelled", []Event{EventOrderCancelled, EventOrderCancelled}, []string{"payment.voided", "payment.voided"}, Account{Authorized: 1, Voided: 1, Held: 1998}},
		{"cancelled before placed", []Event{EventOrderCancelled, EventOrderPlaced}, []string{"payment.voided"}, Account{Authorized: 1, Voided: 1, Held: 1998}},
		{
			"placed, cancelled",
			[]Event{EventOrderPlaced, EventOrderCancelled, EventOrderCancelled},
			[]string{"payment.captured", "payment.refunded", "payment.refunded"},
			Account{Authorized: 1, Captured: 1, Refunded: 1, Held: 1998, Charged: 1998, Returned: 1998},
		},
		{
			"placed, cancelled, placed",
			[]Event{EventOrderPlaced, EventOrderCancelled, EventOrderPlaced},
			[]string{"payment.captured", "payment.refunded", "payment.captured"},
			Account{Authorized: 1, Captured: 1, Refunded: 1, Held: 1998, Charged: 1998, Returned: 1998},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			a := b.authorized(t)
			for _, n := range tc.events {
				if n == EventOrderPlaced {
					require.NoError(t, b.OnOrderPlaced(t.Context(), placed(a)))
				} else {
					require.NoError(t, b.OnOrderCancelled(t.Context(), cancelled(a)))
				}
			}
			require.Equal(t, tc.sent, shoptest.Names(b.messages(t)))
			require.Equal(t, tc.want, b.account(t, a.OrderID))
		})
	}
}

func TestEventsThatDoNotFit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	unknown := queues.AuthorizePaymentReply{OrderID: uuid.NewString(), Amount: price}
	require.ErrorIs(t, b.OnOrderPlaced(t.Context(), placed(unknown)), leveret.NotFound)

	declined, err := b.Authorize(t.Context(), request(TokenDeclined))
	require.NoError(t, err)
	require.ErrorIs(t, b.OnOrderPlaced(t.Context(), placed(declined)), leveret.FailedPrecondition)
	require.NoError(t, b.OnOrderCancelled(t.Context(), cancelled(declined)), "nothing to give back")

	dearer := placed(b.authorized(t))
	dearer.Total.Amount *= 2
	require.ErrorIs(t, b.OnOrderPlaced(t.Context(), dearer), ErrContradiction)
	require.Equal(t, 0, b.account(t, dearer.OrderID).Captured)
	require.Empty(t, b.messages(t))
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		before []Event
		handle Event
		want   Account
	}{
		{"capture", nil, EventOrderPlaced, Account{Authorized: 1, Captured: 1, Held: 1998, Charged: 1998}},
		{"void", nil, EventOrderCancelled, Account{Authorized: 1, Voided: 1, Held: 1998}},
		{"refund", []Event{EventOrderPlaced}, EventOrderCancelled, Account{Authorized: 1, Captured: 1, Refunded: 1, Held: 1998, Charged: 1998, Returned: 1998}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			shoptest.Interrupted(t, func(t *testing.T) shoptest.Case {
				t.Helper()
				b := setup(t)
				a := b.authorized(t)
				for _, n := range tc.before {
					require.Equal(t, EventOrderPlaced, n)
					require.NoError(t, b.OnOrderPlaced(t.Context(), placed(a)))
				}
				handle := func(options ...leverettest.Option) leverettest.Delivered {
					if tc.handle == EventOrderPlaced {
						return leverettest.Deliver(t.Context(), b.handlers, queues.OrderPlaced, placed(a), options...)
					}
					return leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, cancelled(a), options...)
				}
				return b.interrupted(t, handle, func() { require.Equal(t, tc.want, b.account(t, a.OrderID)) })
			})
		})
	}
}

// TestCancelledWhileCapturing cancels the order while the processor is busy capturing. The first of the two in the
// store wins, and the customer is not charged.
func TestCancelledWhileCapturing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.authorized(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.OnOrderPlaced(t.Context(), placed(a)); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := b.OnOrderCancelled(t.Context(), cancelled(a)); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	account := b.account(t, a.OrderID)
	require.Equal(t, account.Charged, account.Returned)
	require.Equal(t, 1, account.Voided+account.Refunded)
}

func TestLedgerIsOnlyAppended(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.authorized(t)
	require.ErrorContains(t, b.exec(t, "DELETE FROM ledger"), "only appended")
	require.ErrorContains(t, b.exec(t, "UPDATE ledger SET amount = 1"), "only appended")
}

func TestProcessorTakesItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := Processor{Delay: time.Minute}
		start := time.Now()
		reason, err := p.Authorize(t.Context(), TokenDeclined, price)
		require.NoError(t, err)
		require.Equal(t, DeclineByIssuer, reason)
		require.Equal(t, time.Minute, time.Since(start))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Settle(ctx), context.DeadlineExceeded)
	})
}
