package inventory

import (
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// Articles that the migrations create, for demonstrations and tests: plenty of the first, a few of the second, none of
// the third.
const (
	SKUPlenty  = "TEA-GREEN"
	SKUScarce  = "MUG-LIMITED"
	SKUSoldOut = "MUG-SOLDOUT"
)

// ErrOther means that the same order_id was already decided for different goods.
var ErrOther = leveret.NewError(leveret.AlreadyExists, "reservation_exists", "another reservation has this order_id")

// A Reservation is the decision for an order: all goods are set aside or, if there are shortages, none.
type Reservation struct {
	OrderID string
	State   State
	// Lines are the goods that were asked for. There are none if the order was cancelled before that.
	Lines     []queues.StockLine
	Shortages []queues.Shortage
	// DecidedAt is when the goods were set aside or rejected, or when the order was cancelled before that. ReleasedAt is
	// when they were put back; it is zero until then.
	DecidedAt, ReleasedAt time.Time
}

// matches reports whether the reservation is the one that q asks for. One that was cancelled before its goods were
// known is the one for whatever goods are asked for.
func (r *Reservation) matches(q queues.ReserveStockCommand) bool {
	return r.OrderID == q.OrderID && (r.State == StateCancelled || slices.Equal(r.Lines, q.Lines))
}

// Decide decides on q, given the available quantity of each article. An article missing from the map is out of stock.
// It is a pure function.
func Decide(q queues.ReserveStockCommand, available map[string]int64, now time.Time) Reservation {
	r := Reservation{OrderID: q.OrderID, Lines: q.Lines, DecidedAt: now}
	e := EventInStock
	for _, l := range q.Lines {
		if free := available[l.SKU]; free < int64(l.Quantity) {
			r.Shortages = append(r.Shortages, queues.Shortage{SKU: l.SKU, Requested: l.Quantity, Available: max(free, 0)})
			e = EventOutOfStock
		}
	}
	r.State = StateNone.Next(e)
	return r
}
