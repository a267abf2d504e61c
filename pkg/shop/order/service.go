package order

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// A Service handles the order service's messages. It is safe for concurrent use.
type Service struct {
	store  *Store
	sender leveret.Sender
	caller leveret.Caller
	now    func() time.Time
}

// New returns a service that keeps its orders in s. The sender and the caller may be the same client.
func New(s *Store, sender leveret.Sender, caller leveret.Caller) *Service {
	return &Service{store: s, sender: sender, caller: caller, now: time.Now}
}

// Register makes the service the handler of everything that queues.Order serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.PlaceOrder.Handle(h, s.Place)
	queues.AbandonOrder.Handle(h, s.Abandon)
	queues.ShowOrder.Answer(h, s.Show)
	queues.ListOrders.Answer(h, s.List)
	queues.CancelOrder.Answer(h, s.Cancel)
	queues.PaymentCaptured.Subscribe(h, s.OnPaymentCaptured)
	queues.StockReserved.Subscribe(h, s.OnStockReserved)
	queues.StockRejected.Subscribe(h, s.OnStockRejected)
}

// Place stores an order and asks for its payment to be authorised. If the payment is authorised, Place asks payment to
// capture it and inventory to reserve the goods; if the card is declined, it cancels the order.
func (s *Service) Place(ctx context.Context, r queues.PlaceOrderCommand) error {
	o, err := s.store.Place(ctx, r, s.now())
	if err != nil {
		return err
	}
	if o.Status.State == StatePending {
		if o, err = s.authorize(ctx, o); err != nil {
			return err
		}
	}
	switch {
	case o.Status == Status{StateCancelled, queues.CancelDeclined}:
		return s.announceEnd(ctx, o)
	case o.Status == Status{StateCancelled, queues.CancelRequested}:
		return nil // nobody needs to start on it; AbandonOrder announces the end
	case o.PlacedBy == store.MessageID(ctx), !o.Status.Final():
		// The second case is another message for an order that is still open. The first message may have been
		// dead-lettered before it announced anything, and announcing the order twice does no harm.
		return s.announcePlaced(ctx, o)
	default:
		return nil
	}
}

// authorize asks the payment service and applies its answer to the order. If the payment service fails, does not answer
// or answers with an unknown status, the order stays pending, and the error's code decides whether the message is
// retried or dead-lettered. The order is never cancelled for that: the amount may be held all the same.
func (s *Service) authorize(ctx context.Context, o *Order) (*Order, error) {
	a, err := queues.AuthorizePayment.Call(ctx, s.caller,
		queues.AuthorizePaymentRequest{OrderID: o.ID, CardToken: o.CardToken, Amount: o.Total})
	if err != nil {
		return nil, err
	}
	if err := a.Validate(); err != nil {
		return nil, leveret.Errorf(leveret.Internal, "the authorization: %w", err)
	}
	if a.OrderID != o.ID || a.Amount != o.Total {
		return nil, leveret.Errorf(leveret.Internal, "the authorization is for another order or amount")
	}
	u := Update{OrderID: o.ID}
	switch a.Status {
	case queues.PaymentAuthorized:
		u.Event, u.AuthorizationID = EventAuthorized, a.AuthorizationID
	case queues.PaymentDeclined:
		u.Event = EventDeclined
	default: // a newer payment service: nothing is decided, and the message is retried
		return nil, leveret.Errorf(leveret.Internal, "the authorization has the status %q, which this version does not know", a.Status)
	}
	return s.store.Apply(ctx, u, s.now())
}

func (s *Service) announcePlaced(ctx context.Context, o *Order) error {
	if err := queues.OrderPlaced.Publish(ctx, s.sender, o.placed()); err != nil {
		return err
	}
	return queues.ReserveStock.Send(ctx, s.sender, o.stock())
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

func (s *Service) apply(ctx context.Context, u Update) error {
	o, err := s.store.Apply(ctx, u, s.now())
	if err != nil {
		return err
	}
	return s.announceEnd(ctx, o)
}

// announceEnd publishes the outcome of a finished order, but only while handling the message that finished it: on its
// first delivery, and on every redelivery.
func (s *Service) announceEnd(ctx context.Context, o *Order) error {
	if !o.Status.Final() || o.DecidedBy != store.MessageID(ctx) {
		return nil
	}
	if o.Status.State == StateConfirmed {
		return queues.OrderConfirmed.Publish(ctx, s.sender,
			queues.OrderConfirmedEvent{OrderID: o.ID, Total: o.Total, ConfirmedAt: o.DecidedAt})
	}
	return queues.OrderCancelled.Publish(ctx, s.sender,
		queues.OrderCancelledEvent{OrderID: o.ID, Reason: o.Status.Reason, CancelledAt: o.DecidedAt})
}
