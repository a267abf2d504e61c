package order

import (
	"cmp"
	"context"
	"database/sql"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// A Config holds what a service can do without. The zero value of a field is its default.
type Config struct {
	// TimeLimit is how long an order may take until it is confirmed, at least a second. Default 30 minutes.
	TimeLimit time.Duration
	// Logger logs that payment does not close orders, and that it does so again. Default slog.Default().
	Logger *slog.Logger
	// MeterProvider gets the number of orders that are overdue. Default none.
	MeterProvider metric.MeterProvider
}

// DefaultTimeLimit is how long an order may take until it is confirmed, unless that is configured.
const DefaultTimeLimit = 30 * time.Minute

// A Service handles the order service's messages. It is safe for concurrent use.
type Service struct {
	store  *Store
	outbox *outbox.Outbox
	caller leveret.Caller
	config Config
	now    func() time.Time
	silent atomic.Bool // payment has not answered when it was last asked to close an order
}

// New returns a service that keeps its orders in s, and what it sends in o, the outbox of s. The caller runs [Service.Run]
// beside its handlers.
func New(s *Store, o *outbox.Outbox, caller leveret.Caller, config Config) *Service {
	config.TimeLimit = cmp.Or(config.TimeLimit, DefaultTimeLimit)
	config.Logger = cmp.Or(config.Logger, slog.Default())
	if config.MeterProvider == nil {
		config.MeterProvider = noop.NewMeterProvider()
	}
	return &Service{store: s, outbox: o, caller: caller, config: config, now: time.Now}
}

// Register makes the service the handler of everything that queues.Order serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.PlaceOrder.Handle(h, s.Place)
	queues.AbandonOrder.Handle(h, s.Abandon)
	queues.CheckOrder.Handle(h, s.Check)
	queues.AnnounceOrder.Handle(h, s.Announce)
	queues.ShowOrder.Answer(h, s.Show)
	queues.ListOrders.Answer(h, s.List)
	queues.CancelOrder.Answer(h, s.Cancel)
	queues.PaymentCaptured.Subscribe(h, s.OnPaymentCaptured)
	queues.StockReserved.Subscribe(h, s.OnStockReserved)
	queues.StockRejected.Subscribe(h, s.OnStockRejected)
}

// Place stores an order and asks for its payment to be authorised. If the payment is authorised, Place asks payment to
// capture it and inventory to reserve the goods; if the card is declined, it cancels the order.
//
// The order is stored first, and no transaction is open while the payment service is asked. If the process dies meanwhile,
// the message comes again and finds the order pending. Where version 0.1.0 has handled it and died, Place announces what that
// has committed.
func (s *Service) Place(ctx context.Context, r queues.PlaceOrderCommand) error {
	o, err := s.store.Place(ctx, r, s.now(), s.half())
	switch {
	case err != nil:
		return err
	case o.announcedBy(store.MessageID(ctx)):
		return s.Announce(ctx, queues.AnnounceOrderCommand{OrderID: o.ID})
	case o.Status.State != StatePending:
		return nil
	}
	u, err := s.authorize(ctx, o)
	if err != nil {
		return err
	}
	return s.apply(ctx, u)
}

// authorize asks the payment service and returns what its answer means for the order. If the payment service fails, does
// not answer or answers with an unknown status, the order stays pending, and the error's code decides whether the message
// is retried or dead-lettered. The order is never cancelled for that: the amount may be held all the same.
func (s *Service) authorize(ctx context.Context, o *Order) (Update, error) {
	a, err := queues.AuthorizePayment.Call(ctx, s.caller,
		queues.AuthorizePaymentRequest{OrderID: o.ID, CardToken: o.CardToken, Amount: o.Total})
	if err != nil {
		return Update{}, err
	}
	if err := a.Validate(); err != nil {
		return Update{}, leveret.Errorf(leveret.Internal, "the authorization: %w", err)
	}
	if a.OrderID != o.ID || a.Amount != o.Total {
		return Update{}, leveret.Errorf(leveret.Internal, "the authorization is for another order or amount")
	}
	switch a.Status {
	case queues.PaymentAuthorized:
		return Update{OrderID: o.ID, Event: EventAuthorized, AuthorizationID: a.AuthorizationID}, nil
	case queues.PaymentDeclined:
		return Update{OrderID: o.ID, Event: EventDeclined}, nil
	default: // a newer payment service: nothing is decided, and the message is retried
		return Update{}, leveret.Errorf(leveret.Internal, "the authorization has the status %q, which this version does not know", a.Status)
	}
}

// Show returns the current status of a customer's order.
func (s *Service) Show(ctx context.Context, q queues.ShowOrderRequest) (queues.ShowOrderReply, error) {
	o, err := s.store.Find(ctx, q.OrderID, q.CustomerID)
	if err != nil {
		return queues.ShowOrderReply{}, err
	}
	return o.status(), nil
}

// OnPaymentCaptured records that the customer was charged.
func (s *Service) OnPaymentCaptured(ctx context.Context, c queues.PaymentCapturedEvent) error {
	return s.apply(ctx, Update{OrderID: c.OrderID, Event: EventCaptured, Amount: c.Amount})
}

// OnStockReserved records that the goods are set aside.
func (s *Service) OnStockReserved(ctx context.Context, r queues.StockReservedEvent) error {
	return s.apply(ctx, Update{OrderID: r.OrderID, Event: EventReserved})
}

// OnStockRejected cancels the order, because some of its goods are out of stock.
func (s *Service) OnStockRejected(ctx context.Context, r queues.StockRejectedEvent) error {
	return s.apply(ctx, Update{OrderID: r.OrderID, Event: EventRejected})
}

// apply handles a message that reports an event: the order's new status and what follows from it are committed together. If
// version 0.1.0 has committed it, and is not known to have sent what follows, that is sent.
func (s *Service) apply(ctx context.Context, u Update) error {
	return store.Once(ctx, s.outbox, func(tx *sql.Tx) error {
		o, changed, err := apply(ctx, tx, u, s.now(), s.half())
		if err != nil || !changed && !o.announcedBy(store.MessageID(ctx)) {
			return err
		}
		return announce(ctx, outbox.In(tx), o)
	})
}

// announce sends what follows from an order's new status.
func announce(ctx context.Context, to leveret.Sender, o *Order) error {
	switch o.Status.State {
	case StatePlaced:
		if err := queues.OrderPlaced.Publish(ctx, to, o.placed()); err != nil {
			return err
		}
		return queues.ReserveStock.Send(ctx, to, o.stock())
	case StateConfirmed:
		return queues.OrderConfirmed.Publish(ctx, to, o.confirmed())
	case StateCancelled:
		return queues.OrderCancelled.Publish(ctx, to, o.cancelled())
	default: // captured or reserved: the other one is still to come; closing: payment is to be asked first
		return nil
	}
}
