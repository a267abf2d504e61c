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

func events() []Event {
	return []Event{EventAuthorized, EventDeclined, EventCaptured, EventReserved, EventRejected}
}

// TestTransitionsAreAsDocumented compares every cell of the table in docs/orders.md with the code.
func TestTransitionsAreAsDocumented(t *testing.T) {
	t.Parallel()
	table := shoptest.Table(t, "../../../docs/orders.md", "order")
	require.Len(t, table, len(statuses()))
	for _, s := range statuses() {
		require.Len(t, table[s.String()], len(events()), "%s", s)
		for _, f := range events() {
			next, err := s.Next(f)
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
		for _, f := range events() {
			if once, err := s.Next(f); err == nil {
				twice, err := once.Next(f)
				require.NoError(t, err, "%s, then %s twice", s, f)
				require.Equal(t, once, twice)
			}
		}
	}
}

func TestFinalIsFinal(t *testing.T) {
	t.Parallel()
	for _, s := range statuses() {
		for _, f := range events() {
			if next, _ := s.Next(f); s.Final() {
				require.Equal(t, s, next, "%s, then %s", s, f)
			}
		}
	}
}

// TestUnknownIsRefused: an event outside the table is an error, not a transition.
func TestUnknownIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Status{State: StatePlaced}.Next("stolen")
	require.ErrorIs(t, err, ErrContradiction)
}

// TestOrderOfEvents: whichever event arrives first, and however often, the outcome is the same.
func TestOrderOfEvents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		events [2]Event
		end    Status
	}{
		{[2]Event{EventCaptured, EventReserved}, Status{State: StateConfirmed}},
		{[2]Event{EventCaptured, EventRejected}, Status{StateCancelled, queues.CancelOutOfStock}},
	} {
		a, b := tc.events[0], tc.events[1]
		for _, sequence := range [][]Event{{a, b}, {b, a}, {a, a, b}, {b, a, b}, {b, b, a, a}, {a, b, a, b}, {a, b, EventAuthorized}} {
			s := Status{State: StatePlaced}
			for _, f := range sequence {
				var err error
				s, err = s.Next(f)
				require.NoError(t, err, "%v", sequence)
			}
			require.Equal(t, tc.end, s, "%v", sequence)
		}
	}
}
