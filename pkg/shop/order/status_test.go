package order

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

func statuses() []Status {
	return []Status{
		{State: StatePending},
		{State: StatePlaced},
		{State: StateCaptured},
		{State: StateReserved},
		{State: StateClosing},
		{State: StateConfirmed},
		{StateCancelled, queues.CancelDeclined},
		{StateCancelled, queues.CancelOutOfStock},
		{StateCancelled, queues.CancelRequested},
		{StateCancelled, queues.CancelExpired},
	}
}

func events() []Event {
	return []Event{EventAuthorized, EventDeclined, EventCaptured, EventReserved, EventRejected, EventAbandoned, EventExpired, EventClosed}
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
			case errors.Is(err, ErrConfirmed):
				got = "refused"
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
	for _, s := range statuses() {
		next, err := s.Next("stolen")
		require.Error(t, err)
		require.Equal(t, s, next)
	}
}

// TestCancellable: a customer can cancel until the order is decided, and then finds it cancelled or confirmed; or closing,
// which leads to the same.
func TestCancellable(t *testing.T) {
	t.Parallel()
	for _, s := range statuses() {
		next, err := s.Next(EventAbandoned)
		switch {
		case s.State == StateConfirmed:
			require.ErrorIs(t, err, ErrConfirmed)
			require.ErrorIs(t, err, leveret.FailedPrecondition)
		case s.Final(), s.State == StateClosing:
			require.NoError(t, err)
			require.Equal(t, s, next)
		default:
			require.NoError(t, err)
			require.Equal(t, Status{StateCancelled, queues.CancelRequested}, next)
		}
	}
}

// TestOrderOfEvents goes through every order in which the events of one order can arrive, each of them up to twice. The
// outcome depends only on whether the customer cancelled before the order was decided.
func TestOrderOfEvents(t *testing.T) {
	t.Parallel()
	requested := Status{StateCancelled, queues.CancelRequested}
	for _, tc := range []struct {
		events []Event
		end    Status // unless it was cancelled first
	}{
		{[]Event{EventCaptured, EventReserved}, Status{State: StateConfirmed}},
		{[]Event{EventCaptured, EventRejected}, Status{StateCancelled, queues.CancelOutOfStock}},
	} {
		count, cancelled := 0, 0
		twice := slices.Concat(tc.events, tc.events, []Event{EventAuthorized, EventAbandoned})
		permute(twice, func(sequence []Event) {
			count++
			s, want := Status{State: StatePlaced}, tc.end
			for _, f := range sequence {
				was := s
				var err error
				s, err = s.Next(f)
				switch {
				case f == EventAbandoned && !was.Final():
					cancelled++
					want = requested
				case f == EventAbandoned && was.State == StateConfirmed:
					require.ErrorIs(t, err, ErrConfirmed, "%v", sequence)
					continue
				}
				require.NoError(t, err, "%v", sequence)
			}
			require.Equal(t, want, s, "%v", sequence)
		})
		require.Equal(t, 720, count)
		require.Positive(t, cancelled)
		require.Less(t, cancelled, count)
	}
}

// permute calls f with every order of events. f must not keep its argument.
func permute(events []Event, f func([]Event)) {
	var rest func(n int)
	rest = func(n int) {
		if n == len(events) {
			f(events)
			return
		}
		for i := n; i < len(events); i++ {
			events[n], events[i] = events[i], events[n]
			rest(n + 1)
			events[n], events[i] = events[i], events[n]
		}
	}
	rest(0)
}
