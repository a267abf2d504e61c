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
	// key is the Idempotency-Key under which a customer places the order. Of a message that is sent directly, it is the
	// message's id.
	key string
	// customer is which of the customers places the order.
	customer int
	body     []byte
	// direct sends the body to the order service's queue, past the REST API, as any program can that may use the broker.
	direct bool
	// twice places the order again under the same key, as a customer does who has lost the answer.
	twice bool
	// cancel has the customer cancel the order at once.
	cancel bool
	// refused is whether the REST API must refuse the order.
	refused bool
	// want are the statuses in which the order may end. A direct message has none: it is malformed, and must be
	// dead-lettered.
	want []order.Status
}

// The statuses in which the demo's orders end.
var (
	confirmed  = order.Status{State: order.StateConfirmed}
	outOfStock = order.Status{State: order.StateCancelled, Reason: queues.CancelOutOfStock}
	declined   = order.Status{State: order.StateCancelled, Reason: queues.CancelDeclined}
	requested  = order.Status{State: order.StateCancelled, Reason: queues.CancelRequested}
)

// placements returns n orders of several customers. Of every thirty, twenty-four will be confirmed, two are cancelled by
// their customer, if they are not confirmed by then, one is out of stock, one has a card that is declined, one is
// malformed, and one is a malformed message sent directly to the queue. All others are paid for with the card.
func placements(n int, card leveret.Secret) ([]placement, error) {
	all := make([]placement, 0, n)
	for i := range n {
		key, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		p := placement{key: key.String(), customer: i % customers, twice: i%10 == 5, want: []order.Status{confirmed}}
		r := queues.PlaceOrderCommand{
			OrderID: p.key, CustomerID: "demo", CardToken: card,
			Lines: []queues.OrderLine{line(inventory.SKUPlenty, 1+i%3, 490), line("MUG-BLUE", 1, 1250)},
		}
		switch i % 30 {
		case 4:
			r.Lines[1].SKU, p.want = inventory.SKUSoldOut, []order.Status{outOfStock}
		case 8, 18:
			p.cancel, p.want = true, []order.Status{requested, confirmed}
		case 13:
			r.CardToken, p.want = declinedCards[i/30%len(declinedCards)], []order.Status{declined}
		case 22:
			p.direct, p.want = true, nil
		case 26:
			p.refused, p.want = true, nil
		}
		encode := edgeBody
		if p.direct {
			encode = encoded
		}
		if p.direct || p.refused {
			p.body = malformed[i/30%len(malformed)](r, encode)
		} else {
			p.body = encode(r)
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

var declinedCards = []leveret.Secret{payment.TokenDeclined, payment.TokenInsufficientFunds, payment.TokenExpired, payment.TokenStolen}

// malformed are the kinds of malformed bodies.
var malformed = []func(r queues.PlaceOrderCommand, encode func(queues.PlaceOrderCommand) []byte) []byte{
	func(r queues.PlaceOrderCommand, encode func(queues.PlaceOrderCommand) []byte) []byte { // cut off
		return encode(r)[:40]
	},
	func(r queues.PlaceOrderCommand, encode func(queues.PlaceOrderCommand) []byte) []byte { // a negative price
		r.Lines[0].UnitPrice.Amount = -490
		return encode(r)
	},
	func(queues.PlaceOrderCommand, func(queues.PlaceOrderCommand) []byte) []byte { // wrong types
		return []byte(`{"card_token": 7, "lines": "two of everything"}`)
	},
	func(queues.PlaceOrderCommand, func(queues.PlaceOrderCommand) []byte) []byte { return nil }, // nothing
	func(r queues.PlaceOrderCommand, encode func(queues.PlaceOrderCommand) []byte) []byte { // a missing field
		r.CardToken = ""
		return encode(r)
	},
	func(queues.PlaceOrderCommand, func(queues.PlaceOrderCommand) []byte) []byte { return []byte("null") },
}

// encoded returns a command as the order service takes it.
func encoded(r queues.PlaceOrderCommand) []byte { return mustEncode(r) }

// edgeBody returns a command as the REST API takes it: without what the gateway knows better.
func edgeBody(r queues.PlaceOrderCommand) []byte {
	return mustEncode(map[string]any{"card_token": r.CardToken, "lines": r.Lines})
}

func mustEncode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // an order is text and numbers
	}
	return body
}
