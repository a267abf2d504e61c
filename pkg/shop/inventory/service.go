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
}

// Reserve sets the goods of an order aside and publishes StockReserved, or StockRejected if some are out of stock.
func (s *Service) Reserve(ctx context.Context, q queues.ReserveStockCommand) error {
	r, err := s.store.Reserve(ctx, q, s.now())
	if err != nil {
		return err
	}
	if r.Rejected() {
		return queues.StockRejected.Publish(ctx, s.sender,
			queues.StockRejectedEvent{OrderID: r.OrderID, Shortages: r.Shortages, RejectedAt: r.DecidedAt})
	}
	return queues.StockReserved.Publish(ctx, s.sender,
		queues.StockReservedEvent{OrderID: r.OrderID, Lines: r.Lines, ReservedAt: r.DecidedAt})
}
