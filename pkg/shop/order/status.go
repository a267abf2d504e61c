package order

import (
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// A State is where an order stands.
type State string

// The states. Every order ends in one of the last two.
const (
	StatePending   State = "pending"  // taken, its payment not authorised yet
	StatePlaced    State = "placed"   // authorised; neither captured nor reserved
	StateCaptured  State = "captured" // paid; goods not reserved yet
	StateReserved  State = "reserved" // goods reserved; not paid yet
	StateConfirmed State = "confirmed"
	StateCancelled State = "cancelled"
)

// A Status is an order's state, and the reason where it is cancelled.
type Status struct {
	State  State
	Reason string
}

// Final reports whether the order has come to its end.
func (s Status) Final() bool { return s.State == StateConfirmed || s.State == StateCancelled }

// String returns the state, with the reason where there is one: "cancelled (declined)".
func (s Status) String() string {
	if s.Reason == "" {
		return string(s.State)
	}
	return string(s.State) + " (" + s.Reason + ")"
}

// A Fact is what another service told about an order.
type Fact string

// The facts.
const (
	FactAuthorized Fact = "authorized" // payment: the card will pay
	FactDeclined   Fact = "declined"   // payment: it will not
	FactCaptured   Fact = "captured"   // payment: the customer was charged
	FactReserved   Fact = "reserved"   // inventory: the goods are set aside
	FactRejected   Fact = "rejected"   // inventory: they are not there
)

// What a fact about an order can run into.
var (
	// ErrEarly: the fact came before what it builds on. It is tried again.
	ErrEarly = leveret.NewError(leveret.NotFound, "order_not_placed", "no such order was placed, or not yet")
	// ErrContradiction: two facts cannot both be true. Trying again changes nothing: somebody has to look.
	ErrContradiction = leveret.NewError(leveret.FailedPrecondition, "order_contradiction", "contradicts what is known of the order")
)

// After returns where an order stands once a fact is known: the same status where it is known already or changes nothing
// any more. It returns [ErrEarly] or [ErrContradiction], and the old status, where the fact does not fit.
//
// It is a pure function, and the only place that knows which transitions there are.
func (s Status) After(f Fact) (Status, error) {
	switch s {
	case Status{State: StatePending}:
		switch f {
		case FactAuthorized:
			return Status{State: StatePlaced}, nil
		case FactDeclined:
			return Status{StateCancelled, queues.CancelDeclined}, nil
		default:
			return s, ErrEarly
		}
	case Status{StateCancelled, queues.CancelDeclined}:
		if f == FactDeclined {
			return s, nil
		}
		return s, ErrContradiction
	}
	// From here on the payment was authorised.
	switch f {
	case FactAuthorized:
		return s, nil
	case FactDeclined:
		return s, ErrContradiction
	case FactCaptured:
		switch s.State {
		case StatePlaced:
			return Status{State: StateCaptured}, nil
		case StateReserved:
			return Status{State: StateConfirmed}, nil
		default: // known; or, cancelled for want of stock, refunded on the news of that
			return s, nil
		}
	case FactReserved:
		switch s.State {
		case StatePlaced:
			return Status{State: StateReserved}, nil
		case StateCaptured:
			return Status{State: StateConfirmed}, nil
		case StateCancelled:
			return s, ErrContradiction
		default:
			return s, nil
		}
	case FactRejected:
		switch s.State {
		case StatePlaced, StateCaptured, StateCancelled:
			return Status{StateCancelled, queues.CancelOutOfStock}, nil
		default:
			return s, ErrContradiction
		}
	default:
		return s, ErrContradiction
	}
}
