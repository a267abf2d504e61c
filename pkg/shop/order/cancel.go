package order

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// Cancel cancels a customer's order. It returns [ErrUnknown] if the customer has no such order, and [ErrConfirmed] if
// it is too late.
//
// A request is not redelivered for ever, so Cancel does not announce the cancellation itself. It sends AbandonOrder
// first, and only then changes the order. Once a queue holds that command, the cancellation is announced, even if
// the process dies before it has changed the order; until then, nothing has happened.
func (s *Service) Cancel(ctx context.Context, q queues.CancelOrderRequest) (queues.ShowOrderReply, error) {
	o, err := s.store.Find(ctx, q.OrderID, q.CustomerID)
	if err != nil {
		return queues.ShowOrderReply{}, err
	}
	next, err := o.Status.Next(EventAbandoned)
	if err != nil {
		return queues.ShowOrderReply{}, err
	}
	if next == o.Status {
		return o.status(), nil
	}
	command, err := queues.AbandonOrder.Message(ctx, queues.AbandonOrderCommand{OrderID: o.ID})
	if err != nil {
		return queues.ShowOrderReply{}, err
	}
	if command.ID, err = abandonID(o.ID); err != nil {
		return queues.ShowOrderReply{}, err
	}
	if err := s.sender.Send(ctx, command); err != nil {
		return queues.ShowOrderReply{}, err
	}
	// The order may have been decided in the meantime, also by the command itself.
	o, err = s.store.Apply(ctx, Update{OrderID: o.ID, Event: EventAbandoned, By: command.ID}, s.now())
	switch {
	case errors.Is(err, ErrConfirmed):
		return queues.ShowOrderReply{}, err
	case err != nil:
		return queues.ShowOrderReply{}, fmt.Errorf("%w: the cancellation is under way: %w", leveret.ErrOutcomeUnknown, err)
	}
	return o.status(), nil
}

// abandonID returns the id of the command that abandons an order. It follows from the order's id, so that all requests
// to cancel an order send one and the same command.
func abandonID(orderID string) (string, error) {
	namespace, err := uuid.Parse(orderID)
	if err != nil {
		return "", fmt.Errorf("the order's id: %w", err)
	}
	return uuid.NewSHA1(namespace, []byte(queues.AbandonOrder.Spec().Name)).String(), nil
}

// Abandon cancels an order, unless Cancel has already done so, and announces that. If the order was confirmed first,
// there is nothing to do.
func (s *Service) Abandon(ctx context.Context, c queues.AbandonOrderCommand) error {
	err := s.apply(ctx, Update{OrderID: c.OrderID, Event: EventAbandoned})
	if errors.Is(err, ErrConfirmed) {
		return nil
	}
	return err
}
