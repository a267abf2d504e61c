package payment

import "github.com/leveretmq/leveret/pkg/leveret"

// A State is the state of a payment.
type State string

// The states.
const (
	StateUnknown    State = "unknown" // the order has no payment, or none yet
	StateDeclined   State = "declined"
	StateAuthorized State = "authorized" // the amount is held
	StateCaptured   State = "captured"   // the customer was charged
	StateVoided     State = "voided"     // released before the customer was charged
	StateRefunded   State = "refunded"   // charged, then paid back
	StateCancelled  State = "cancelled"  // no payment yet, and the order is cancelled: nothing will be held for it
)

// An Event is the card's answer, or something that happened to the order that a payment is for.
type Event string

// The events.
const (
	EventAccepted       Event = "accepted" // the card pays
	EventRefused        Event = "refused"  // the card does not pay
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
// state unchanged. A cancelled order is never charged, even if its placing becomes known after its cancellation, and
// nothing is held for it, even if its authorisation is asked for after that.
//
// It is a pure function and the only place that knows the transitions.
func (s State) Next(e Event) (State, error) {
	switch e {
	case EventAccepted, EventRefused:
		switch {
		case s == StateUnknown && e == EventAccepted:
			return StateAuthorized, nil
		case s == StateUnknown || s == StateCancelled:
			return StateDeclined, nil
		default: // the first answer stands
			return s, nil
		}
	case EventOrderPlaced:
		switch s {
		case StateUnknown:
			return s, ErrUnknown
		case StateAuthorized:
			return StateCaptured, nil
		case StateDeclined:
			return s, ErrContradiction
		default:
			return s, nil
		}
	case EventOrderCancelled:
		switch s {
		case StateUnknown:
			return StateCancelled, nil
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
