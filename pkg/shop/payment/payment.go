package payment

import (
	"time"

	"github.com/leveretmq/leveret/queues"
)

// A Payment is what the store holds of a payment. There is one for an order.
type Payment struct {
	OrderID         string
	AuthorizationID string
	CardToken       string
	Amount          queues.Money
	State           State
	// DeclineReason says why the card was declined.
	DeclineReason string
	// DecidedAt is when the card answered; the others, when the customer was charged, and the payment given up or given
	// back. They are zero where it has not happened.
	DecidedAt, CapturedAt, VoidedAt, RefundedAt time.Time
}

func (p *Payment) authorization() queues.Authorization {
	a := queues.Authorization{
		OrderID: p.OrderID, AuthorizationID: p.AuthorizationID, Status: queues.PaymentAuthorized,
		DeclineReason: p.DeclineReason, Amount: p.Amount, DecidedAt: p.DecidedAt,
	}
	if p.DeclineReason != "" {
		a.Status = queues.PaymentDeclined
	}
	return a
}

func (p *Payment) captured() queues.CapturedPayment {
	return queues.CapturedPayment{
		OrderID: p.OrderID, AuthorizationID: p.AuthorizationID, Amount: p.Amount, CapturedAt: p.CapturedAt,
	}
}

func (p *Payment) voided() queues.VoidedPayment {
	return queues.VoidedPayment{
		OrderID: p.OrderID, AuthorizationID: p.AuthorizationID, Amount: p.Amount, VoidedAt: p.VoidedAt,
	}
}

func (p *Payment) refunded() queues.RefundedPayment {
	return queues.RefundedPayment{
		OrderID: p.OrderID, AuthorizationID: p.AuthorizationID, Amount: p.Amount, RefundedAt: p.RefundedAt,
	}
}
