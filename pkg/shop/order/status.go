package order

import (
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// A State is the state of an order.
type State string

// The states. Every order ends in one of the last two.
const (
	StatePending   State = "pending"  // stored; payment not yet authorised
	StatePlaced    State = "placed"   // payment authorised; neither captured nor reserved yet
	StateCaptured  State = "captured" // paid; goods not yet reserved
	StateReserved  State = "reserved" // goods reserved; not yet paid
	StateClosing   State = "closing"  // not confirmed in time; cancelled once payment says that nothing is held or charged
	StateConfirmed State = "confirmed"
	StateCancelled State = "cancelled"
)

// A Status is an order's state and, if the order is cancelled, the reason.
type Status struct {
	State  State
	Reason string
}

// Final reports whether the order is finished: confirmed or cancelled.
func (s Status) Final() bool { return s.State == StateConfirmed || s.State == StateCancelled }

// String returns the state, followed by the reason if there is one: "cancelled (declined)".
func (s Status) String() string {
	if s.Reason == "" {
		return string(s.State)
	}
	return string(s.State) + " (" + s.Reason + ")"
}

// An Event is something that happened to an order: in another service, at its customer's request, or because time has passed.
type Event string

// The events.
const (
	EventAuthorized Event = "authorized" // payment: the card was accepted
	EventDeclined   Event = "declined"   // payment: the card was declined
	EventCaptured   Event = "captured"   // payment: the customer was charged
	EventReserved   Event = "reserved"   // inventory: the goods are set aside
	EventRejected   Event = "rejected"   // inventory: some of the goods are out of stock
	EventAbandoned  Event = "abandoned"  // the customer: cancel the order
	EventExpired    Event = "expired"    // the time limit has passed
	EventClosed     Event = "closed"     // payment: nothing is held or charged for the order, now or later
)

// Errors of applying an event to an order.
var (
	// ErrEarly means that the event arrived before the order was placed. The message is retried.
	ErrEarly = leveret.NewError(leveret.NotFound, "order_not_placed", "this order has not been placed (yet)")
	// ErrContradiction means that the event and the order's status cannot both be true. Retrying does not help; a person
	// has to look into it.
	ErrContradiction = leveret.NewError(leveret.FailedPrecondition, "order_contradiction", "contradicts what is known of the order")
	// ErrConfirmed means that the customer cancels an order that is already confirmed.
	ErrConfirmed = leveret.NewError(leveret.FailedPrecondition, "order_confirmed", "this order is confirmed and can no longer be cancelled")
)

// Next returns the status of an order after an event. An event that is already known, or no longer matters, leaves the
// status unchanged. If the event does not fit, Next returns the old status and [ErrEarly], [ErrContradiction] or
// [ErrConfirmed].
//
// It is a pure function and the only place that knows the transitions.
func (s Status) Next(f Event) (Status, error) {
	switch f {
	case EventAbandoned:
		return s.abandoned()
	case EventExpired:
		return s.expired(), nil
	case EventClosed:
		return s.closed()
	default:
	}
	switch s {
	case Status{State: StatePending}:
		switch f {
		case EventAuthorized:
			return Status{State: StatePlaced}, nil
		case EventDeclined:
			return Status{StateCancelled, queues.CancelDeclined}, nil
		default:
			return s, ErrEarly
		}
	case Status{StateCancelled, queues.CancelDeclined}:
		if f == EventDeclined {
			return s, nil
		}
		return s, ErrContradiction
	case Status{State: StateClosing}, Status{StateCancelled, queues.CancelRequested}, Status{StateCancelled, queues.CancelExpired}:
		return s.late(f)
	}
	// The payment is authorised in all remaining states.
	switch f {
	case EventAuthorized:
		return s, nil
	case EventDeclined:
		return s, ErrContradiction
	case EventCaptured:
		switch s.State {
		case StatePlaced:
			return Status{State: StateCaptured}, nil
		case StateReserved:
			return Status{State: StateConfirmed}, nil
		default: // already known; if the order is out of stock, payment refunds once it learns of the cancellation
			return s, nil
		}
	case EventReserved:
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
	case EventRejected:
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

// abandoned returns the status after the customer has cancelled. Until an order is confirmed, that is always possible,
// even while the card's answer is unknown: payment, which knows the answer, releases or refuses the amount.
func (s Status) abandoned() (Status, error) {
	switch s.State {
	case StateConfirmed:
		return s, ErrConfirmed
	case StateCancelled, StateClosing: // one that is closing will be cancelled
		return s, nil
	default:
		return Status{StateCancelled, queues.CancelRequested}, nil
	}
}

// expired returns the status after the time limit has passed. The order is not cancelled before payment has answered: it may
// have charged the customer, and cannot be told by an event that may be lost.
func (s Status) expired() Status {
	if s.Final() {
		return s
	}
	return Status{State: StateClosing}
}

// closed returns the status after payment has answered that the order costs its customer nothing.
func (s Status) closed() (Status, error) {
	switch s.State {
	case StateClosing:
		return Status{StateCancelled, queues.CancelExpired}, nil
	case StateCancelled:
		return s, nil
	default:
		return s, ErrContradiction
	}
}

// late returns the status of an order that is closing, or that its customer or its time limit has cancelled. Whatever was
// under way at that moment may still be reported, and no longer matters: payment and inventory undo it when they learn of the
// cancellation.
func (s Status) late(f Event) (Status, error) {
	switch f {
	case EventAuthorized, EventDeclined, EventCaptured, EventReserved, EventRejected:
		return s, nil
	default:
		return s, ErrContradiction
	}
}
