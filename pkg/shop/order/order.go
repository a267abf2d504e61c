package order

import (
	"slices"
	"time"

	"github.com/leveretmq/leveret/queues"
)

// An Order is what the store holds of an order.
type Order struct {
	ID         string
	CustomerID string
	CardToken  string
	Lines      []queues.OrderLine
	Total      queues.Money
	Status     Status
	// AuthorizationID names the payment; empty while the order is pending.
	AuthorizationID string
	// SentAt is when the customer's order was sent, by the sender's clock; zero where that is not known.
	SentAt time.Time
	// ReceivedAt, PlacedAt and DecidedAt are when the order was stored, authorised, and confirmed or cancelled.
	ReceivedAt, PlacedAt, DecidedAt time.Time
	// PlacedBy and DecidedBy are the ids of the messages whose handling made it so: that message, delivered again, sends
	// again what followed from it, and no other does.
	PlacedBy, DecidedBy string
}

// asks reports whether the order is what r asks for.
func (o *Order) asks(r queues.OrderRequest) bool {
	return o.ID == r.OrderID && o.CustomerID == r.CustomerID && o.CardToken == r.CardToken && slices.Equal(o.Lines, r.Lines)
}

// stock returns what the order needs from the shelves.
func (o *Order) stock() queues.StockReservation {
	r := queues.StockReservation{OrderID: o.ID, Lines: make([]queues.StockLine, len(o.Lines))}
	for i, l := range o.Lines {
		r.Lines[i] = queues.StockLine{SKU: l.SKU, Quantity: l.Quantity}
	}
	return r
}

// placed returns the news that the order was placed.
func (o *Order) placed() queues.PlacedOrder {
	return queues.PlacedOrder{
		OrderID: o.ID, CustomerID: o.CustomerID, Lines: o.Lines, Total: o.Total,
		AuthorizationID: o.AuthorizationID, PlacedAt: o.PlacedAt,
	}
}

// status returns the answer to who asks what became of the order.
func (o *Order) status() queues.OrderStatus {
	s := queues.OrderStatus{
		OrderID: o.ID, CustomerID: o.CustomerID, State: string(o.Status.State), Reason: o.Status.Reason,
		Lines: o.Lines, Total: o.Total,
	}
	if !o.DecidedAt.IsZero() {
		s.DecidedAt = &o.DecidedAt
	}
	return s
}
