package order

import (
	"context"
	"database/sql"
	"encoding/json"
	"testing"
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

// bundle is a service with its own store and a stub of the payment service.
type bundle struct {
	*Service
	path     string
	config   Config
	sent     leverettest.Recorder
	payment  *leverettest.StubCaller
	handlers *leveret.Handlers
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{path: shoptest.Source(t, "order"), payment: &leverettest.StubCaller{Service: queues.Order}}
	b.answer(authorize)
	b.open(t)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })
	return b
}

func (b *bundle) open(t *testing.T) {
	t.Helper()
	s, err := OpenStore(t.Context(), b.path)
	require.NoError(t, err)
	b.Service = New(s, shoptest.Outbox(t, s.Store), b.payment, b.config)
	h := leveret.NewHandlers(queues.Order, leveret.HandlersConfig{})
	b.Register(h)
	b.handlers = h
}

// answer sets the payment service's answer.
func (b *bundle) answer(f func(queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error)) {
	leverettest.Answer(b.payment, queues.AuthorizePayment, func(_ context.Context, q queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
		return f(q)
	})
}

// asked returns how often the payment service was called.
func (b *bundle) asked() int { return len(b.payment.Messages()) }

// messages returns what was sent, after sending what is stored.
func (b *bundle) messages(t *testing.T) []*leveret.Message {
	t.Helper()
	shoptest.Relay(t, b.store.Store, b.outbox, queues.Order, &b.sent)
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

func authorize(q queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
	return queues.AuthorizePaymentReply{
		OrderID: q.OrderID, AuthorizationID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(q.OrderID)).String(),
		Status: queues.PaymentAuthorized, Amount: q.Amount, DecidedAt: time.Now(),
	}, nil
}

func decline(q queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
	a, err := authorize(q)
	a.Status, a.DeclineReason = queues.PaymentDeclined, "card_declined"
	return a, err
}

func request() queues.PlaceOrderCommand {
	return queues.PlaceOrderCommand{
		OrderID: uuid.Must(uuid.NewV7()).String(), CustomerID: "c-1", CardToken: "tok_visa",
		Lines: []queues.OrderLine{{SKU: "TEA-GREEN", Quantity: 2, UnitPrice: queues.Money{Amount: 999, Currency: "EUR"}}},
	}
}

func (b *bundle) status(t *testing.T, r queues.PlaceOrderCommand) Status {
	t.Helper()
	a, err := ReadAudit(t.Context(), b.path)
	require.NoError(t, err)
	for _, o := range a.Orders {
		if o.OrderID == r.OrderID {
			return Status{o.State, o.Reason}
		}
	}
	return Status{}
}

func captured(r queues.PlaceOrderCommand) queues.PaymentCapturedEvent {
	return queues.PaymentCapturedEvent{OrderID: r.OrderID, AuthorizationID: uuid.NewString(), Amount: r.Total(), CapturedAt: time.Now()}
}

func reserved(r queues.PlaceOrderCommand) queues.StockReservedEvent {
	return queues.StockReservedEvent{OrderID: r.OrderID, Lines: []queues.StockLine{{SKU: "TEA-GREEN", Quantity: 2}}, ReservedAt: time.Now()}
}

func rejected(r queues.PlaceOrderCommand) queues.StockRejectedEvent {
	return queues.StockRejectedEvent{OrderID: r.OrderID, Shortages: []queues.Shortage{{SKU: "TEA-GREEN", Requested: 2}}, RejectedAt: time.Now()}
}

func TestConfirmed(t *testing.T) {
	t.Parallel()
	for _, stockFirst := range []bool{false, true} {
		b := setup(t)
		r := request()
		require.NoError(t, b.Place(t.Context(), r))
		require.Equal(t, []string{"order.placed", "inventory.reserve"}, shoptest.Names(b.messages(t)))
		require.Equal(t, Status{State: StatePlaced}, b.status(t, r))
		if stockFirst {
			require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
			require.Equal(t, Status{State: StateReserved}, b.status(t, r))
			require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
		} else {
			require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
			require.Equal(t, Status{State: StateCaptured}, b.status(t, r))
			require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
		}
		require.Equal(t, []string{"order.placed", "inventory.reserve", "order.confirmed"}, shoptest.Names(b.messages(t)))
		require.Equal(t, Status{State: StateConfirmed}, b.status(t, r))

		shown, err := b.Show(t.Context(), queues.ShowOrderRequest{OrderID: r.OrderID, CustomerID: r.CustomerID})
		require.NoError(t, err)
		require.Equal(t, "confirmed", shown.State)
		require.NotNil(t, shown.DecidedAt)

		_, err = b.Show(t.Context(), queues.ShowOrderRequest{OrderID: r.OrderID, CustomerID: "c-2"})
		require.ErrorIs(t, err, ErrUnknown, "the order of somebody else")
	}
}

func TestDeclinedIsAnOutcome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answer(decline)
	r := request()
	require.NoError(t, b.Place(t.Context(), r))
	require.Equal(t, []string{"order.cancelled"}, shoptest.Names(b.messages(t)))
	require.Equal(t, Status{StateCancelled, queues.CancelDeclined}, b.status(t, r))
}

func TestOutOfStock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request()
	require.NoError(t, b.Place(t.Context(), r))
	require.NoError(t, b.OnStockRejected(t.Context(), rejected(r)))
	require.Equal(t, Status{StateCancelled, queues.CancelOutOfStock}, b.status(t, r))
	require.Equal(t, []string{"order.placed", "inventory.reserve", "order.cancelled"}, shoptest.Names(b.messages(t)))
	require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)), "the two crossed")
	require.Equal(t, Status{StateCancelled, queues.CancelOutOfStock}, b.status(t, r))
}

// deliver delivers a message to the current service, which may have been restarted.
func deliver[T any](t *testing.T, b *bundle, c leverettest.Contract[T], payload T) func(...leverettest.Option) leverettest.Delivered {
	t.Helper()
	return func(options ...leverettest.Option) leverettest.Delivered {
		return leverettest.Deliver(t.Context(), b.handlers, c, payload, options...)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, b *bundle, r queues.PlaceOrderCommand, want Status) func() {
		t.Helper()
		return func() { require.Equal(t, want, b.status(t, r)) }
	}
	for name, setupCase := range map[string]func(t *testing.T) shoptest.Case{
		"place": func(t *testing.T) shoptest.Case {
			t.Helper()
			b, r := setup(t), request()
			return b.interrupted(t, deliver(t, b, queues.PlaceOrder, r), check(t, b, r, Status{State: StatePlaced}))
		},
		"declined": func(t *testing.T) shoptest.Case {
			t.Helper()
			b, r := setup(t), request()
			b.answer(decline)
			return b.interrupted(t, deliver(t, b, queues.PlaceOrder, r), check(t, b, r, Status{StateCancelled, queues.CancelDeclined}))
		},
		"confirmed": func(t *testing.T) shoptest.Case {
			t.Helper()
			b, r := setup(t), request()
			require.NoError(t, b.Place(t.Context(), r))
			require.NoError(t, b.OnPaymentCaptured(t.Context(), captured(r)))
			return b.interrupted(t, deliver(t, b, queues.StockReserved, reserved(r)), check(t, b, r, Status{State: StateConfirmed}))
		},
		"out of stock": func(t *testing.T) shoptest.Case {
			t.Helper()
			b, r := setup(t), request()
			require.NoError(t, b.Place(t.Context(), r))
			return b.interrupted(t, deliver(t, b, queues.StockRejected, rejected(r)), check(t, b, r, Status{StateCancelled, queues.CancelOutOfStock}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shoptest.Interrupted(t, setupCase)
		})
	}
}

// TestAnotherMessageForTheSameOrder: what was announced is not announced again.
func TestAnotherMessageForTheSameOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request()
	for range 2 {
		require.NoError(t, deliver(t, b, queues.PlaceOrder, r)().Err)
		require.NoError(t, deliver(t, b, queues.PaymentCaptured, captured(r))().Err)
	}
	for range 2 {
		require.NoError(t, deliver(t, b, queues.StockReserved, reserved(r))().Err)
	}
	require.Equal(t, []string{"order.placed", "inventory.reserve", "order.confirmed"}, shoptest.Names(b.messages(t)))
	require.Equal(t, 1, b.asked())
}

// TestPaymentDoesNotAnswer: the order stays pending and continues when the message is delivered again.
func TestPaymentDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for _, failure := range []error{leveret.ErrUnroutable, context.DeadlineExceeded, leveret.NewError(leveret.Unavailable, "maintenance", "later")} {
		b := setup(t)
		r := request()
		b.answer(func(queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
			return queues.AuthorizePaymentReply{}, failure
		})
		require.ErrorIs(t, b.Place(t.Context(), r), failure)
		require.Equal(t, Status{State: StatePending}, b.status(t, r))
		require.Empty(t, b.messages(t))

		b.restart(t)
		b.answer(authorize)
		require.NoError(t, b.Place(t.Context(), r))
		require.Equal(t, Status{State: StatePlaced}, b.status(t, r))
	}
}

// TestPaymentAnswersNonsense: an order whose authorisation does not match is not placed.
func TestPaymentAnswersNonsense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*queues.AuthorizePaymentReply){
		"another order":  func(a *queues.AuthorizePaymentReply) { a.OrderID = uuid.NewString() },
		"another amount": func(a *queues.AuthorizePaymentReply) { a.Amount.Amount = 1 },
		"a new status":   func(a *queues.AuthorizePaymentReply) { a.Status = "under_review" },
		"no status":      func(a *queues.AuthorizePaymentReply) { a.Status = "" },
		"no id":          func(a *queues.AuthorizePaymentReply) { a.AuthorizationID = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			r := request()
			b.answer(func(q queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
				a, err := authorize(q)
				change(&a)
				return a, err
			})
			require.ErrorIs(t, b.Place(t.Context(), r), leveret.Internal)
			require.Equal(t, Status{State: StatePending}, b.status(t, r))
		})
	}
}

func TestTheSameIDForAnotherOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request()
	require.NoError(t, b.Place(t.Context(), r))
	b.forget(t)
	for _, change := range []func(*queues.PlaceOrderCommand){
		func(r *queues.PlaceOrderCommand) { r.CustomerID = "c-2" },
		func(r *queues.PlaceOrderCommand) { r.CardToken = "tok_other" },
		func(r *queues.PlaceOrderCommand) { r.Lines[0].Quantity++ },
		func(r *queues.PlaceOrderCommand) { r.Lines[0].UnitPrice.Amount++ },
	} {
		other := r
		other.Lines = []queues.OrderLine{r.Lines[0]}
		change(&other)
		err := b.Place(t.Context(), other)
		require.ErrorIs(t, err, ErrOther)
		require.ErrorIs(t, err, leveret.AlreadyExists)
	}
	require.Empty(t, b.messages(t))
	require.Equal(t, 1, b.asked())
}

func TestEventsThatDoNotFit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request()
	require.ErrorIs(t, b.OnPaymentCaptured(t.Context(), captured(r)), leveret.NotFound)
	require.ErrorIs(t, b.OnStockReserved(t.Context(), reserved(r)), leveret.NotFound)
	require.ErrorIs(t, b.OnStockRejected(t.Context(), rejected(r)), leveret.NotFound)
	_, err := b.Show(t.Context(), queues.ShowOrderRequest{OrderID: r.OrderID, CustomerID: r.CustomerID})
	require.ErrorIs(t, err, leveret.NotFound)

	require.NoError(t, b.Place(t.Context(), r))
	less := captured(r)
	less.Amount.Amount--
	require.ErrorIs(t, b.OnPaymentCaptured(t.Context(), less), leveret.FailedPrecondition)
	require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
	require.ErrorIs(t, b.OnStockRejected(t.Context(), rejected(r)), leveret.FailedPrecondition)
	require.Equal(t, Status{State: StateReserved}, b.status(t, r))
}

// TestTheVersionBefore: after a roll-back, version 0.1.0 works on the orders of this version, and this one on what it wrote.
func TestTheVersionBefore(t *testing.T) {
	t.Parallel()
	b, old := setup(t), request()
	lines, err := json.Marshal(old.Lines)
	require.NoError(t, err)
	require.NoError(t, b.store.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), `
			INSERT INTO orders (order_id, customer_id, card_token, lines, total, currency, state, sent_at, received_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			old.OrderID, old.CustomerID, old.CardToken, string(lines), old.Total().Amount, old.Total().Currency, StatePending, 1, 2)
		return err
	}))
	current := request()
	for _, r := range []queues.PlaceOrderCommand{old, current} {
		require.NoError(t, b.Place(t.Context(), r))
		require.NoError(t, b.store.InTx(t.Context(), func(tx *sql.Tx) error {
			var placed, decided string
			err := tx.QueryRowContext(t.Context(), "SELECT placed_by, decided_by FROM orders WHERE order_id = $1", r.OrderID).Scan(&placed, &decided)
			require.Empty(t, placed+decided, "no message of 0.1.0 has placed or decided it")
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(t.Context(), `
				UPDATE orders SET state = $1, reason = $2, authorization_id = $3, placed_at = $4, placed_by = $5, decided_at = $6, decided_by = $7
				WHERE order_id = $8`, StateCaptured, "", "a", 3, "m-1", nil, "", r.OrderID)
			return err
		}))
		require.NoError(t, b.OnStockReserved(t.Context(), reserved(r)))
		require.Equal(t, Status{State: StateConfirmed}, b.status(t, r))
	}
}
