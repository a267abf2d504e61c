package payment

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

// TestTransitionsAreAsDocumented compares every cell of the table in docs/orders.md with the code.
func TestTransitionsAreAsDocumented(t *testing.T) {
	t.Parallel()
	table := shoptest.Table(t, "../../../docs/orders.md", "payment")
	states := []State{StateUnknown, StateDeclined, StateAuthorized, StateCaptured, StateVoided, StateRefunded, StateCancelled}
	require.Len(t, table, len(states))
	for _, s := range states {
		require.Len(t, table[string(s)], 4)
		for _, n := range []Event{EventAccepted, EventRefused, EventOrderPlaced, EventOrderCancelled} {
			next, err := s.Next(n)
			got := string(next)
			if err != nil {
				require.Equal(t, s, next, "an error must not change the state")
				got = "contradiction"
				if errors.Is(err, ErrUnknown) {
					got = "early"
				}
			} else {
				again, err := next.Next(n)
				require.NoError(t, err)
				require.Equal(t, next, again, "events are idempotent")
			}
			require.Equal(t, table[string(s)][string(n)], got, "%s, then %s", s, n)
		}
		_, err := s.Next("stolen")
		require.ErrorIs(t, err, ErrContradiction)
	}
}

func TestCards(t *testing.T) {
	t.Parallel()
	table := shoptest.Table(t, "../../../docs/orders.md", "card token")
	for token, reason := range map[leveret.Secret]string{
		TokenVisa: "", TokenMastercard: "", "tok_any": "", TokenDeclined: DeclineByIssuer,
		TokenInsufficientFunds: DeclineInsufficientFunds, TokenExpired: DeclineExpired, TokenStolen: DeclineStolen,
	} {
		require.Equal(t, reason, Decide(token, queues.Money{Amount: CardLimit, Currency: "EUR"}), string(token))
		if reason != "" {
			require.Equal(t, "declined, `"+reason+"`", table["`"+string(token)+"`"]["answer"])
			require.Equal(t, reason, Decide(token, queues.Money{Amount: CardLimit + 1, Currency: "EUR"}), "the card's own reason comes first")
		} else {
			require.Equal(t, DeclineOverLimit, Decide(token, queues.Money{Amount: CardLimit + 1, Currency: "EUR"}), string(token))
		}
	}
}
