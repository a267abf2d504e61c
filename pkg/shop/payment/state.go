package payment

import "github.com/leveretmq/leveret/pkg/leveret"

// A State is the state of a payment.
type State string

// The states.
const (
	StateDeclined   State = "declined"
	StateAuthorized State = "authorized" // the amount is held
	StateCaptured   State = "captured"   // the customer was charged
	StateVoided     State = "voided"     // released before the customer was charged
	StateRefunded   State = "refunded"   // charged, then paid back
)

// An Event is something that happened to the order that a payment is for.
type Event string

// The events.
const (
	EventOrderPlaced    Event = "placed"
	EventOrderCancelled Event = "cancelled"
)

// Errors of finding a payment and applying events to it.
var (
	// ErrUnknown means that the order has no payment, or none yet. The message is retried.
	ErrUnknown = leveret.NewError(leveret.NotFound, "payment_unknown", "this order has no payment (yet)")
	// ErrOther means that the same order_id was already used for another amount or card.
	ErrOther = leveret.NewError(leveret.AlreadyExists, "payment_exists", "another payment has this order_id")
	// ErrContradiction means that an order was placed although its payment was declined, or for another amount.
	ErrContradiction = leveret.NewError(leveret.FailedPrecondition, "payment_contradiction", "contradicts what is known of the payment")
)

// Next returns the state of a payment after an event. An event that is already known, or no longer matters, leaves the
// state unchanged. A cancelled order is never charged, even if its placing becomes known after its cancellation.
//
// It is a pure function and the only place that knows the transitions.
func (s State) Next(e Event) (State, error) {
	switch e {
	case EventOrderPlaced:
		switch s {
		case StateAuthorized:
			return StateCaptured, nil
		case StateDeclined:
			return s, ErrContradiction
		default:
			return s, nil
		}
	case EventOrderCancelled:
		switch s {
		case StateAuthorized:
			return StateVoided, nil
		case StateCaptured:
			return StateRefunded, nil
		default:
			return s, nil
		}
	default:
		return s, ErrContradiction
	}
}
