package queues

import (
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the inventory service.
var (
	// ReserveStock asks the inventory service to set the goods of an order aside: all of them, or none. Fire and forget:
	// the answer is an event. Asking again for the same order sets nothing aside twice; asking for other goods under the
	// same order_id is AlreadyExists.
	ReserveStock = leveret.NewCommand[StockReservation]("inventory.reserve", leveret.Example(StockReservation{
		OrderID: exampleOrderID, Lines: exampleStock,
	}))

	// StockReserved tells that the goods of an order are set aside.
	StockReserved = leveret.NewEvent[ReservedStock]("inventory.reserved", leveret.Example(ReservedStock{
		OrderID: exampleOrderID, Lines: exampleStock, ReservedAt: exampleTime,
	}))

	// StockRejected tells that some of an order's goods are not there, so that none were set aside.
	StockRejected = leveret.NewEvent[RejectedStock]("inventory.rejected", leveret.Example(RejectedStock{
		OrderID: exampleOrderID, RejectedAt: exampleTime,
		Shortages: []Shortage{{SKU: "MUG-SOLDOUT", Requested: 1, Available: 0}},
	}))
)

// StockReservation is what an order needs from the shelves.
type StockReservation struct {
	OrderID string      `json:"order_id" jsonschema:"format=uuid"`
	Lines   []StockLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
}

// StockLine is so many of an article.
type StockLine struct {
	SKU      string `json:"sku" jsonschema:"minLength=1,maxLength=64,example=TEA-GREEN"`
	Quantity int    `json:"quantity" jsonschema:"minimum=1,maximum=10000"`
}

// Validate reports every field that is wrong.
func (r StockReservation) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	checkStockLines(&p, r.Lines)
	return p.err()
}

// ReservedStock is what was set aside for an order.
type ReservedStock struct {
	OrderID    string      `json:"order_id" jsonschema:"format=uuid"`
	Lines      []StockLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
	ReservedAt time.Time   `json:"reserved_at"`
}

// Validate reports every field that is wrong.
func (r ReservedStock) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	checkStockLines(&p, r.Lines)
	p.time("reserved_at", r.ReservedAt)
	return p.err()
}

// RejectedStock says what was missing.
type RejectedStock struct {
	OrderID    string     `json:"order_id" jsonschema:"format=uuid"`
	Shortages  []Shortage `json:"shortages" jsonschema:"minItems=1,maxItems=100"`
	RejectedAt time.Time  `json:"rejected_at"`
}

// Shortage is an article of which there was too little. An article that nobody knows has none available.
type Shortage struct {
	SKU       string `json:"sku"`
	Requested int    `json:"requested" jsonschema:"minimum=1"`
	Available int64  `json:"available" jsonschema:"minimum=0"`
}

// Validate reports every field that is wrong.
func (r RejectedStock) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	if checkCount(&p, "shortages", len(r.Shortages)) {
		for i, s := range r.Shortages {
			path := fmt.Sprintf("shortages[%d]", i)
			p.text(path+".sku", s.SKU)
			p.between(path+".requested", int64(s.Requested), 1, MaxQuantity)
			p.between(path+".available", s.Available, 0, int64(s.Requested)-1)
		}
	}
	p.time("rejected_at", r.RejectedAt)
	return p.err()
}

func checkStockLines(p *problems, lines []StockLine) {
	if !checkCount(p, "lines", len(lines)) {
		return
	}
	seen := make(map[string]bool, len(lines))
	for i, l := range lines {
		checkLine(p, fmt.Sprintf("lines[%d]", i), l.SKU, l.Quantity, seen)
	}
}
