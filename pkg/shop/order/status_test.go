package order

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

func statuses() []Status {
	return []Status{
		{State: StatePending},
		{State: StatePlaced},
		{State: StateCaptured},
		{State: StateReserved},
		{State: StateConfirmed},
		{StateCancelled, queues.CancelDeclined},
		{StateCancelled, queues.CancelOutOfStock},
	}
}

func facts() []Fact {
	return []Fact{FactAuthorized, FactDeclined, FactCaptured, FactReserved, FactRejected}
}

// TestTransitionsAreAsDocumented compares every cell of the table in docs/orders.md with the code.
func TestTransitionsAreAsDocumented(t *testing.T) {
	t.Parallel()
	table := shoptest.Table(t, "../../../docs/orders.md", "order")
	require.Len(t, table, len(statuses()))
	for _, s := range statuses() {
		require.Len(t, table[s.String()], len(facts()), "%s", s)
		for _, f := range facts() {
			next, err := s.After(f)
			got := next.String()
			switch {
			case errors.Is(err, ErrEarly):
				got = "early"
			case errors.Is(err, ErrContradiction):
				got = "contradiction"
			}
			if err != nil {
				require.Equal(t, s, next, "an error must not change the status")
			}
			require.Equal(t, table[s.String()][string(f)], got, "%s, then %s", s, f)
		}
	}
}

func TestFactsAreIdempotent(t *testing.T) {
	t.Parallel()
	for _, s := range statuses() {
		for _, f := range facts() {
			if once, err := s.After(f); err == nil {
				twice, err := once.After(f)
				require.NoError(t, err, "%s, then %s twice", s, f)
				require.Equal(t, once, twice)
			}
		}
	}
}

func TestFinalIsFinal(t *testing.T) {
	t.Parallel()
	for _, s := range statuses() {
		for _, f := range facts() {
			if next, _ := s.After(f); s.Final() {
				require.Equal(t, s, next, "%s, then %s", s, f)
			}
		}
	}
}

// TestUnknownIsRefused: what is in no table is an error, not a transition.
func TestUnknownIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Status{State: StatePlaced}.After("stolen")
	require.ErrorIs(t, err, ErrContradiction)
}

// TestOrderOfNews: whichever comes first, and however often, the end is the same.
func TestOrderOfNews(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		facts [2]Fact
		end   Status
	}{
		{[2]Fact{FactCaptured, FactReserved}, Status{State: StateConfirmed}},
		{[2]Fact{FactCaptured, FactRejected}, Status{StateCancelled, queues.CancelOutOfStock}},
	} {
		a, b := tc.facts[0], tc.facts[1]
		for _, sequence := range [][]Fact{{a, b}, {b, a}, {a, a, b}, {b, a, b}, {b, b, a, a}, {a, b, a, b}, {a, b, FactAuthorized}} {
			s := Status{State: StatePlaced}
			for _, f := range sequence {
				var err error
				s, err = s.After(f)
				require.NoError(t, err, "%v", sequence)
			}
			require.Equal(t, tc.end, s, "%v", sequence)
		}
	}
}
