package queues

import (
	"regexp"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the payment service.
var (
	// AuthorizePayment asks whether a card will pay, and holds the amount if so. A decline is a reply, not an error. A
	// repeated request gets the same reply. It fails with AlreadyExists for another amount under the same order_id, and,
	// with the reason idempotency_key_reused, for any other request under the same message id.
	AuthorizePayment = leveret.NewRequest[AuthorizePaymentRequest, AuthorizePaymentReply]("payment.authorize",
		leveret.HTTP("POST /payments"), leveret.Timeout(5*time.Second), leveret.Idempotent(), leveret.Example(AuthorizePaymentRequest{
			OrderID: exampleOrderID, CardToken: "tok_visa", Amount: exampleTotal,
		}))

	// ClosePayment makes sure that nothing is held or charged for an order, now or later: it voids or refunds its payment, or has
	// one that is asked for later declined. The reply means that this is so, and comes after that of the card processor, if this
	// has something to do. It may be repeated.
	ClosePayment = leveret.NewRequest[ClosePaymentRequest, ClosePaymentReply]("payment.close",
		leveret.HTTP("POST /payments/{order_id}/close"), leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(ClosePaymentRequest{OrderID: exampleOrderID}))

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

// The answers of a card. There may be more one day: a caller treats a status that it does not know as no answer.
const (
	PaymentAuthorized = "authorized"
	PaymentDeclined   = "declined"
)

// What has become of a closed payment. There may be more one day; whichever it is, nothing is held or charged.
const (
	ClosedDeclined  = "declined"  // nothing was held: the card declined, or the order was closed before its payment was asked for
	ClosedVoided    = "voided"    // the amount was held, and is released
	ClosedRefunded  = "refunded"  // the customer was charged, and is paid back
	ClosedCancelled = "cancelled" // the order has no payment, and one that is asked for will be declined
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

// AuthorizePaymentReply is the card's answer.
type AuthorizePaymentReply struct {
	OrderID         string `json:"order_id" jsonschema:"format=uuid"`
	AuthorizationID string `json:"authorization_id" jsonschema:"format=uuid"`
	Status          string `json:"status" jsonschema:"minLength=1,maxLength=64,pattern=^[a-z_]+$,example=authorized,example=declined"`
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
	p.word("status", a.Status)
	a.Amount.check(&p, "amount")
	p.time("decided_at", a.DecidedAt)
	return p.err()
}

// ClosePaymentRequest identifies the order whose payment is to be closed.
type ClosePaymentRequest struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
}

// Validate reports every field that is wrong.
func (r ClosePaymentRequest) Validate() error { return checkOrderID(r.OrderID) }

// ClosePaymentReply is a payment that is closed.
type ClosePaymentReply struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
	State   string `json:"state" jsonschema:"minLength=1,maxLength=64,pattern=^[a-z_]+$,example=declined,example=voided,example=refunded,example=cancelled"`
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
func checkToken(p *problems, path string, token leveret.Secret) {
	if token == "" {
		p.add(path, "is required")
	} else if !cardToken.MatchString(string(token)) || len(token) > maxText {
		p.add(path, "must be a token such as tok_visa, at most %d characters long; never a card number", maxText)
	}
}
