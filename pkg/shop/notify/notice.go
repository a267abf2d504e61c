package notify

import (
	"fmt"

	"github.com/leveretmq/leveret/queues"
)

// A Notice is a text for the customer of an order.
type Notice struct {
	OrderID string
	// About is the name of the event that the notice is about: "order.confirmed".
	About string
	Text  string
}

func confirmed(o queues.OrderConfirmedEvent) Notice {
	return Notice{
		OrderID: o.OrderID, About: queues.OrderConfirmed.Spec().Name,
		Text: fmt.Sprintf("Your order %s is confirmed. We are packing it now.", o.OrderID),
	}
}

func cancelled(o queues.OrderCancelledEvent) Notice {
	n := Notice{OrderID: o.OrderID, About: queues.OrderCancelled.Spec().Name}
	switch o.Reason {
	case queues.CancelDeclined:
		n.Text = fmt.Sprintf("Your order %s is cancelled, because your card was declined.", o.OrderID)
	case queues.CancelOutOfStock:
		n.Text = fmt.Sprintf("Your order %s is cancelled, because some of the goods are out of stock.", o.OrderID)
	case queues.CancelRequested:
		n.Text = fmt.Sprintf("Your order %s is cancelled, as you asked us to.", o.OrderID)
	case queues.CancelExpired:
		n.Text = fmt.Sprintf("Your order %s is cancelled, because we could not complete it in time. You are not charged for it.", o.OrderID)
	default: // a reason that is newer than this program
		n.Text = fmt.Sprintf("Your order %s is cancelled.", o.OrderID)
	}
	return n
}

func refunded(p queues.PaymentRefundedEvent) Notice {
	return Notice{
		OrderID: p.OrderID, About: queues.PaymentRefunded.Spec().Name,
		Text: fmt.Sprintf("The payment for your order %s is refunded.", p.OrderID),
	}
}
