package queues

import (
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the inventory service.
var (
	// ReserveStock asks the inventory service to set the goods of an order aside, either all or none. The outcome is
	// published as an event. Sending the command again for the same order has no further effect; sending it with
	// different goods under the same order_id fails with AlreadyExists. Once the order is cancelled, the command has no
	// effect, even if the cancellation arrives first.
	ReserveStock = leveret.NewCommand[ReserveStockCommand]("inventory.reserve", leveret.Example(ReserveStockCommand{
		OrderID: exampleOrderID, Lines: exampleStock,
	}))

	// StockReserved announces that the goods of an order are set aside.
	StockReserved = leveret.NewEvent[StockReservedEvent]("inventory.reserved", leveret.Example(StockReservedEvent{
		OrderID: exampleOrderID, Lines: exampleStock, ReservedAt: exampleTime,
	}))

	// StockRejected announces that some of an order's goods are out of stock, so that none were set aside.
	StockRejected = leveret.NewEvent[StockRejectedEvent]("inventory.rejected", leveret.Example(StockRejectedEvent{
		OrderID: exampleOrderID, RejectedAt: exampleTime,
		Shortages: []Shortage{{SKU: "MUG-SOLDOUT", Requested: 1, Available: 0}},
	}))

	// StockReleased announces that the goods of a cancelled order are back on the shelves.
	StockReleased = leveret.NewEvent[StockReleasedEvent]("inventory.released", leveret.Example(StockReleasedEvent{
		OrderID: exampleOrderID, Lines: exampleStock, ReleasedAt: exampleTime,
	}))
)

// ReserveStockCommand lists the goods that an order needs.
type ReserveStockCommand struct {
	OrderID string      `json:"order_id" jsonschema:"format=uuid"`
	Lines   []StockLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
}

// StockLine is a quantity of one article.
type StockLine struct {
	SKU      string `json:"sku" jsonschema:"minLength=1,maxLength=64,example=TEA-GREEN"`
	Quantity int    `json:"quantity" jsonschema:"minimum=1,maximum=10000"`
}

// Validate reports every field that is wrong.
func (r ReserveStockCommand) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	checkStockLines(&p, r.Lines)
	return p.err()
}

// StockReservedEvent lists the goods that were set aside for an order.
type StockReservedEvent struct {
	OrderID    string      `json:"order_id" jsonschema:"format=uuid"`
	Lines      []StockLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
	ReservedAt time.Time   `json:"reserved_at"`
}

// Validate reports every field that is wrong.
func (r StockReservedEvent) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	checkStockLines(&p, r.Lines)
	p.time("reserved_at", r.ReservedAt)
	return p.err()
}

// StockReleasedEvent lists the goods that are no longer set aside for an order.
type StockReleasedEvent struct {
	OrderID    string      `json:"order_id" jsonschema:"format=uuid"`
	Lines      []StockLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
	ReleasedAt time.Time   `json:"released_at"`
}

// Validate reports every field that is wrong.
func (r StockReleasedEvent) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	checkStockLines(&p, r.Lines)
	p.time("released_at", r.ReleasedAt)
	return p.err()
}

// StockRejectedEvent lists the articles that were out of stock.
type StockRejectedEvent struct {
	OrderID    string     `json:"order_id" jsonschema:"format=uuid"`
	Shortages  []Shortage `json:"shortages" jsonschema:"minItems=1,maxItems=100"`
	RejectedAt time.Time  `json:"rejected_at"`
}

// Shortage is an article of which too little was available. Of an unknown article, none is available.
type Shortage struct {
	SKU       string `json:"sku" jsonschema:"minLength=1,maxLength=64"`
	Requested int    `json:"requested" jsonschema:"minimum=1,maximum=10000"`
	Available int64  `json:"available" jsonschema:"minimum=0,maximum=9999,description=Less than is requested"`
}

// Validate reports every field that is wrong.
func (r StockRejectedEvent) Validate() error {
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
