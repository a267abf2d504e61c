package payment

import (
	"context"
	"errors"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// A Service handles what the payment service is asked and told. It is safe for concurrent use.
type Service struct {
	store     *Store
	processor Processor
	sender    leveret.Sender
	now       func() time.Time
}

// New makes a service that keeps its payments in s and sends through sender.
func New(s *Store, processor Processor, sender leveret.Sender) *Service {
	return &Service{store: s, processor: processor, sender: sender, now: time.Now}
}

// Register makes the service the handler of everything that queues.Payment serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.AuthorizePayment.Answer(h, s.Authorize)
	queues.OrderPlaced.Subscribe(h, s.OnOrderPlaced)
	queues.OrderCancelled.Subscribe(h, s.OnOrderCancelled)
}

// Authorize answers whether a card pays, and holds the amount if it does. The same question gets the same answer.
func (s *Service) Authorize(ctx context.Context, r queues.PaymentRequest) (queues.Authorization, error) {
	reason := ""
	_, err := s.store.Find(ctx, r.OrderID)
	if errors.Is(err, ErrUnknown) {
		reason, err = s.processor.Authorize(ctx, r.CardToken, r.Amount)
	}
	if err != nil {
		return queues.Authorization{}, err
	}
	p, err := s.store.Authorize(ctx, r, reason, s.now())
	if err != nil {
		return queues.Authorization{}, err
	}
	return p.authorization(), nil
}

// OnOrderPlaced captures what was authorised, and tells so. Of an order that was cancelled meanwhile, nothing is
// captured.
func (s *Service) OnOrderPlaced(ctx context.Context, o queues.PlacedOrder) error {
	p, err := s.settle(ctx, o.OrderID, NewsPlaced, o.Total)
	if err != nil || p.CapturedAt.IsZero() {
		return err
	}
	return queues.PaymentCaptured.Publish(ctx, s.sender, p.captured())
}

// OnOrderCancelled gives back what was captured, or gives up what was authorised, and tells so.
func (s *Service) OnOrderCancelled(ctx context.Context, o queues.CancelledOrder) error {
	p, err := s.settle(ctx, o.OrderID, NewsCancelled, queues.Money{})
	if err != nil {
		return err
	}
	switch p.State {
	case StateVoided:
		return queues.PaymentVoided.Publish(ctx, s.sender, p.voided())
	case StateRefunded:
		return queues.PaymentRefunded.Publish(ctx, s.sender, p.refunded())
	default: // declined: there is nothing to give back
		return nil
	}
}

// settle has the processor do what the news asks for, if it asks for anything, and then brings it into the store, which
// decides anew: other news may have come while the processor was at it.
func (s *Service) settle(ctx context.Context, orderID string, n News, total queues.Money) (*Payment, error) {
	p, err := s.store.Find(ctx, orderID)
	if err != nil {
		return nil, err
	}
	if next, err := p.State.After(n); err == nil && next != p.State {
		if err := s.processor.Settle(ctx); err != nil {
			return nil, err
		}
	}
	return s.store.Learn(ctx, orderID, n, total, s.now())
}
