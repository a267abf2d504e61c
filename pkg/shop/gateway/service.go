package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// Callers are the ways to the services that the gateway asks. They may all be the same.
type Callers struct{ Order, User, Auth leveret.Caller }

// inside returns callers that tell the errors of the other side from those of this one.
func (c Callers) inside() Callers {
	return Callers{answered{c.Order}, answered{c.User}, answered{c.Auth}}
}

// A Service answers the requests of the public API. It is safe for concurrent use.
type Service struct {
	store  *Store
	sender leveret.Sender
	call   Callers
	now    func() time.Time
}

func newService(s *Store, sender leveret.Sender, callers Callers) *Service {
	return &Service{store: s, sender: sender, call: callers, now: time.Now}
}

// register makes the service the handler of everything that [API] answers.
func (s *Service) register(h *leveret.Handlers) {
	Register.Answer(h, s.SignUp)
	ShowMe.Answer(h, s.Me)
	LogIn.Answer(h, s.LogIn)
	RefreshToken.Answer(h, s.Refresh)
	LogOut.Answer(h, s.LogOut)
	PlaceOrder.Answer(h, s.Place)
	ListOrders.Answer(h, s.List)
	OrderHistory.Answer(h, s.History)
	ShowOrder.Answer(h, s.Show)
	CancelOrder.Answer(h, s.Cancel)
}

// confirmedIn is how long the broker may take to confirm an order before its customer is asked to try again.
const confirmedIn = 4 * time.Second

// ErrNotConfirmed is the error of an order that the broker has not confirmed in time. It is safe to place it again under
// the same Idempotency-Key.
var ErrNotConfirmed = leveret.NewError(leveret.Unavailable, "order_not_confirmed",
	"the order could not be accepted now; place it again, with the same Idempotency-Key")

// ErrNotStored is the error of cancelling an order that is accepted, but has not reached the order service yet.
var ErrNotStored = leveret.NewError(leveret.Unavailable, "order_not_stored", "the order is still on its way; cancel it again")

// Place turns an order into a command, and returns once the broker has confirmed it: from then on it is not lost. The
// same order under the same Idempotency-Key is the same order; another one under that key is refused.
func (s *Service) Place(ctx context.Context, r PlaceOrderRequest) (Accepted, error) {
	customerID, err := customer(ctx)
	if err != nil {
		return Accepted{}, err
	}
	orderID, err := s.store.Claim(ctx, customerID, leveret.MessageFrom(ctx).ID, r, s.now())
	if err != nil {
		return Accepted{}, err
	}
	sending, cancel := context.WithTimeout(ctx, confirmedIn)
	defer cancel()
	err = queues.PlaceOrder.Send(sending, s.sender, r.command(orderID, customerID), leveret.MessageID(orderID))
	if err != nil {
		return Accepted{}, leveret.RetryAfter(time.Second, fmt.Errorf("%w: %w", ErrNotConfirmed, err))
	}
	return Accepted{OrderID: orderID, Status: "/orders/" + orderID}, nil
}

// Show returns the status of one of the customer's own orders.
func (s *Service) Show(ctx context.Context, r OrderRequest) (Order, error) {
	customerID, err := customer(ctx)
	if err != nil {
		return Order{}, err
	}
	o, err := queues.ShowOrder.Call(ctx, s.call.Order, queues.ShowOrderRequest{OrderID: r.OrderID, CustomerID: customerID})
	if errors.Is(err, leveret.NotFound) {
		return s.accepted(ctx, customerID, r.OrderID, err)
	}
	if err != nil {
		return Order{}, err
	}
	return orderOf(o), nil
}

// accepted returns an order that the order service has not stored yet, or unknown if this gateway has not accepted it.
func (s *Service) accepted(ctx context.Context, customerID, orderID string, unknown error) (Order, error) {
	mine, err := s.store.Accepted(ctx, customerID, orderID)
	switch {
	case err != nil:
		return Order{}, err
	case !mine:
		return Order{}, unknown
	default:
		return Order{OrderID: orderID, State: "accepted"}, nil
	}
}

// Cancel cancels one of the customer's own orders, unless it is confirmed.
func (s *Service) Cancel(ctx context.Context, r OrderRequest) (Order, error) {
	customerID, err := customer(ctx)
	if err != nil {
		return Order{}, err
	}
	o, err := queues.CancelOrder.Call(ctx, s.call.Order, queues.CancelOrderRequest{OrderID: r.OrderID, CustomerID: customerID})
	if errors.Is(err, leveret.NotFound) {
		if _, err := s.accepted(ctx, customerID, r.OrderID, err); err != nil {
			return Order{}, err
		}
		return Order{}, leveret.RetryAfter(100*time.Millisecond, ErrNotStored)
	}
	if err != nil {
		return Order{}, err
	}
	return orderOf(o), nil
}

// List returns a page of the customer's own orders.
func (s *Service) List(ctx context.Context, r ListRequest) (Orders, error) {
	customerID, err := customer(ctx)
	if err != nil {
		return Orders{}, err
	}
	page, err := queues.ListOrders.Call(ctx, s.call.Order,
		queues.ListOrdersRequest{CustomerID: customerID, Limit: r.Limit, Cursor: r.Cursor})
	if err != nil {
		return Orders{}, err
	}
	reply := Orders{Orders: make([]Order, len(page.Orders)), NextCursor: page.NextCursor}
	for i, o := range page.Orders {
		reply.Orders[i] = orderOf(o)
	}
	return reply, nil
}
