package payment

import (
	"context"
	"database/sql"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// A Service handles the payment service's messages. It is safe for concurrent use.
type Service struct {
	store     *Store
	outbox    *outbox.Outbox
	processor Processor
	now       func() time.Time
}

// New returns a service that keeps its payments in s, and what it sends in o, the outbox of s.
func New(s *Store, o *outbox.Outbox, processor Processor) *Service {
	return &Service{store: s, outbox: o, processor: processor, now: time.Now}
}

// Register makes the service the handler of everything that queues.Payment serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.AuthorizePayment.Answer(h, s.Authorize)
	queues.ClosePayment.Answer(h, s.Close)
	queues.OrderPlaced.Subscribe(h, s.OnOrderPlaced)
	queues.OrderCancelled.Subscribe(h, s.OnOrderCancelled)
}

// Authorize reports whether a card pays, and holds the amount if it does. The same request always gets the same reply.
// If the order has been cancelled, the reply is declined, and nothing is held.
func (s *Service) Authorize(ctx context.Context, r queues.AuthorizePaymentRequest) (queues.AuthorizePaymentReply, error) {
	p, err := s.store.Known(ctx, r)
	if err != nil {
		return queues.AuthorizePaymentReply{}, err
	}
	reason := ""
	if p.State == StateUnknown {
		if reason, err = s.processor.Authorize(ctx, r.CardToken, r.Amount); err != nil {
			return queues.AuthorizePaymentReply{}, err
		}
	}
	if p, err = s.store.Authorize(ctx, r, reason, s.now()); err != nil {
		return queues.AuthorizePaymentReply{}, err
	}
	if p.DeclineReason == DeclineOrderCancelled {
		// The card may have accepted while the cancellation arrived, now or in an attempt that was interrupted.
		if err := s.processor.Settle(ctx); err != nil {
			return queues.AuthorizePaymentReply{}, err
		}
	}
	return p.authorization(), nil
}

// OnOrderPlaced captures the authorised amount and publishes PaymentCaptured, unless the order has been cancelled in
// the meantime. For a payment that was captured before, by another message about it, it publishes the same again.
func (s *Service) OnOrderPlaced(ctx context.Context, o queues.OrderPlacedEvent) error {
	return s.settle(ctx, o.OrderID, EventOrderPlaced, o.Total, func(to leveret.Sender, p *Payment, _ bool) error {
		if p.CapturedAt.IsZero() {
			return nil
		}
		return queues.PaymentCaptured.Publish(ctx, to, p.captured())
	})
}

// OnOrderCancelled refunds the payment if it was captured, or voids it if it was only authorised, and publishes that.
// If the order has no payment yet, OnOrderCancelled makes sure that it will be declined.
func (s *Service) OnOrderCancelled(ctx context.Context, o queues.OrderCancelledEvent) error {
	return s.settle(ctx, o.OrderID, EventOrderCancelled, queues.Money{}, func(to leveret.Sender, p *Payment, _ bool) error {
		return announceUndone(ctx, to, p)
	})
}

// Close does what OnOrderCancelled does, as an answer. It publishes only what it has done itself: the request may be
// repeated under another message id. It waits for the card processor, which has to answer within the time of the request, 5 s:
// the caller asks again, and the processor does it once.
func (s *Service) Close(ctx context.Context, q queues.ClosePaymentRequest) (queues.ClosePaymentReply, error) {
	reply := queues.ClosePaymentReply{OrderID: q.OrderID}
	err := s.settle(ctx, q.OrderID, EventOrderCancelled, queues.Money{}, func(to leveret.Sender, p *Payment, changed bool) error {
		reply.State = string(p.State)
		if !changed {
			return nil
		}
		return announceUndone(ctx, to, p)
	})
	return reply, err
}

// announceUndone publishes that a payment was voided or refunded. One that is declined or cancelled held nothing.
func announceUndone(ctx context.Context, to leveret.Sender, p *Payment) error {
	switch p.State {
	case StateVoided:
		return queues.PaymentVoided.Publish(ctx, to, p.voided())
	case StateRefunded:
		return queues.PaymentRefunded.Publish(ctx, to, p.refunded())
	default:
		return nil
	}
}

// settle has the card processor do what the event requires, if anything, and then applies the event to the store and
// announces the payment, and whether that has changed it, in one transaction. The store decides again, because other events
// may have arrived while the processor was busy.
func (s *Service) settle(ctx context.Context, orderID string, e Event, total queues.Money,
	announce func(to leveret.Sender, p *Payment, changed bool) error,
) error {
	p, err := s.store.Find(ctx, orderID)
	if err != nil {
		return err
	}
	if next, err := p.State.Next(e); err == nil && next != p.State {
		if err := s.processor.Settle(ctx); err != nil {
			return err
		}
	}
	return store.Once(ctx, s.outbox, func(tx *sql.Tx) error {
		p, changed, err := apply(ctx, tx, orderID, e, total, s.now())
		if err != nil {
			return err
		}
		return announce(outbox.In(tx), p, changed)
	})
}
