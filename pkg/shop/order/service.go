package order

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// A Service handles what the order service is asked and told. It is safe for concurrent use.
type Service struct {
	store  *Store
	sender leveret.Sender
	caller leveret.Caller
	now    func() time.Time
}

// New makes a service that keeps its orders in s, and sends and asks through the two, which may be one client.
func New(s *Store, sender leveret.Sender, caller leveret.Caller) *Service {
	return &Service{store: s, sender: sender, caller: caller, now: time.Now}
}

// Register makes the service the handler of everything that queues.Order serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.PlaceOrder.Handle(h, s.Place)
	queues.ShowOrder.Answer(h, s.Show)
	queues.PaymentCaptured.Subscribe(h, s.OnPaymentCaptured)
	queues.StockReserved.Subscribe(h, s.OnStockReserved)
	queues.StockRejected.Subscribe(h, s.OnStockRejected)
}

// Place takes an order, has its payment authorised, and tells payment and inventory, or that the card was declined.
func (s *Service) Place(ctx context.Context, r queues.OrderRequest) error {
	o, err := s.store.Take(ctx, r, s.now())
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
	case o.PlacedBy == store.MessageID(ctx), !o.Status.Final():
		// The second: another message for the same order, while nothing has come of the first. Perhaps it was
		// dead-lettered before it could tell anybody. Telling twice does no harm.
		return s.announcePlaced(ctx, o)
	default:
		return nil
	}
}

// authorize asks payment and brings the answer into the order. A payment service that does not answer, or answers with
// an error, leaves the order pending; the message is tried again, or dead-lettered, by the error's code.
func (s *Service) authorize(ctx context.Context, o *Order) (*Order, error) {
	a, err := queues.AuthorizePayment.Call(ctx, s.caller,
		queues.PaymentRequest{OrderID: o.ID, CardToken: o.CardToken, Amount: o.Total})
	if err != nil {
		return nil, err
	}
	if err := a.Validate(); err != nil {
		return nil, leveret.Errorf(leveret.Internal, "the authorization: %w", err)
	}
	if a.OrderID != o.ID || a.Amount != o.Total {
		return nil, leveret.Errorf(leveret.Internal, "the authorization is for another order or amount")
	}
	n := News{OrderID: o.ID, Fact: FactDeclined}
	if a.Status == queues.PaymentAuthorized {
		n.Fact, n.AuthorizationID = FactAuthorized, a.AuthorizationID
	}
	return s.store.Learn(ctx, n, s.now())
}

func (s *Service) announcePlaced(ctx context.Context, o *Order) error {
	if err := queues.OrderPlaced.Publish(ctx, s.sender, o.placed()); err != nil {
		return err
	}
	return queues.ReserveStock.Send(ctx, s.sender, o.stock())
}

// Show answers what became of an order.
func (s *Service) Show(ctx context.Context, q queues.OrderQuery) (queues.OrderStatus, error) {
	o, err := s.store.Find(ctx, q.OrderID)
	if err != nil {
		return queues.OrderStatus{}, err
	}
	return o.status(), nil
}

// OnPaymentCaptured learns that the customer was charged.
func (s *Service) OnPaymentCaptured(ctx context.Context, c queues.CapturedPayment) error {
	return s.learn(ctx, News{OrderID: c.OrderID, Fact: FactCaptured, Amount: c.Amount})
}

// OnStockReserved learns that the goods are set aside.
func (s *Service) OnStockReserved(ctx context.Context, r queues.ReservedStock) error {
	return s.learn(ctx, News{OrderID: r.OrderID, Fact: FactReserved})
}

// OnStockRejected learns that the goods are not there.
func (s *Service) OnStockRejected(ctx context.Context, r queues.RejectedStock) error {
	return s.learn(ctx, News{OrderID: r.OrderID, Fact: FactRejected})
}

func (s *Service) learn(ctx context.Context, n News) error {
	o, err := s.store.Learn(ctx, n, s.now())
	if err != nil {
		return err
	}
	return s.announceEnd(ctx, o)
}

// announceEnd tells the end of an order, if the message that is being handled brought it about: now, or when it was
// delivered before.
func (s *Service) announceEnd(ctx context.Context, o *Order) error {
	if !o.Status.Final() || o.DecidedBy != store.MessageID(ctx) {
		return nil
	}
	if o.Status.State == StateConfirmed {
		return queues.OrderConfirmed.Publish(ctx, s.sender,
			queues.ConfirmedOrder{OrderID: o.ID, Total: o.Total, ConfirmedAt: o.DecidedAt})
	}
	return queues.OrderCancelled.Publish(ctx, s.sender,
		queues.CancelledOrder{OrderID: o.ID, Reason: o.Status.Reason, CancelledAt: o.DecidedAt})
}
