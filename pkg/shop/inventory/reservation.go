package inventory

import (
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// Some of the articles that the migrations put on the shelves, for demonstrations and tests. Of the first there is
// plenty; of the second a little; of the third none.
const (
	SKUPlenty  = "TEA-GREEN"
	SKUScarce  = "MUG-LIMITED"
	SKUSoldOut = "MUG-SOLDOUT"
)

// ErrOther: other goods are asked for than were decided on under the same order_id.
var ErrOther = leveret.NewError(leveret.AlreadyExists, "reservation_exists", "another reservation has this order_id")

// A Reservation is what was decided for an order: its goods were set aside, or, where there are shortages, none were.
type Reservation struct {
	OrderID   string
	Lines     []queues.StockLine
	Shortages []queues.Shortage
	DecidedAt time.Time
}

// Rejected reports whether the goods were not there.
func (r *Reservation) Rejected() bool { return len(r.Shortages) > 0 }

func (r *Reservation) asks(q queues.StockReservation) bool {
	return r.OrderID == q.OrderID && slices.Equal(r.Lines, q.Lines)
}

// Decide makes the decision on what is asked for, where available holds how many of each article are free. An article
// that it does not hold has none. It is a pure function.
func Decide(q queues.StockReservation, available map[string]int64, now time.Time) Reservation {
	r := Reservation{OrderID: q.OrderID, Lines: q.Lines, DecidedAt: now}
	for _, l := range q.Lines {
		if free := available[l.SKU]; free < int64(l.Quantity) {
			r.Shortages = append(r.Shortages, queues.Shortage{SKU: l.SKU, Requested: l.Quantity, Available: max(free, 0)})
		}
	}
	return r
}
