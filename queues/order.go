package queues

import (
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the order service.
var (
	// PlaceOrder asks the order service to place an order. The same order may be placed any number of times; a different
	// one under the same order_id is dead-lettered with AlreadyExists.
	PlaceOrder = leveret.NewCommand[PlaceOrderCommand]("order.place", leveret.Example(PlaceOrderCommand{
		OrderID: exampleOrderID, CustomerID: "customer-7", CardToken: "tok_visa", Lines: exampleLines,
	}))

	// ShowOrder asks for the status of an order. It fails with NotFound if the order is unknown.
	ShowOrder = leveret.NewRequest[ShowOrderRequest, ShowOrderReply]("order.show", leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(ShowOrderRequest{OrderID: exampleOrderID}))

	// OrderPlaced announces that an order was placed and its payment authorised.
	OrderPlaced = leveret.NewEvent[OrderPlacedEvent]("order.placed", leveret.Example(OrderPlacedEvent{
		OrderID: exampleOrderID, CustomerID: "customer-7", Lines: exampleLines, Total: exampleTotal,
		AuthorizationID: exampleAuthorizationID, PlacedAt: exampleTime,
	}))

	// OrderConfirmed announces that an order is paid and its goods are set aside. The order is then finished.
	OrderConfirmed = leveret.NewEvent[OrderConfirmedEvent]("order.confirmed", leveret.Example(OrderConfirmedEvent{
		OrderID: exampleOrderID, Total: exampleTotal, ConfirmedAt: exampleTime,
	}))

	// OrderCancelled announces that an order is cancelled, and why. The order is then finished.
	OrderCancelled = leveret.NewEvent[OrderCancelledEvent]("order.cancelled", leveret.Example(OrderCancelledEvent{
		OrderID: exampleOrderID, Reason: CancelOutOfStock, CancelledAt: exampleTime,
	}))
)

// Reasons for cancelling an order.
const (
	CancelDeclined   = "declined"     // the payment was declined
	CancelOutOfStock = "out_of_stock" // some of the goods are out of stock
)

// Limits of an order. A test keeps the limits in the payloads' jsonschema tags equal to these.
const (
	MaxLines    = 100
	MaxQuantity = 10_000
)

// PlaceOrderCommand is an order as the customer places it.
type PlaceOrderCommand struct {
	// OrderID is created by the sender and identifies the order in every service.
	OrderID string `json:"order_id" jsonschema:"format=uuid,description=Created by the sender; preferably a UUIDv7"`
	// CustomerID is the sender's own identifier for the customer.
	CustomerID string `json:"customer_id" jsonschema:"minLength=1,maxLength=64"`
	// CardToken represents the card. For test tokens, see package payment.
	CardToken leveret.Secret `json:"card_token" jsonschema:"minLength=5,maxLength=64,pattern=^tok_[a-z0-9_]+$,example=tok_visa"`
	// Lines are the ordered articles: at least one line, each article once, all prices in one currency.
	Lines []OrderLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
}

// OrderLine is an article in an order, with the price shown to the customer.
type OrderLine struct {
	SKU       string `json:"sku" jsonschema:"minLength=1,maxLength=64,example=TEA-GREEN"`
	Quantity  int    `json:"quantity" jsonschema:"minimum=1,maximum=10000"`
	UnitPrice Money  `json:"unit_price"`
}

// Total returns the price of a valid order.
func (r PlaceOrderCommand) Total() Money { return total(r.Lines) }

// Validate reports every field that is wrong.
func (r PlaceOrderCommand) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	p.text("customer_id", r.CustomerID)
	checkToken(&p, "card_token", r.CardToken)
	checkOrderLines(&p, r.Lines)
	return p.err()
}

// ShowOrderRequest identifies an order.
type ShowOrderRequest struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
}

// Validate reports every field that is wrong.
func (q ShowOrderRequest) Validate() error {
	var p problems
	p.id("order_id", q.OrderID)
	return p.err()
}

// ShowOrderReply is the status of an order.
type ShowOrderReply struct {
	OrderID    string `json:"order_id"`
	CustomerID string `json:"customer_id"`
	// State is pending, placed, captured, reserved, confirmed or cancelled; the last two are final.
	State string `json:"state"`
	// Reason is set if the order was cancelled.
	Reason string      `json:"reason,omitempty"`
	Lines  []OrderLine `json:"lines"`
	Total  Money       `json:"total"`
	// DecidedAt is when the order was confirmed or cancelled. It is nil until then.
	DecidedAt *time.Time `json:"decided_at,omitempty"`
}

// OrderPlacedEvent is an order with an authorised payment.
type OrderPlacedEvent struct {
	OrderID    string      `json:"order_id" jsonschema:"format=uuid"`
	CustomerID string      `json:"customer_id" jsonschema:"minLength=1,maxLength=64"`
	Lines      []OrderLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
	// Total is the price of all lines, which is the authorised amount.
	Total           Money     `json:"total"`
	AuthorizationID string    `json:"authorization_id" jsonschema:"format=uuid"`
	PlacedAt        time.Time `json:"placed_at"`
}

// Validate reports every field that is wrong.
func (o OrderPlacedEvent) Validate() error {
	var p problems
	p.id("order_id", o.OrderID)
	p.text("customer_id", o.CustomerID)
	checkOrderLines(&p, o.Lines)
	o.Total.check(&p, "total")
	p.id("authorization_id", o.AuthorizationID)
	p.time("placed_at", o.PlacedAt)
	if p.err() == nil && o.Total != total(o.Lines) {
		p.add("total", "must be the sum of the lines")
	}
	return p.err()
}

// OrderConfirmedEvent is an order that is paid and whose goods are set aside.
type OrderConfirmedEvent struct {
	OrderID     string    `json:"order_id" jsonschema:"format=uuid"`
	Total       Money     `json:"total"`
	ConfirmedAt time.Time `json:"confirmed_at"`
}

// Validate reports every field that is wrong.
func (o OrderConfirmedEvent) Validate() error {
	var p problems
	p.id("order_id", o.OrderID)
	o.Total.check(&p, "total")
	p.time("confirmed_at", o.ConfirmedAt)
	return p.err()
}

// OrderCancelledEvent is an order that was cancelled.
type OrderCancelledEvent struct {
	OrderID     string    `json:"order_id" jsonschema:"format=uuid"`
	Reason      string    `json:"reason" jsonschema:"enum=declined,enum=out_of_stock"`
	CancelledAt time.Time `json:"cancelled_at"`
}

// Validate reports every field that is wrong.
func (o OrderCancelledEvent) Validate() error {
	var p problems
	p.id("order_id", o.OrderID)
	p.oneOf("reason", o.Reason, CancelDeclined, CancelOutOfStock)
	p.time("cancelled_at", o.CancelledAt)
	return p.err()
}

// total adds up valid lines. Within the limits, the sum cannot overflow.
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
		p.add("lines", "must cost at most %d in total", int64(MaxAmount))
	}
}

// checkCount checks the number of lines. It returns false if the lines themselves should not be checked.
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
		p.add(path+".sku", "appears twice; combine the quantities")
	}
	seen[sku] = true
	p.between(path+".quantity", int64(quantity), 1, MaxQuantity)
}
