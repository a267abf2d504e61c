package payment

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/queues"
)

// The tokens of test cards, which always answer the same. Any other token is a card that pays.
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

// Why a card is declined.
const (
	DeclineByIssuer          = "card_declined"
	DeclineInsufficientFunds = "insufficient_funds"
	DeclineExpired           = "expired_card"
	DeclineStolen            = "stolen_card"
	DeclineOverLimit         = "amount_over_limit"
)

// Decide returns why a card does not pay an amount; "" if it does.
func Decide(token string, amount queues.Money) string {
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

// A Processor stands for the card processor that a real payment service talks to: it takes its time.
type Processor struct {
	// Delay is how long each answer takes. Default: none.
	Delay time.Duration
}

// Authorize returns why the card does not pay; "" if it does. It blocks for the processor's delay, or until ctx ends.
func (p Processor) Authorize(ctx context.Context, token string, amount queues.Money) (string, error) {
	return Decide(token, amount), p.wait(ctx)
}

// Settle captures, voids or refunds. A real processor is given the authorisation's id, so that doing it again does no
// harm; this one has nothing to do. It blocks for the processor's delay, or until ctx ends.
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
