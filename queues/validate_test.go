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

func validOrder() queues.OrderRequest {
	return queues.OrderRequest{
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
		change func(*queues.OrderRequest)
		want   string
	}{
		{"no id", func(r *queues.OrderRequest) { r.OrderID = "" }, "order_id: is required"},
		{"a word for an id", func(r *queues.OrderRequest) { r.OrderID = "order-1" }, "order_id: must be a UUID in lower case"},
		{"the zero id", func(r *queues.OrderRequest) { r.OrderID = "00000000-0000-0000-0000-000000000000" }, "order_id: must be a UUID"},
		{"an id in capitals", func(r *queues.OrderRequest) { r.OrderID = strings.ToUpper(orderID) }, "order_id: must be a UUID in lower case"},
		{"an id in braces", func(r *queues.OrderRequest) { r.OrderID = "{" + orderID + "}" }, "order_id: must be a UUID in lower case"},
		{"no customer", func(r *queues.OrderRequest) { r.CustomerID = "" }, "customer_id: is required"},
		{"a long customer", func(r *queues.OrderRequest) { r.CustomerID = strings.Repeat("x", 65) }, "customer_id: must be at most 64 characters long"},
		{"a customer of two lines", func(r *queues.OrderRequest) { r.CustomerID = "a\nb" }, "customer_id: must not hold control characters"},
		{"no card", func(r *queues.OrderRequest) { r.CardToken = "" }, "card_token: is required"},
		{"a card's number", func(r *queues.OrderRequest) { r.CardToken = "4111111111111111" }, "card_token: must be a token"},
		{"no lines", func(r *queues.OrderRequest) { r.Lines = nil }, "lines: must hold at least 1 line"},
		{"too many lines", func(r *queues.OrderRequest) { r.Lines = make([]queues.OrderLine, 101) }, "lines: must hold at most 100 lines"},
		{"no article", func(r *queues.OrderRequest) { r.Lines[1].SKU = "" }, "lines[1].sku: is required"},
		{"an article twice", func(r *queues.OrderRequest) { r.Lines[1].SKU = r.Lines[0].SKU }, "lines[1].sku: appears twice"},
		{"none of it", func(r *queues.OrderRequest) { r.Lines[0].Quantity = 0 }, "lines[0].quantity: must be at least 1"},
		{"less than none", func(r *queues.OrderRequest) { r.Lines[0].Quantity = -3 }, "lines[0].quantity: must be at least 1"},
		{"too many of it", func(r *queues.OrderRequest) { r.Lines[0].Quantity = 10_001 }, "lines[0].quantity: must be at most 10000"},
		{"a negative price", func(r *queues.OrderRequest) { r.Lines[0].UnitPrice.Amount = -1 }, "lines[0].unit_price.amount: must be at least 1"},
		{"no price", func(r *queues.OrderRequest) { r.Lines[0].UnitPrice.Amount = 0 }, "lines[0].unit_price.amount: must be at least 1"},
		{"an absurd price", func(r *queues.OrderRequest) { r.Lines[0].UnitPrice.Amount = 1 << 62 }, "lines[0].unit_price.amount: must be at most 100000000000"},
		{"no such currency", func(r *queues.OrderRequest) { r.Lines[0].UnitPrice.Currency = "EUX" }, "lines[0].unit_price.currency: must be an ISO 4217 code"},
		{"a small currency", func(r *queues.OrderRequest) { r.Lines[0].UnitPrice.Currency = "eur" }, "lines[0].unit_price.currency: must be an ISO 4217 code"},
		{"two currencies", func(r *queues.OrderRequest) { r.Lines[1].UnitPrice.Currency = "USD" }, "lines[1].unit_price.currency: must be the same in all lines, here EUR"},
		{"too much together", func(r *queues.OrderRequest) {
			r.Lines[0].Quantity, r.Lines[0].UnitPrice.Amount = queues.MaxQuantity, queues.MaxAmount
		}, "lines: must cost at most 100000000000 together"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := validOrder()
			tc.change(&r)
			err := r.Validate()
			require.Error(t, err)
			require.True(t, strings.HasPrefix(err.Error(), tc.want), "%s", err)
		})
	}
}

// A limit counts the same in Validate and in the JSON Schema, which counts characters, not bytes.
func TestLimitsCountCharacters(t *testing.T) {
	t.Parallel()
	s, err := schema.Of(reflect.TypeFor[queues.OrderRequest]())
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

// The number of a card, put where its token belongs, must not travel on in an error.
func TestErrorsDoNotRepeatCards(t *testing.T) {
	t.Parallel()
	r := validOrder()
	r.CardToken = "4111111111111111"
	require.NotContains(t, r.Validate().Error(), r.CardToken)
}

func TestErrorsTellAllFieldsButNotWithoutEnd(t *testing.T) {
	t.Parallel()
	r := validOrder()
	r.OrderID, r.CustomerID = "", ""
	require.EqualError(t, r.Validate(), "order_id: is required; customer_id: is required")

	r.Lines = make([]queues.OrderLine, queues.MaxLines)
	err := r.Validate()
	require.ErrorContains(t, err, "more")
	require.Less(t, len(err.Error()), 1024)
}

// The largest order that the limits of its fields allow does not overflow.
func TestTotalDoesNotOverflow(t *testing.T) {
	t.Parallel()
	r := validOrder()
	r.Lines = nil
	for i := range queues.MaxLines {
		r.Lines = append(r.Lines, queues.OrderLine{SKU: fmt.Sprint(i), Quantity: queues.MaxQuantity, UnitPrice: euros(queues.MaxAmount)})
	}
	require.Positive(t, r.Total().Amount)
	require.EqualError(t, r.Validate(), "lines: must cost at most 100000000000 together")
}

func TestOthersRefuse(t *testing.T) {
	t.Parallel()
	now := time.Now()
	placed := queues.PlacedOrder{
		OrderID: orderID, CustomerID: "c", Lines: validOrder().Lines, Total: euros(3248), AuthorizationID: orderID, PlacedAt: now,
	}
	require.NoError(t, placed.Validate())
	wrongTotal := placed
	wrongTotal.Total.Amount++

	for _, tc := range []struct {
		payload interface{ Validate() error }
		want    string
	}{
		{queues.OrderQuery{}, "order_id: is required"},
		{wrongTotal, "total: is not what the lines cost together"},
		{queues.PlacedOrder{}, "order_id: is required; customer_id: is required; lines: must hold at least 1 line; total.amount: must be at least 1; " +
			"total.currency: must be an ISO 4217 code in capitals, such as EUR; authorization_id: is required; placed_at: is required"},
		{queues.ConfirmedOrder{OrderID: orderID, Total: euros(1)}, "confirmed_at: is required"},
		{queues.CancelledOrder{OrderID: orderID, CancelledAt: now}, "reason: must be one of declined, out_of_stock"},
		{queues.PaymentRequest{OrderID: orderID, CardToken: "tok_visa", Amount: euros(-5)}, "amount.amount: must be at least 1"},
		{queues.Authorization{OrderID: orderID, AuthorizationID: orderID, Amount: euros(1), DecidedAt: now}, "status: must be one of authorized, declined"},
		{queues.CapturedPayment{OrderID: orderID, AuthorizationID: orderID, Amount: euros(1)}, "captured_at: is required"},
		{queues.VoidedPayment{OrderID: orderID, AuthorizationID: orderID, Amount: euros(1)}, "voided_at: is required"},
		{queues.RefundedPayment{OrderID: orderID, AuthorizationID: orderID, Amount: euros(1)}, "refunded_at: is required"},
		{queues.StockReservation{OrderID: orderID}, "lines: must hold at least 1 line"},
		{queues.StockReservation{OrderID: orderID, Lines: []queues.StockLine{{SKU: "A", Quantity: -1}}}, "lines[0].quantity: must be at least 1"},
		{queues.ReservedStock{OrderID: orderID, Lines: []queues.StockLine{{SKU: "A", Quantity: 1}}}, "reserved_at: is required"},
		{queues.RejectedStock{OrderID: orderID, RejectedAt: now}, "shortages: must hold at least 1 line"},
		{
			queues.RejectedStock{OrderID: orderID, RejectedAt: now, Shortages: []queues.Shortage{{SKU: "A", Requested: 1, Available: 1}}},
			"shortages[0].available: must be at most 0",
		},
	} {
		require.EqualError(t, tc.payload.Validate(), tc.want, "%T", tc.payload)
	}
}
