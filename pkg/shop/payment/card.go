package payment

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// Tokens of test cards, whose answer is fixed. Any other token is a card that pays.
const (
	TokenVisa              = "tok_visa"
	TokenMastercard        = "tok_mastercard"
	TokenDeclined          = "tok_declined"
	TokenInsufficientFunds = "tok_insufficient_funds"
	TokenExpired           = "tok_expired"
	TokenStolen            = "tok_stolen"
)

// CardLimit is the most that a card pays at once, in minor units of any currency.
const CardLimit = 1_000_000

// Reasons for declining a card.
const (
	DeclineByIssuer          = "card_declined"
	DeclineInsufficientFunds = "insufficient_funds"
	DeclineExpired           = "expired_card"
	DeclineStolen            = "stolen_card"
	DeclineOverLimit         = "amount_over_limit"
	DeclineOrderCancelled    = "order_cancelled" // not by the card: the order was cancelled first
)

// Decide returns the reason why a card is declined for an amount, or "" if it pays.
func Decide(token leveret.Secret, amount queues.Money) string {
	switch token {
	case TokenDeclined:
		return DeclineByIssuer
	case TokenInsufficientFunds:
		return DeclineInsufficientFunds
	case TokenExpired:
		return DeclineExpired
	case TokenStolen:
		return DeclineStolen
	}
	if amount.Amount > CardLimit {
		return DeclineOverLimit
	}
	return ""
}

// A Processor simulates the card processor that a real payment service would talk to.
type Processor struct {
	// Delay is how long each answer takes. Defaults to none.
	Delay time.Duration
}

// Authorize returns the reason why the card is declined, or "" if it pays. It blocks for Delay, or until ctx ends.
func (p Processor) Authorize(ctx context.Context, token leveret.Secret, amount queues.Money) (string, error) {
	return Decide(token, amount), p.wait(ctx)
}

// Settle captures, voids or refunds a payment. A real processor would be given the authorisation's id, so that
// repeating the call does no harm; this one has nothing to do. It blocks for Delay, or until ctx ends.
func (p Processor) Settle(ctx context.Context) error { return p.wait(ctx) }

func (p Processor) wait(ctx context.Context) error {
	if p.Delay <= 0 {
		return nil
	}
	t := time.NewTimer(p.Delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
