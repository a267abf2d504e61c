package queues

import (
	"regexp"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the payment service.
var (
	// AuthorizePayment asks whether a card will pay, and holds the amount if so. A decline is a reply, not an error. A
	// repeated request gets the same reply; one for another amount under the same order_id fails with AlreadyExists.
	AuthorizePayment = leveret.NewRequest[AuthorizePaymentRequest, AuthorizePaymentReply]("payment.authorize",
		leveret.Timeout(5*time.Second), leveret.Idempotent(), leveret.Example(AuthorizePaymentRequest{
			OrderID: exampleOrderID, CardToken: "tok_visa", Amount: exampleTotal,
		}))

	// PaymentCaptured announces that the customer was charged the authorised amount.
	PaymentCaptured = leveret.NewEvent[PaymentCapturedEvent]("payment.captured", leveret.Example(PaymentCapturedEvent{
		OrderID: exampleOrderID, AuthorizationID: exampleAuthorizationID, Amount: exampleTotal, CapturedAt: exampleTime,
	}))

	// PaymentVoided announces that an authorisation was released before the customer was charged.
	PaymentVoided = leveret.NewEvent[PaymentVoidedEvent]("payment.voided", leveret.Example(PaymentVoidedEvent{
		OrderID: exampleOrderID, AuthorizationID: exampleAuthorizationID, Amount: exampleTotal, VoidedAt: exampleTime,
	}))

	// PaymentRefunded announces that the customer was paid back the captured amount.
	PaymentRefunded = leveret.NewEvent[PaymentRefundedEvent]("payment.refunded", leveret.Example(PaymentRefundedEvent{
		OrderID: exampleOrderID, AuthorizationID: exampleAuthorizationID, Amount: exampleTotal, RefundedAt: exampleTime,
	}))
)

// The possible answers of a card.
const (
	PaymentAuthorized = "authorized"
	PaymentDeclined   = "declined"
)

// AuthorizePaymentRequest asks to hold an amount on a card.
type AuthorizePaymentRequest struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
	// CardToken represents the card. For test tokens, see package payment.
	CardToken leveret.Secret `json:"card_token" jsonschema:"minLength=5,maxLength=64,pattern=^tok_[a-z0-9_]+$,example=tok_visa"`
	Amount    Money          `json:"amount"`
}

// Validate reports every field that is wrong.
func (r AuthorizePaymentRequest) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	checkToken(&p, "card_token", r.CardToken)
	r.Amount.check(&p, "amount")
	return p.err()
}

// Authorization is the card's answer.
type AuthorizePaymentReply struct {
	OrderID         string `json:"order_id" jsonschema:"format=uuid"`
	AuthorizationID string `json:"authorization_id" jsonschema:"format=uuid"`
	Status          string `json:"status" jsonschema:"enum=authorized,enum=declined"`
	// DeclineReason is set if the card was declined: "insufficient_funds", for example.
	DeclineReason string    `json:"decline_reason,omitempty"`
	Amount        Money     `json:"amount"`
	DecidedAt     time.Time `json:"decided_at"`
}

// Validate reports every field that is wrong.
func (a AuthorizePaymentReply) Validate() error {
	var p problems
	p.id("order_id", a.OrderID)
	p.id("authorization_id", a.AuthorizationID)
	p.oneOf("status", a.Status, PaymentAuthorized, PaymentDeclined)
	a.Amount.check(&p, "amount")
	p.time("decided_at", a.DecidedAt)
	return p.err()
}

// PaymentCapturedEvent is a payment that the customer was charged for.
type PaymentCapturedEvent struct {
	OrderID         string    `json:"order_id" jsonschema:"format=uuid"`
	AuthorizationID string    `json:"authorization_id" jsonschema:"format=uuid"`
	Amount          Money     `json:"amount"`
	CapturedAt      time.Time `json:"captured_at"`
}

// Validate reports every field that is wrong.
func (c PaymentCapturedEvent) Validate() error {
	return checkPayment(c.OrderID, c.AuthorizationID, c.Amount, "captured_at", c.CapturedAt)
}

// PaymentVoidedEvent is an authorisation that was released.
type PaymentVoidedEvent struct {
	OrderID         string    `json:"order_id" jsonschema:"format=uuid"`
	AuthorizationID string    `json:"authorization_id" jsonschema:"format=uuid"`
	Amount          Money     `json:"amount"`
	VoidedAt        time.Time `json:"voided_at"`
}

// Validate reports every field that is wrong.
func (v PaymentVoidedEvent) Validate() error {
	return checkPayment(v.OrderID, v.AuthorizationID, v.Amount, "voided_at", v.VoidedAt)
}

// PaymentRefundedEvent is a captured payment that was paid back.
type PaymentRefundedEvent struct {
	OrderID         string    `json:"order_id" jsonschema:"format=uuid"`
	AuthorizationID string    `json:"authorization_id" jsonschema:"format=uuid"`
	Amount          Money     `json:"amount"`
	RefundedAt      time.Time `json:"refunded_at"`
}

// Validate reports every field that is wrong.
func (r PaymentRefundedEvent) Validate() error {
	return checkPayment(r.OrderID, r.AuthorizationID, r.Amount, "refunded_at", r.RefundedAt)
}

func checkPayment(orderID, authorizationID string, amount Money, path string, at time.Time) error {
	var p problems
	p.id("order_id", orderID)
	p.id("authorization_id", authorizationID)
	amount.check(&p, "amount")
	p.time(path, at)
	return p.err()
}

var cardToken = regexp.MustCompile(`^tok_[a-z0-9_]+$`)

// checkToken never repeats the value in its message, because it may be a card number put there by mistake.
func checkToken(p *problems, path string, secret leveret.Secret) {
	token := string(secret)
	if token == "" {
		p.add(path, "is required")
	} else if !cardToken.MatchString(token) || len(token) > maxText {
		p.add(path, "must be a token such as tok_visa, at most %d characters long; never a card number", maxText)
	}
}
