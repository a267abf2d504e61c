package order

import (
	"context"
	"database/sql"
	"errors"

	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/queues"
)

// Cancel cancels a customer's order. One that is closing stays so, and will be cancelled. Cancel returns [ErrUnknown] if
// the customer has no such order, and [ErrConfirmed] if it is too late.
//
// A request is not delivered again when the process dies. So the announcement of the cancellation is in the outbox, in the
// transaction of the cancellation.
func (s *Service) Cancel(ctx context.Context, q queues.CancelOrderRequest) (queues.ShowOrderReply, error) {
	if _, err := s.store.Find(ctx, q.OrderID, q.CustomerID); err != nil {
		return queues.ShowOrderReply{}, err
	}
	if err := s.apply(ctx, Update{OrderID: q.OrderID, Event: EventAbandoned}); err != nil {
		return queues.ShowOrderReply{}, err
	}
	return s.Show(ctx, queues.ShowOrderRequest(q))
}

// Abandon sees a cancellation through that version 0.1.0 has begun: it may have changed the order already, and announces
// it by this command. If the order was confirmed first, there is nothing to do.
func (s *Service) Abandon(ctx context.Context, c queues.AbandonOrderCommand) error {
	return store.Once(ctx, s.outbox, func(tx *sql.Tx) error {
		o, _, err := apply(ctx, tx, Update{OrderID: c.OrderID, Event: EventAbandoned}, s.now(), s.half())
		if errors.Is(err, ErrConfirmed) {
			return nil
		}
		if err != nil || o.Status.Reason != queues.CancelRequested {
			return err
		}
		return announce(ctx, outbox.In(tx), o)
	})
}
