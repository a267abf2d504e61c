package order

import (
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// An Order is a stored order.
type Order struct {
	ID         string
	CustomerID string
	CardToken  leveret.Secret
	Lines      []queues.OrderLine
	Total      queues.Money
	Status     Status
	// AuthorizationID identifies the payment. It is empty while the order is pending.
	AuthorizationID string
	// SentAt is when the customer's order was sent, by the sender's clock. It is zero if unknown.
	SentAt time.Time
	// CheckAt is when the order is looked at next, to see whether it takes long or somebody has lost its cancellation. It is
	// zero when nothing is left to do.
	CheckAt time.Time
	// RepeatedAt is when a check has sent once more what follows from the order's status: what others owe an answer for or,
	// once it is cancelled, that. It is zero until then.
	RepeatedAt time.Time
	// PlacedBy and DecidedBy are the ids of the messages that have placed and decided the order, if version 0.1.0 did that: it
	// announced the change after its commit, while it handled these. Else they are empty.
	PlacedBy, DecidedBy string
	// ReceivedAt, PlacedAt and DecidedAt are when the order was stored, authorised, and confirmed or cancelled. They are
	// zero until then.
	ReceivedAt, PlacedAt, DecidedAt time.Time
}

// matches reports whether the order is the one that r asks for.
func (o *Order) matches(r queues.PlaceOrderCommand) bool {
	return o.ID == r.OrderID && o.CustomerID == r.CustomerID && o.CardToken == r.CardToken && slices.Equal(o.Lines, r.Lines)
}

// announcedBy reports whether it is the message with an id that announces the order's status, by what version 0.1.0 has noted.
func (o *Order) announcedBy(id string) bool {
	if o.Status.Final() {
		return id != "" && id == o.DecidedBy
	}
	return id != "" && id == o.PlacedBy
}

// stock returns the goods that the order needs.
func (o *Order) stock() queues.ReserveStockCommand {
	r := queues.ReserveStockCommand{OrderID: o.ID, Lines: make([]queues.StockLine, len(o.Lines))}
	for i, l := range o.Lines {
		r.Lines[i] = queues.StockLine{SKU: l.SKU, Quantity: l.Quantity}
	}
	return r
}

// placed returns the event that the order was placed.
func (o *Order) placed() queues.OrderPlacedEvent {
	return queues.OrderPlacedEvent{
		OrderID: o.ID, CustomerID: o.CustomerID, Lines: o.Lines, Total: o.Total,
		AuthorizationID: o.AuthorizationID, PlacedAt: o.PlacedAt,
	}
}

// confirmed returns the event that the order was confirmed.
func (o *Order) confirmed() queues.OrderConfirmedEvent {
	return queues.OrderConfirmedEvent{OrderID: o.ID, Total: o.Total, ConfirmedAt: o.DecidedAt}
}

// cancelled returns the event that the order was cancelled.
func (o *Order) cancelled() queues.OrderCancelledEvent {
	return queues.OrderCancelledEvent{OrderID: o.ID, Reason: o.Status.Reason, CancelledAt: o.DecidedAt}
}

// status returns the order as callers of ShowOrder see it.
func (o *Order) status() queues.ShowOrderReply {
	s := queues.ShowOrderReply{
		OrderID: o.ID, CustomerID: o.CustomerID, State: string(o.Status.State), Reason: o.Status.Reason,
		Lines: o.Lines, Total: o.Total,
	}
	if !o.DecidedAt.IsZero() {
		s.DecidedAt = &o.DecidedAt
	}
	return s
}
