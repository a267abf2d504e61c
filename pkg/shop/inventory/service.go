package inventory

import (
	"context"
	"database/sql"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// A Service handles the inventory service's messages. It is safe for concurrent use.
type Service struct {
	outbox *outbox.Outbox
	now    func() time.Time
}

// New returns a service that keeps its stock, and what it sends, in the store of o.
func New(o *outbox.Outbox) *Service { return &Service{outbox: o, now: time.Now} }

// Register makes the service the handler of everything that queues.Inventory serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.ReserveStock.Handle(h, s.Reserve)
	queues.OrderCancelled.Subscribe(h, s.OnOrderCancelled)
}

// Reserve sets the goods of an order aside and publishes StockReserved, or StockRejected if some are out of stock. If
// the order was cancelled before, it does neither. For an order that was decided before, by another message about it, it
// publishes the same again, even if the goods were put back since: that is how it went.
func (s *Service) Reserve(ctx context.Context, q queues.ReserveStockCommand) error {
	return store.Once(ctx, s.outbox, func(tx *sql.Tx) error {
		r, err := reserve(ctx, tx, q, s.now())
		if err != nil {
			return err
		}
		switch r.State {
		case StateReserved, StateReleased:
			return queues.StockReserved.Publish(ctx, outbox.In(tx),
				queues.StockReservedEvent{OrderID: r.OrderID, Lines: r.Lines, ReservedAt: r.DecidedAt})
		case StateRejected:
			return queues.StockRejected.Publish(ctx, outbox.In(tx),
				queues.StockRejectedEvent{OrderID: r.OrderID, Shortages: r.Shortages, RejectedAt: r.DecidedAt})
		default: // cancelled: nobody waits for the goods
			return nil
		}
	})
}

// OnOrderCancelled puts the goods of an order back and publishes StockReleased. If none were set aside, it makes sure
// that none will be, and publishes nothing.
func (s *Service) OnOrderCancelled(ctx context.Context, o queues.OrderCancelledEvent) error {
	return store.Once(ctx, s.outbox, func(tx *sql.Tx) error {
		r, err := cancel(ctx, tx, o.OrderID, s.now())
		if err != nil || r.State != StateReleased {
			return err
		}
		return queues.StockReleased.Publish(ctx, outbox.In(tx),
			queues.StockReleasedEvent{OrderID: r.OrderID, Lines: r.Lines, ReleasedAt: r.ReleasedAt})
	})
}
