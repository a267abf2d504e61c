package payment

import (
	"context"
	"errors"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// A Service handles the payment service's messages. It is safe for concurrent use.
type Service struct {
	store     *Store
	processor Processor
	sender    leveret.Sender
	now       func() time.Time
}

// New returns a service that keeps its payments in s and sends through sender.
func New(s *Store, processor Processor, sender leveret.Sender) *Service {
	return &Service{store: s, processor: processor, sender: sender, now: time.Now}
}

// Register makes the service the handler of everything that queues.Payment serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.AuthorizePayment.Answer(h, s.Authorize)
	queues.OrderPlaced.Subscribe(h, s.OnOrderPlaced)
	queues.OrderCancelled.Subscribe(h, s.OnOrderCancelled)
}

// Authorize reports whether a card pays, and holds the amount if it does. The same request always gets the same reply.
func (s *Service) Authorize(ctx context.Context, r queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
	reason := ""
	_, err := s.store.Find(ctx, r.OrderID)
	if errors.Is(err, ErrUnknown) {
		reason, err = s.processor.Authorize(ctx, string(r.CardToken), r.Amount)
	}
	if err != nil {
		return queues.AuthorizePaymentReply{}, err
	}
	p, err := s.store.Authorize(ctx, r, reason, s.now())
	if err != nil {
		return queues.AuthorizePaymentReply{}, err
	}
	return p.authorization(), nil
}

// OnOrderPlaced captures the authorised amount and publishes PaymentCaptured, unless the order has been cancelled in
// the meantime.
func (s *Service) OnOrderPlaced(ctx context.Context, o queues.OrderPlacedEvent) error {
	p, err := s.settle(ctx, o.OrderID, EventOrderPlaced, o.Total)
	if err != nil || p.CapturedAt.IsZero() {
		return err
	}
	return queues.PaymentCaptured.Publish(ctx, s.sender, p.captured())
}

// OnOrderCancelled refunds the payment if it was captured, or voids it if it was only authorised, and publishes that.
func (s *Service) OnOrderCancelled(ctx context.Context, o queues.OrderCancelledEvent) error {
	p, err := s.settle(ctx, o.OrderID, EventOrderCancelled, queues.Money{})
	if err != nil {
		return err
	}
	switch p.State {
	case StateVoided:
		return queues.PaymentVoided.Publish(ctx, s.sender, p.voided())
	case StateRefunded:
		return queues.PaymentRefunded.Publish(ctx, s.sender, p.refunded())
	default: // declined: nothing to undo
		return nil
	}
}

// settle has the card processor do what the event requires, if anything, and then applies the event to the store. The
// store decides again, because other events may have arrived while the processor was busy.
func (s *Service) settle(ctx context.Context, orderID string, e Event, total queues.Money) (*Payment, error) {
	p, err := s.store.Find(ctx, orderID)
	if err != nil {
		return nil, err
	}
	if next, err := p.State.Next(e); err == nil && next != p.State {
		if err := s.processor.Settle(ctx); err != nil {
			return nil, err
		}
	}
	return s.store.Apply(ctx, orderID, e, total, s.now())
}
