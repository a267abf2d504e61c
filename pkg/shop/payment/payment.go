package payment

import (
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// A Payment is a stored payment. Each order has one.
type Payment struct {
	OrderID         string
	AuthorizationID string
	CardToken       leveret.Secret
	Amount          queues.Money
	State           State
	// DeclineReason says why the card was declined.
	DeclineReason string
	// DecidedAt is when the card answered, CapturedAt when the customer was charged; VoidedAt and RefundedAt are when the
	// payment was released or paid back. They are zero until then.
	DecidedAt, CapturedAt, VoidedAt, RefundedAt time.Time
}

func (p *Payment) authorization() queues.AuthorizePaymentReply {
	a := queues.AuthorizePaymentReply{
		OrderID: p.OrderID, AuthorizationID: p.AuthorizationID, Status: queues.PaymentAuthorized,
		DeclineReason: p.DeclineReason, Amount: p.Amount, DecidedAt: p.DecidedAt,
	}
	if p.DeclineReason != "" {
		a.Status = queues.PaymentDeclined
	}
	return a
}

func (p *Payment) captured() queues.PaymentCapturedEvent {
	return queues.PaymentCapturedEvent{
		OrderID: p.OrderID, AuthorizationID: p.AuthorizationID, Amount: p.Amount, CapturedAt: p.CapturedAt,
	}
}

func (p *Payment) voided() queues.PaymentVoidedEvent {
	return queues.PaymentVoidedEvent{
		OrderID: p.OrderID, AuthorizationID: p.AuthorizationID, Amount: p.Amount, VoidedAt: p.VoidedAt,
	}
}

func (p *Payment) refunded() queues.PaymentRefundedEvent {
	return queues.PaymentRefundedEvent{
		OrderID: p.OrderID, AuthorizationID: p.AuthorizationID, Amount: p.Amount, RefundedAt: p.RefundedAt,
	}
}
