package queues_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/schema"
	"github.com/leveretmq/leveret/queues"
)

const orderID = "0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41"

func euros(amount int64) queues.Money { return queues.Money{Amount: amount, Currency: "EUR"} }

func validOrder() queues.PlaceOrderCommand {
	return queues.PlaceOrderCommand{
		OrderID: orderID, CustomerID: "c-1", CardToken: "tok_visa",
		Lines: []queues.OrderLine{
			{SKU: "TEA-GREEN", Quantity: 2, UnitPrice: euros(999)},
			{SKU: "MUG-BLUE", Quantity: 1, UnitPrice: euros(1250)},
		},
	}
}

func TestTotal(t *testing.T) {
	t.Parallel()
	require.NoError(t, validOrder().Validate())
	require.Equal(t, euros(3248), validOrder().Total())
}

func TestOrderRequestRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*queues.PlaceOrderCommand)
		want   string
	}{
		{"no id", func(r *queues.PlaceOrderCommand) { r.OrderID = "" }, "order_id: is required"},
		{"a word for an id", func(r *queues.PlaceOrderCommand) { r.OrderID = "order-1" }, "order_id: must be a lowercase UUID"},
		{"the zero id", func(r *queues.PlaceOrderCommand) { r.OrderID = "00000000-0000-0000-0000-000000000000" }, "order_id: must be a lowercase UUID"},
		{"an id in capitals", func(r *queues.PlaceOrderCommand) { r.OrderID = strings.ToUpper(orderID) }, "order_id: must be a lowercase UUID"},
		{"an id in braces", func(r *queues.PlaceOrderCommand) { r.OrderID = "{" + orderID + "}" }, "order_id: must be a lowercase UUID"},
		{"no customer", func(r *queues.PlaceOrderCommand) { r.CustomerID = "" }, "customer_id: is required"},
		{"a long customer", func(r *queues.PlaceOrderCommand) { r.CustomerID = strings.Repeat("x", 65) }, "customer_id: must be at most 64 characters long"},
		{"a customer who is blank", func(r *queues.PlaceOrderCommand) { r.CustomerID = " \u00a0" }, "customer_id: is required"},
		{"a customer of a terminal", func(r *queues.PlaceOrderCommand) { r.CustomerID = "a\u009b31m" }, "customer_id: must not contain control characters"},
		{"a customer backwards", func(r *queues.PlaceOrderCommand) { r.CustomerID = "a\u202eb" }, "customer_id: must not contain control characters"},
		{"a customer of two lines", func(r *queues.PlaceOrderCommand) { r.CustomerID = "a\nb" }, "customer_id: must not contain control characters"},
		{"no card", func(r *queues.PlaceOrderCommand) { r.CardToken = "" }, "card_token: is required"},
		{"a card's number", func(r *queues.PlaceOrderCommand) { r.CardToken = "4111111111111111" }, "card_token: must be a token"},
		{"no lines", func(r *queues.PlaceOrderCommand) { r.Lines = nil }, "lines: must hold at least 1 line"},
		{"too many lines", func(r *queues.PlaceOrderCommand) { r.Lines = make([]queues.OrderLine, 101) }, "lines: must hold at most 100 lines"},
		{"no article", func(r *queues.PlaceOrderCommand) { r.Lines[1].SKU = "" }, "lines[1].sku: is required"},
		{"an article twice", func(r *queues.PlaceOrderCommand) { r.Lines[1].SKU = r.Lines[0].SKU }, "lines[1].sku: appears twice"},
		{"none of it", func(r *queues.PlaceOrderCommand) { r.Lines[0].Quantity = 0 }, "lines[0].quantity: must be at least 1"},
		{"less than none", func(r *queues.PlaceOrderCommand) { r.Lines[0].Quantity = -3 }, "lines[0].quantity: must be at least 1"},
		{"too many of it", func(r *queues.PlaceOrderCommand) { r.Lines[0].Quantity = 10_001 }, "lines[0].quantity: must be at most 10000"},
		{"a negative price", func(r *queues.PlaceOrderCommand) { r.Lines[0].UnitPrice.Amount = -1 }, "lines[0].unit_price.amount: must be at least 1"},
		{"no price", func(r *queues.PlaceOrderCommand) { r.Lines[0].UnitPrice.Amount = 0 }, "lines[0].unit_price.amount: must be at least 1"},
		{"an absurd price", func(r *queues.PlaceOrderCommand) { r.Lines[0].UnitPrice.Amount = 1 << 62 }, "lines[0].unit_price.amount: must be at most 100000000000"},
		{"no such currency", func(r *queues.PlaceOrderCommand) { r.Lines[0].UnitPrice.Currency = "EUX" }, "lines[0].unit_price.currency: must be an uppercase ISO 4217 code"},
		{"a small currency", func(r *queues.PlaceOrderCommand) { r.Lines[0].UnitPrice.Currency = "eur" }, "lines[0].unit_price.currency: must be an uppercase ISO 4217 code"},
		{"two currencies", func(r *queues.PlaceOrderCommand) { r.Lines[1].UnitPrice.Currency = "USD" }, "lines[1].unit_price.currency: must be the same in all lines, here EUR"},
		{"too much together", func(r *queues.PlaceOrderCommand) {
			r.Lines[0].Quantity, r.Lines[0].UnitPrice.Amount = queues.MaxQuantity, queues.MaxAmount
		}, "lines: must cost at most 100000000000 in total"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := validOrder()
			tc.change(&r)
			err := r.Validate()
			require.Error(t, err)
			require.True(t, strings.HasPrefix(err.Error(), "invalid_argument: "+tc.want), "%s", err)
		})
	}
}

// A limit counts the same in Validate and in the JSON Schema, which counts characters, not bytes.
func TestLimitsCountCharacters(t *testing.T) {
	t.Parallel()
	s, err := schema.Of(reflect.TypeFor[queues.PlaceOrderCommand]())
	require.NoError(t, err)
	for _, c := range []struct {
		customer string
		fits     bool
	}{
		{strings.Repeat("ä", 64), true},
		{strings.Repeat("😀", 64), true},
		{strings.Repeat("ä", 65), false},
		{strings.Repeat("x", 65), false},
	} {
		r := validOrder()
		r.CustomerID = c.customer
		require.Equal(t, c.fits, r.Validate() == nil, "Validate: %v", r.Validate())
		body, err := json.Marshal(r)
		require.NoError(t, err)
		_, err = s.Check(body)
		require.Equal(t, c.fits, err == nil, "the schema: %v", err)
		if !c.fits {
			require.ErrorContains(t, err, "must be at most 64 characters long, is 65")
		}
	}
}

// A card number put in place of a token must not end up in an error.
func TestErrorsDoNotRepeatCards(t *testing.T) {
	t.Parallel()
	r := validOrder()
	r.CardToken = "4111111111111111"
	require.NotContains(t, r.Validate().Error(), r.CardToken)
}

// The schemas count characters, and so does Validate.
func TestTextIsMeasuredInCharacters(t *testing.T) {
	t.Parallel()
	r := validOrder()
	r.CustomerID = strings.Repeat("ü", 64)
	require.NoError(t, r.Validate())
	r.CustomerID += "ü"
	require.EqualError(t, r.Validate(), "invalid_argument: customer_id: must be at most 64 characters long")
}

func TestErrorsListProblemsUpToALimit(t *testing.T) {
	t.Parallel()
	r := validOrder()
	r.OrderID, r.CustomerID = "", ""
	require.EqualError(t, r.Validate(), "invalid_argument: order_id: is required; customer_id: is required")

	r.Lines = make([]queues.OrderLine, queues.MaxLines)
	err := r.Validate()
	require.ErrorContains(t, err, "more")
	require.Less(t, len(err.Error()), 1024)
}

// The largest order that the fields' limits allow does not overflow.
func TestTotalDoesNotOverflow(t *testing.T) {
	t.Parallel()
	r := validOrder()
	r.Lines = nil
	for i := range queues.MaxLines {
		r.Lines = append(r.Lines, queues.OrderLine{SKU: fmt.Sprint(i), Quantity: queues.MaxQuantity, UnitPrice: euros(queues.MaxAmount)})
	}
	require.Positive(t, r.Total().Amount)
	require.EqualError(t, r.Validate(), "invalid_argument: lines: must cost at most 100000000000 in total")
}

func TestOthersRefuse(t *testing.T) {
	t.Parallel()
	now := time.Now()
	placed := queues.OrderPlacedEvent{
		OrderID: orderID, CustomerID: "c", Lines: validOrder().Lines, Total: euros(3248), AuthorizationID: orderID, PlacedAt: now,
	}
	require.NoError(t, placed.Validate())
	wrongTotal := placed
	wrongTotal.Total.Amount++

	for _, tc := range []struct {
		payload interface{ Validate() error }
		want    string
	}{
		{queues.ShowOrderRequest{}, "order_id: is required; customer_id: is required"},
		{queues.CancelOrderRequest{OrderID: orderID}, "customer_id: is required"},
		{queues.AbandonOrderCommand{}, "order_id: is required"},
		{queues.CheckOrderCommand{}, "order_id: is required"},
		{queues.AnnounceOrderCommand{}, "order_id: is required"},
		{queues.ClosePaymentRequest{}, "order_id: is required"},
		{queues.ListOrdersRequest{Limit: -1}, "customer_id: is required; limit: must be at least 0"},
		{queues.ListOrdersRequest{CustomerID: "c", Limit: 101}, "limit: must be at most 100"},
		{queues.ListOrdersRequest{CustomerID: "c", Cursor: strings.Repeat("x", 129)}, "cursor: must be at most 128 characters long"},
		{wrongTotal, "total: must be the sum of the lines"},
		{queues.OrderPlacedEvent{}, "order_id: is required; customer_id: is required; lines: must hold at least 1 line; total.amount: must be at least 1; " +
			"total.currency: must be an uppercase ISO 4217 code such as EUR; authorization_id: is required; placed_at: is required"},
		{queues.OrderConfirmedEvent{OrderID: orderID, Total: euros(1)}, "confirmed_at: is required"},
		{queues.OrderCancelledEvent{OrderID: orderID, CancelledAt: now}, "reason: is required"},
		{queues.AuthorizePaymentRequest{OrderID: orderID, CardToken: "tok_visa", Amount: euros(-5)}, "amount.amount: must be at least 1"},
		{queues.AuthorizePaymentReply{OrderID: orderID, AuthorizationID: orderID, Amount: euros(1), DecidedAt: now}, "status: is required"},
		{queues.PaymentCapturedEvent{OrderID: orderID, AuthorizationID: orderID, Amount: euros(1)}, "captured_at: is required"},
		{queues.PaymentVoidedEvent{OrderID: orderID, AuthorizationID: orderID, Amount: euros(1)}, "voided_at: is required"},
		{queues.PaymentRefundedEvent{OrderID: orderID, AuthorizationID: orderID, Amount: euros(1)}, "refunded_at: is required"},
		{queues.ReserveStockCommand{OrderID: orderID}, "lines: must hold at least 1 line"},
		{queues.ReserveStockCommand{OrderID: orderID, Lines: []queues.StockLine{{SKU: "A", Quantity: -1}}}, "lines[0].quantity: must be at least 1"},
		{queues.StockReservedEvent{OrderID: orderID, Lines: []queues.StockLine{{SKU: "A", Quantity: 1}}}, "reserved_at: is required"},
		{queues.StockReleasedEvent{OrderID: orderID, Lines: []queues.StockLine{{SKU: "A", Quantity: 1}}}, "released_at: is required"},
		{queues.StockRejectedEvent{OrderID: orderID, RejectedAt: now}, "shortages: must hold at least 1 line"},
		{
			queues.StockRejectedEvent{OrderID: orderID, RejectedAt: now, Shortages: []queues.Shortage{{SKU: "A", Requested: 1, Available: 1}}},
			"shortages[0].available: must be at most 0",
		},
	} {
		require.EqualError(t, tc.payload.Validate(), "invalid_argument: "+tc.want, "%T", tc.payload)
	}
}

// A sender may know words of an enumeration that a receiver does not know; neither Validate nor the schema refuses
// them.
func TestEnumerationsAreOpen(t *testing.T) {
	t.Parallel()
	const problem = "must be a word of lower-case letters and underscores, at most 64 characters long"
	now := time.Now()
	for word, fits := range map[string]bool{
		"declined": true, "authorized": true, "lost_at_sea": true, strings.Repeat("x", 64): true,
		"": false, "Declined": false, "lost at sea": false, "card-4111": false, strings.Repeat("x", 65): false,
	} {
		for path, payload := range map[string]interface{ Validate() error }{
			"reason": queues.OrderCancelledEvent{OrderID: orderID, Reason: word, CancelledAt: now},
			"status": queues.AuthorizePaymentReply{OrderID: orderID, AuthorizationID: orderID, Status: word, Amount: euros(1), DecidedAt: now},
		} {
			body, err := json.Marshal(payload)
			require.NoError(t, err)
			s, err := schema.Of(reflect.TypeOf(payload))
			require.NoError(t, err)
			_, err = s.Check(body)
			require.Equal(t, fits, err == nil, "the schema, %s %q: %v", path, word, err)
			switch err := payload.Validate(); {
			case fits:
				require.NoError(t, err)
			case word == "":
				require.EqualError(t, err, "invalid_argument: "+path+": is required")
			default:
				require.EqualError(t, err, "invalid_argument: "+path+": "+problem)
			}
		}
	}
}
