package inventory

// A State is the state of an order's reservation.
type State string

// The states.
const (
	StateNone      State = "none"      // nothing was decided yet
	StateReserved  State = "reserved"  // all goods are set aside
	StateRejected  State = "rejected"  // some goods were out of stock, so none were set aside
	StateReleased  State = "released"  // set aside, then put back
	StateCancelled State = "cancelled" // the order was cancelled before its goods were asked for
)

// An Event is something that happens to an order's reservation.
type Event string

// The events.
const (
	EventInStock    Event = "in_stock"     // the goods are asked for, and all are in stock
	EventOutOfStock Event = "out_of_stock" // the goods are asked for, and some are out of stock
	EventCancelled  Event = "cancelled"    // the order was cancelled
)

// Next returns the state of a reservation after an event. The first decision for an order is final, until the order is
// cancelled; nothing is set aside for a cancelled order, even if its goods are asked for after the cancellation.
//
// It is a pure function and the only place that knows the transitions. An unknown event changes nothing.
func (s State) Next(e Event) State {
	switch {
	case s == StateNone && e == EventInStock:
		return StateReserved
	case s == StateNone && e == EventOutOfStock:
		return StateRejected
	case s == StateNone && e == EventCancelled:
		return StateCancelled
	case s == StateReserved && e == EventCancelled:
		return StateReleased
	default:
		return s
	}
}
