package queues

import (
	"regexp"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the payment service.
var (
	// AuthorizePayment asks whether a card will pay, and holds the amount. A decline is an answer, not an error. Asking
	// again for the same order gets the same answer; asking for another amount under the same order_id is AlreadyExists.
	AuthorizePayment = leveret.NewRequest[PaymentRequest, Authorization]("payment.authorize",
		leveret.Timeout(5*time.Second), leveret.Idempotent(), leveret.Example(PaymentRequest{
			OrderID: exampleOrderID, CardToken: "tok_visa", Amount: exampleTotal,
		}))

	// PaymentCaptured tells that the customer was charged what was authorised.
	PaymentCaptured = leveret.NewEvent[CapturedPayment]("payment.captured", leveret.Example(CapturedPayment{
		OrderID: exampleOrderID, AuthorizationID: exampleAuthorizationID, Amount: exampleTotal, CapturedAt: exampleTime,
	}))

	// PaymentVoided tells that an authorisation was given up before the customer was charged.
	PaymentVoided = leveret.NewEvent[VoidedPayment]("payment.voided", leveret.Example(VoidedPayment{
		OrderID: exampleOrderID, AuthorizationID: exampleAuthorizationID, Amount: exampleTotal, VoidedAt: exampleTime,
	}))

	// PaymentRefunded tells that the customer got back what had been captured.
	PaymentRefunded = leveret.NewEvent[RefundedPayment]("payment.refunded", leveret.Example(RefundedPayment{
		OrderID: exampleOrderID, AuthorizationID: exampleAuthorizationID, Amount: exampleTotal, RefundedAt: exampleTime,
	}))
)

// What a card's answer can be.
const (
	PaymentAuthorized = "authorized"
	PaymentDeclined   = "declined"
)

// PaymentRequest asks to hold an amount on a card.
type PaymentRequest struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
	// CardToken stands for the card: see the test tokens of the payment service.
	CardToken string `json:"card_token" jsonschema:"minLength=5,maxLength=64,pattern=^tok_[a-z0-9_]+$,example=tok_visa"`
	Amount    Money  `json:"amount"`
}

// Validate reports every field that is wrong.
func (r PaymentRequest) Validate() error {
	var p problems
	p.id("order_id", r.OrderID)
	checkToken(&p, "card_token", r.CardToken)
	r.Amount.check(&p, "amount")
	return p.err()
}

// Authorization is the card's answer.
type Authorization struct {
	OrderID         string `json:"order_id" jsonschema:"format=uuid"`
	AuthorizationID string `json:"authorization_id" jsonschema:"format=uuid"`
	Status          string `json:"status" jsonschema:"enum=authorized,enum=declined"`
	// DeclineReason says why the card was declined: "insufficient_funds".
	DeclineReason string    `json:"decline_reason,omitempty"`
	Amount        Money     `json:"amount"`
	DecidedAt     time.Time `json:"decided_at"`
}

// Validate reports every field that is wrong.
func (a Authorization) Validate() error {
	var p problems
	p.id("order_id", a.OrderID)
	p.id("authorization_id", a.AuthorizationID)
	p.oneOf("status", a.Status, PaymentAuthorized, PaymentDeclined)
	a.Amount.check(&p, "amount")
	p.time("decided_at", a.DecidedAt)
	return p.err()
}

// CapturedPayment is an authorisation that the customer was charged for.
type CapturedPayment struct {
	OrderID         string    `json:"order_id" jsonschema:"format=uuid"`
	AuthorizationID string    `json:"authorization_id" jsonschema:"format=uuid"`
	Amount          Money     `json:"amount"`
	CapturedAt      time.Time `json:"captured_at"`
}

// Validate reports every field that is wrong.
func (c CapturedPayment) Validate() error {
	return checkPayment(c.OrderID, c.AuthorizationID, c.Amount, "captured_at", c.CapturedAt)
}

// VoidedPayment is an authorisation that was given up.
type VoidedPayment struct {
	OrderID         string    `json:"order_id" jsonschema:"format=uuid"`
	AuthorizationID string    `json:"authorization_id" jsonschema:"format=uuid"`
	Amount          Money     `json:"amount"`
	VoidedAt        time.Time `json:"voided_at"`
}

// Validate reports every field that is wrong.
func (v VoidedPayment) Validate() error {
	return checkPayment(v.OrderID, v.AuthorizationID, v.Amount, "voided_at", v.VoidedAt)
}

// RefundedPayment is a captured payment that was given back.
type RefundedPayment struct {
	OrderID         string    `json:"order_id" jsonschema:"format=uuid"`
	AuthorizationID string    `json:"authorization_id" jsonschema:"format=uuid"`
	Amount          Money     `json:"amount"`
	RefundedAt      time.Time `json:"refunded_at"`
}

// Validate reports every field that is wrong.
func (r RefundedPayment) Validate() error {
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

var cardToken = regexp.MustCompile(`^tok_[a-z0-9_]{1,60}$`)

// checkToken never repeats what was sent: it may be a card's number, put there by mistake.
func checkToken(p *problems, path, token string) {
	if token == "" {
		p.add(path, "is required")
	} else if !cardToken.MatchString(token) {
		p.add(path, "must be a token such as tok_visa, 64 bytes at most; never the number of a card")
	}
}
