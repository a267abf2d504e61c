package queues

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the order service.
var (
	// PlaceOrder asks the order service to place an order. The same order may be placed any number of times; a different
	// one under the same order_id is dead-lettered with AlreadyExists.
	PlaceOrder = leveret.NewCommand[PlaceOrderCommand]("order.place", leveret.Example(PlaceOrderCommand{
		OrderID: exampleOrderID, CustomerID: "customer-7", CardToken: "tok_visa", Lines: exampleLines,
	}))

	// ShowOrder asks a customer's order for its status. It fails with NotFound if this customer has no such order.
	ShowOrder = leveret.NewRequest[ShowOrderRequest, ShowOrderReply]("order.show", leveret.HTTP("GET /orders/{order_id}"),
		leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(ShowOrderRequest{OrderID: exampleOrderID, CustomerID: "customer-7"}))

	// ListOrders asks for a page of a customer's orders, newest first. New orders do not shift the pages that follow.
	ListOrders = leveret.NewRequest[ListOrdersRequest, ListOrdersReply]("order.list", leveret.HTTP("GET /orders"),
		leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(ListOrdersRequest{CustomerID: "customer-7", Limit: 20}))

	// CancelOrder cancels an order for its customer. The reply is the cancelled order, also for one that was cancelled
	// before; or one that is closing, because its time is over, and will be cancelled. It fails with NotFound if this
	// customer has no such order, and with FailedPrecondition, reason order_confirmed, if it is too late.
	CancelOrder = leveret.NewRequest[CancelOrderRequest, ShowOrderReply]("order.cancel", leveret.HTTP("POST /orders/{order_id}/cancel"),
		leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(CancelOrderRequest{OrderID: exampleOrderID, CustomerID: "customer-7"}))

	// AbandonOrder sees a cancellation through that version 0.1.0 has begun: there, the order service sends it to itself.
	// This version only handles it, so that both can run side by side, and the next one need not.
	AbandonOrder = leveret.NewCommand[AbandonOrderCommand]("order.abandon", leveret.Example(AbandonOrderCommand{OrderID: exampleOrderID}))

	// CheckOrder has the order service look at an order that takes long: half of its time limit after it was stored, another half
	// later, and until nothing is left to do for it. The order service sends it to itself. One that does not come from there does
	// nothing.
	CheckOrder = leveret.NewCommand[CheckOrderCommand]("order.check", leveret.Example(CheckOrderCommand{OrderID: exampleOrderID}))

	// AnnounceOrder has the order service announce the present status of an order again, for a service that has lost the
	// event or the command. Operators send it. An unknown order is dead-lettered with NotFound.
	AnnounceOrder = leveret.NewCommand[AnnounceOrderCommand]("order.announce", leveret.Example(AnnounceOrderCommand{OrderID: exampleOrderID}))

	// OrderPlaced announces that an order was placed and its payment authorised. It is announced again, under another message
	// id, if the order takes long.
	OrderPlaced = leveret.NewEvent[OrderPlacedEvent]("order.placed", keptForYear, leveret.Example(OrderPlacedEvent{
		OrderID: exampleOrderID, CustomerID: "customer-7", Lines: exampleLines, Total: exampleTotal,
		AuthorizationID: exampleAuthorizationID, PlacedAt: exampleTime,
	}))

	// OrderConfirmed announces that an order is paid and its goods are set aside. The order is then finished.
	OrderConfirmed = leveret.NewEvent[OrderConfirmedEvent]("order.confirmed", keptForYear, leveret.Example(OrderConfirmedEvent{
		OrderID: exampleOrderID, Total: exampleTotal, ConfirmedAt: exampleTime,
	}))

	// OrderCancelled announces that an order is cancelled, and why. The order is then finished. Some time later it is announced
	// once more, under another message id, for services that have lost it.
	OrderCancelled = leveret.NewEvent[OrderCancelledEvent]("order.cancelled", keptForYear, leveret.Example(OrderCancelledEvent{
		OrderID: exampleOrderID, Reason: CancelOutOfStock, CancelledAt: exampleTime,
	}))
)

// keptForYear keeps the events of orders: of those that are placed, 1 GB is more than a million. They have the ids of customers,
// and no names or addresses.
var keptForYear = leveret.Kept(365*24*time.Hour, 1_000_000_000)

// Reasons for cancelling an order. There may be more one day: a receiver accepts a reason that it does not know.
const (
	CancelDeclined   = "declined"     // the payment was declined
	CancelOutOfStock = "out_of_stock" // some of the goods are out of stock
	CancelRequested  = "requested"    // the customer cancelled it
	CancelExpired    = "expired"      // it was not confirmed within its time limit
)

// Limits of an order. A test keeps the limits in the payloads' jsonschema tags equal to these.
const (
	MaxLines    = 100
	MaxQuantity = 10_000
)

// Limits of a page of orders.
const (
	DefaultPage = 20
	MaxPage     = 100
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

// ShowOrderRequest identifies an order and its customer.
type ShowOrderRequest struct {
	OrderID    string `json:"order_id" jsonschema:"format=uuid"`
	CustomerID string `json:"customer_id" jsonschema:"minLength=1,maxLength=64"`
}

// Validate reports every field that is wrong.
func (q ShowOrderRequest) Validate() error {
	var p problems
	p.id("order_id", q.OrderID)
	p.text("customer_id", q.CustomerID)
	return p.err()
}

// CancelOrderRequest identifies the order to be cancelled and its customer.
type CancelOrderRequest struct {
	OrderID    string `json:"order_id" jsonschema:"format=uuid"`
	CustomerID string `json:"customer_id" jsonschema:"minLength=1,maxLength=64"`
}

// Validate reports every field that is wrong.
func (q CancelOrderRequest) Validate() error { return ShowOrderRequest(q).Validate() }

// AbandonOrderCommand identifies the order to be cancelled.
type AbandonOrderCommand struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
}

// Validate reports every field that is wrong.
func (c AbandonOrderCommand) Validate() error { return checkOrderID(c.OrderID) }

// CheckOrderCommand identifies the order to be checked.
type CheckOrderCommand struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
}

// Validate reports every field that is wrong.
func (c CheckOrderCommand) Validate() error { return checkOrderID(c.OrderID) }

// AnnounceOrderCommand identifies the order to be announced again.
type AnnounceOrderCommand struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
}

// Validate reports every field that is wrong.
func (c AnnounceOrderCommand) Validate() error { return checkOrderID(c.OrderID) }

// ListOrdersRequest asks for a page of orders.
type ListOrdersRequest struct {
	CustomerID string `json:"customer_id" jsonschema:"minLength=1,maxLength=64"`
	// Limit is the most orders that the page may hold. 0 means DefaultPage.
	Limit int `json:"limit,omitempty" jsonschema:"minimum=0,maximum=100,default=20,description=0 means 20"`
	// Cursor is the previous page's NextCursor. It is empty for the first page.
	Cursor string `json:"cursor,omitempty" jsonschema:"maxLength=128,description=The next_cursor of the previous page"`
}

// Validate reports every field that is wrong. Only the order service can tell whether a cursor is one of its own.
func (q ListOrdersRequest) Validate() error {
	var p problems
	p.text("customer_id", q.CustomerID)
	p.between("limit", int64(q.Limit), 0, MaxPage)
	if utf8.RuneCountInString(q.Cursor) > maxCursor {
		p.add("cursor", "must be at most %d characters long", maxCursor)
	}
	return p.err()
}

// maxCursor is the longest permitted cursor, in characters.
const maxCursor = 128

// ListOrdersReply is a page of orders, newest first.
type ListOrdersReply struct {
	Orders []ShowOrderReply `json:"orders"`
	// NextCursor leads to the next page. It is empty on the last one.
	NextCursor string `json:"next_cursor,omitempty"`
}

// ShowOrderReply is the status of an order.
type ShowOrderReply struct {
	OrderID    string `json:"order_id"`
	CustomerID string `json:"customer_id"`
	// State is pending, placed, captured, reserved, closing, confirmed or cancelled; the last two are final. There may be
	// others one day, which are not final unless DecidedAt is set.
	State string `json:"state" jsonschema:"example=pending,example=placed,example=captured,example=reserved,example=closing,example=confirmed,example=cancelled"`
	// Reason is set if the order was cancelled: one of the reasons above, or a new one.
	Reason string      `json:"reason,omitempty" jsonschema:"example=declined,example=out_of_stock,example=requested,example=expired"`
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
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
	// Reason is one of the reasons above, or a new one: a receiver accepts any word.
	Reason      string    `json:"reason" jsonschema:"minLength=1,maxLength=64,pattern=^[a-z_]+$,example=declined,example=out_of_stock,example=requested,example=expired"`
	CancelledAt time.Time `json:"cancelled_at"`
}

// Validate reports every field that is wrong.
func (o OrderCancelledEvent) Validate() error {
	var p problems
	p.id("order_id", o.OrderID)
	p.word("reason", o.Reason)
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

func checkOrderID(id string) error {
	var p problems
	p.id("order_id", id)
	return p.err()
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
