package shopcli

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/inventory"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/pkg/shop/payment"
	"github.com/leveretmq/leveret/queues"
)

// A placement is one order of the demo, with its expected outcome.
type placement struct {
	// id is the id of the message and, if the body is an order, of the order.
	id   string
	body []byte
	// want is the expected status. The zero status means that the body is malformed and must be dead-lettered.
	want order.Status
}

// malformed reports whether the message must be dead-lettered.
func (p placement) malformed() bool { return p.want == order.Status{} }

// placements returns n orders. Of every thirty, twenty-seven will be confirmed, one is out of stock, one has a card
// that is declined, and one is malformed.
func placements(n int) ([]placement, error) {
	all := make([]placement, 0, n)
	for i := range n {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make an id: %w", err)
		}
		p := placement{id: id.String()}
		r := queues.PlaceOrderCommand{
			OrderID: p.id, CustomerID: fmt.Sprintf("customer-%d", i%40+1), CardToken: payment.TokenVisa,
			Lines: []queues.OrderLine{line(inventory.SKUPlenty, 1+i%3, 490), line("MUG-BLUE", 1, 1250)},
		}
		switch i % 30 {
		case 4:
			r.Lines[1].SKU, p.want = inventory.SKUSoldOut, order.Status{State: order.StateCancelled, Reason: queues.CancelOutOfStock}
		case 13:
			r.CardToken, p.want = declined[i/30%len(declined)], order.Status{State: order.StateCancelled, Reason: queues.CancelDeclined}
		case 22:
			p.body = malformed[i/30%len(malformed)](r)
		default:
			p.want = order.Status{State: order.StateConfirmed}
		}
		if !p.malformed() {
			p.body = encoded(r)
		}
		all = append(all, p)
	}
	// Shuffle, but in the same way in every run.
	rand.New(rand.NewPCG(1, uint64(n))).Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

func line(sku string, quantity int, price int64) queues.OrderLine {
	return queues.OrderLine{SKU: sku, Quantity: quantity, UnitPrice: queues.Money{Amount: price, Currency: "EUR"}}
}

var declined = []leveret.Secret{payment.TokenDeclined, payment.TokenInsufficientFunds, payment.TokenExpired, payment.TokenStolen}

// malformed are the kinds of malformed bodies.
var malformed = []func(queues.PlaceOrderCommand) []byte{
	func(r queues.PlaceOrderCommand) []byte { return encoded(r)[:40] },                                       // cut off
	func(r queues.PlaceOrderCommand) []byte { r.Lines[0].UnitPrice.Amount = -490; return encoded(r) },        // a negative price
	func(queues.PlaceOrderCommand) []byte { return []byte(`{"order_id": 7, "lines": "two of everything"}`) }, // wrong types
	func(queues.PlaceOrderCommand) []byte { return nil },                                                     // nothing
	func(r queues.PlaceOrderCommand) []byte { r.CustomerID = ""; return encoded(r) },                         // a missing field
	func(queues.PlaceOrderCommand) []byte { return []byte("null") },
}

func encoded(r queues.PlaceOrderCommand) []byte {
	body, err := json.Marshal(r)
	if err != nil {
		panic(err) // an order is text and numbers
	}
	return body
}
