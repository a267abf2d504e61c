package inventory

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// A Service handles the inventory service's messages. It is safe for concurrent use.
type Service struct {
	store  *Store
	sender leveret.Sender
	now    func() time.Time
}

// New returns a service that keeps its stock in s and sends through sender.
func New(s *Store, sender leveret.Sender) *Service {
	return &Service{store: s, sender: sender, now: time.Now}
}

// Register makes the service the handler of everything that queues.Inventory serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.ReserveStock.Handle(h, s.Reserve)
	queues.OrderCancelled.Subscribe(h, s.OnOrderCancelled)
}

// Reserve sets the goods of an order aside and publishes StockReserved, or StockRejected if some are out of stock. If
// the order was cancelled before, it does neither. It publishes the same again for goods that were put back since:
// that is how it went.
func (s *Service) Reserve(ctx context.Context, q queues.ReserveStockCommand) error {
	r, err := s.store.Reserve(ctx, q, s.now())
	if err != nil {
		return err
	}
	switch r.State {
	case StateReserved, StateReleased:
		return queues.StockReserved.Publish(ctx, s.sender,
			queues.StockReservedEvent{OrderID: r.OrderID, Lines: r.Lines, ReservedAt: r.DecidedAt})
	case StateRejected:
		return queues.StockRejected.Publish(ctx, s.sender,
			queues.StockRejectedEvent{OrderID: r.OrderID, Shortages: r.Shortages, RejectedAt: r.DecidedAt})
	default: // cancelled: nobody waits for the goods
		return nil
	}
}

// OnOrderCancelled puts the goods of an order back and publishes StockReleased. If none were set aside, it makes sure
// that none will be, and publishes nothing.
func (s *Service) OnOrderCancelled(ctx context.Context, o queues.OrderCancelledEvent) error {
	r, err := s.store.Cancel(ctx, o.OrderID, s.now())
	if err != nil || r.State != StateReleased {
		return err
	}
	return queues.StockReleased.Publish(ctx, s.sender,
		queues.StockReleasedEvent{OrderID: r.OrderID, Lines: r.Lines, ReleasedAt: r.ReleasedAt})
}
