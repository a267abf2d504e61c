package queues

import (
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the order service.
var (
	// PlaceOrder asks the order service to take an order. The same order may be placed any number of times; another one
	// under the same order_id is dead-lettered with AlreadyExists.
	PlaceOrder = leveret.NewCommand[OrderRequest]("order.place", leveret.Example(OrderRequest{
		OrderID: exampleOrderID, CustomerID: "customer-7", CardToken: "tok_visa", Lines: exampleLines,
	}))

	// ShowOrder asks what became of an order. An order that the service does not know is NotFound.
	ShowOrder = leveret.NewRequest[OrderQuery, OrderStatus]("order.show", leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(OrderQuery{OrderID: exampleOrderID}))

	// OrderPlaced tells that an order was taken and its payment authorised.
	OrderPlaced = leveret.NewEvent[PlacedOrder]("order.placed", leveret.Example(PlacedOrder{
		OrderID: exampleOrderID, CustomerID: "customer-7", Lines: exampleLines, Total: exampleTotal,
		AuthorizationID: exampleAuthorizationID, PlacedAt: exampleTime,
	}))

	// OrderConfirmed tells that an order is paid and its goods are set aside. It is one of the two ends of an order.
	OrderConfirmed = leveret.NewEvent[ConfirmedOrder]("order.confirmed", leveret.Example(ConfirmedOrder{
		OrderID: exampleOrderID, Total: exampleTotal, ConfirmedAt: exampleTime,
	}))

	// OrderCancelled tells that nothing will come of an order, and why. It is the other end.
	OrderCancelled = leveret.NewEvent[CancelledOrder]("order.cancelled", leveret.Example(CancelledOrder{
		OrderID: exampleOrderID, Reason: CancelOutOfStock, CancelledAt: exampleTime,
	}))
)

// Why an order was cancelled.
const (
	CancelDeclined   = "declined"     // the payment was not authorised
	CancelOutOfStock = "out_of_stock" // some of the goods are not there
)

// Limits of an order.
const (
	MaxLines    = 100
	MaxQuantity = 10_000
)

// OrderRequest is an order as the customer places it.
type OrderRequest struct {
	// OrderID is made by the sender, and names the order everywhere.
	OrderID string `json:"order_id" jsonschema:"format=uuid,description=Made by the sender; best a UUIDv7"`
	// CustomerID is whatever the sender knows its customer by.
	CustomerID string `json:"customer_id" jsonschema:"minLength=1,maxLength=64"`
	// CardToken stands for the card: see the test tokens of the payment service.
	CardToken string `json:"card_token" jsonschema:"minLength=5,maxLength=64,pattern=^tok_[a-z0-9_]+$,example=tok_visa"`
	// Lines is what is ordered: at least one line, every article once, all prices in one currency.
	Lines []OrderLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
}

// OrderLine is an article in an order, with the price that the customer was shown.
type OrderLine struct {
	SKU       string `json:"sku" jsonschema:"minLength=1,maxLength=64,example=TEA-GREEN"`
	Quantity  int    `json:"quantity" jsonschema:"minimum=1,maximum=10000"`
	UnitPrice Money  `json:"unit_price"`
}

// Total returns what a valid order costs.
func (r OrderRequest) Total() Money { return total(r.Lines) }

// Validate reports every field that is wrong.
func (r OrderRequest) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	p.text("customer_id", r.CustomerID)
	checkToken(&p, "card_token", r.CardToken)
	checkOrderLines(&p, r.Lines)
	return p.err()
}

// OrderQuery names an order.
type OrderQuery struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
}

// Validate reports every field that is wrong.
func (q OrderQuery) Validate() error {
	var p problems
	p.id("order_id", q.OrderID)
	return p.err()
}

// OrderStatus is what the order service knows of an order.
type OrderStatus struct {
	OrderID    string `json:"order_id"`
	CustomerID string `json:"customer_id"`
	// State is pending, placed, captured, reserved, confirmed or cancelled; the last two are final.
	State string `json:"state"`
	// Reason says why the order was cancelled.
	Reason string      `json:"reason,omitempty"`
	Lines  []OrderLine `json:"lines"`
	Total  Money       `json:"total"`
	// DecidedAt is when the order was confirmed or cancelled.
	DecidedAt *time.Time `json:"decided_at,omitempty"`
}

// PlacedOrder is an order whose payment is authorised.
type PlacedOrder struct {
	OrderID    string      `json:"order_id" jsonschema:"format=uuid"`
	CustomerID string      `json:"customer_id" jsonschema:"minLength=1,maxLength=64"`
	Lines      []OrderLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
	// Total is what the lines cost together, and what was authorised.
	Total           Money     `json:"total"`
	AuthorizationID string    `json:"authorization_id" jsonschema:"format=uuid"`
	PlacedAt        time.Time `json:"placed_at"`
}

// Validate reports every field that is wrong.
func (o PlacedOrder) Validate() error {
	var p problems
	p.id("order_id", o.OrderID)
	p.text("customer_id", o.CustomerID)
	checkOrderLines(&p, o.Lines)
	o.Total.check(&p, "total")
	p.id("authorization_id", o.AuthorizationID)
	p.time("placed_at", o.PlacedAt)
	if p.err() == nil && o.Total != total(o.Lines) {
		p.add("total", "is not what the lines cost together")
	}
	return p.err()
}

// ConfirmedOrder is an order that is paid and whose goods are set aside.
type ConfirmedOrder struct {
	OrderID     string    `json:"order_id" jsonschema:"format=uuid"`
	Total       Money     `json:"total"`
	ConfirmedAt time.Time `json:"confirmed_at"`
}

// Validate reports every field that is wrong.
func (o ConfirmedOrder) Validate() error {
	var p problems
	p.id("order_id", o.OrderID)
	o.Total.check(&p, "total")
	p.time("confirmed_at", o.ConfirmedAt)
	return p.err()
}

// CancelledOrder is an order of which nothing will come.
type CancelledOrder struct {
	OrderID     string    `json:"order_id" jsonschema:"format=uuid"`
	Reason      string    `json:"reason" jsonschema:"enum=declined,enum=out_of_stock"`
	CancelledAt time.Time `json:"cancelled_at"`
}

// Validate reports every field that is wrong.
func (o CancelledOrder) Validate() error {
	var p problems
	p.id("order_id", o.OrderID)
	p.oneOf("reason", o.Reason, CancelDeclined, CancelOutOfStock)
	p.time("cancelled_at", o.CancelledAt)
	return p.err()
}

// total adds up lines that are valid: within the limits, the sum of them all is far from overflowing.
func total(lines []OrderLine) Money {
	var sum Money
	for _, l := range lines {
		sum.Currency = l.UnitPrice.Currency
		sum.Amount += int64(l.Quantity) * l.UnitPrice.Amount
	}
	return sum
}

func checkOrderLines(p *problems, lines []OrderLine) {
	if !checkCount(p, "lines", len(lines)) {
		return
	}
	before := len(p.found)
	seen := make(map[string]bool, len(lines))
	for i, l := range lines {
		path := fmt.Sprintf("lines[%d]", i)
		checkLine(p, path, l.SKU, l.Quantity, seen)
		l.UnitPrice.check(p, path+".unit_price")
		if first := lines[0].UnitPrice.Currency; l.UnitPrice.Currency != first {
			p.add(path+".unit_price.currency", "must be the same in all lines, here %s", first)
		}
	}
	if len(p.found) == before && total(lines).Amount > MaxAmount {
		p.add("lines", "must cost at most %d together", int64(MaxAmount))
	}
}

// checkCount reports whether there are so many lines that looking at each makes sense.
func checkCount(p *problems, path string, n int) bool {
	switch {
	case n == 0:
		p.add(path, "must hold at least 1 line")
	case n > MaxLines:
		p.add(path, "must hold at most %d lines", MaxLines)
	default:
		return true
	}
	return false
}

func checkLine(p *problems, path, sku string, quantity int, seen map[string]bool) {
	p.text(path+".sku", sku)
	if sku != "" && seen[sku] {
		p.add(path+".sku", "appears twice; put the quantities together")
	}
	seen[sku] = true
	p.between(path+".quantity", int64(quantity), 1, MaxQuantity)
}
