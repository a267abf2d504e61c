package payment

import "github.com/leveretmq/leveret/pkg/leveret"

// A State is where a payment stands.
type State string

// The states.
const (
	StateDeclined   State = "declined"
	StateAuthorized State = "authorized" // the amount is held
	StateCaptured   State = "captured"   // the customer was charged
	StateVoided     State = "voided"     // given up before the customer was charged
	StateRefunded   State = "refunded"   // charged, and given back
)

// News is what the order service told about the order that a payment is for.
type News string

// The news.
const (
	NewsPlaced    News = "placed"
	NewsCancelled News = "cancelled"
)

// What news about an order can run into.
var (
	// ErrUnknown: there is no payment for the order, or not yet. It is tried again.
	ErrUnknown = leveret.NewError(leveret.NotFound, "payment_unknown", "no payment was asked for this order, or not yet")
	// ErrOther: an amount or a card that is not the one that was authorised under the same order_id.
	ErrOther = leveret.NewError(leveret.AlreadyExists, "payment_exists", "another payment has this order_id")
	// ErrContradiction: somebody placed an order whose payment was declined, or for another amount.
	ErrContradiction = leveret.NewError(leveret.FailedPrecondition, "payment_contradiction", "contradicts what is known of the payment")
)

// After returns where a payment stands once the news is known: the same state where it is known already or changes
// nothing any more. A cancelled order is never charged, even where the news of its placing comes after that of its
// cancelling. It is a pure function, and the only place that knows which transitions there are.
func (s State) After(n News) (State, error) {
	switch n {
	case NewsPlaced:
		switch s {
		case StateAuthorized:
			return StateCaptured, nil
		case StateDeclined:
			return s, ErrContradiction
		default:
			return s, nil
		}
	case NewsCancelled:
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
