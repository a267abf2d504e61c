package leveret

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestIDs(t *testing.T) {
	t.Parallel()
	a, b := newID(), newID()
	require.Less(t, a, b, "in the order of time")
	require.EqualValues(t, 7, uuid.MustParse(a).Version())
	require.EqualValues(t, 4, uuid.MustParse(newCorrelationID()).Version())

	id := derivedID("m", "q", "c", 1)
	require.Equal(t, "62388291-8ef7-810a-948f-e02affe5faee", id, "the same after an update of this package, too")
	parsed := uuid.MustParse(id)
	require.EqualValues(t, 8, parsed.Version())
	require.Equal(t, uuid.RFC4122, parsed.Variant())
	seen := map[string]bool{id: true}
	for _, other := range []string{
		derivedID("n", "q", "c", 1), derivedID("m", "r", "c", 1), derivedID("m", "q", "d", 1), derivedID("m", "q", "c", 2),
		derivedID("mq", "", "c", 1), derivedID("", "mq", "c", 1),
	} {
		require.False(t, seen[other])
		seen[other] = true
	}
}

// handled is the context of the handling of a message.
func handled(ctx context.Context, m *Message) context.Context {
	return handlingContext{Context: ctx, handling: &handling{message: m, scope: m.Queue}}
}

// TestSentWhileHandling: ids, conversation and cause follow from the message that is handled.
func TestSentWhileHandling(t *testing.T) {
	t.Parallel()
	do, tell := NewCommand[int]("a.do"), NewEvent[int]("a.told")
	parent := &Message{Contract: do, ID: "parent", ConversationID: "talk", CausationID: "grandparent", Received: Received{Queue: "a.do"}}
	run := func(m *Message) []*Message {
		ctx := handled(t.Context(), m)
		return []*Message{
			NewMessage(ctx, tell, nil), NewMessage(ctx, do, nil), NewMessage(ctx, tell, nil),
			NewMessage(ctx, tell, nil, MessageID("mine"), Conversation("other")), NewMessage(ctx, tell, nil),
		}
	}
	first, again := run(parent), run(parent)
	ids := map[string]bool{}
	for i, m := range first {
		require.Equal(t, m.ID, again[i].ID, "the same when the handler runs again")
		require.Equal(t, "parent", m.CausationID)
		require.False(t, ids[m.ID])
		ids[m.ID] = true
		if i != 3 {
			require.Equal(t, "talk", m.ConversationID)
			require.EqualValues(t, 8, uuid.MustParse(m.ID).Version())
		}
		require.Equal(t, m.ConversationID, m.CorrelationID)
	}
	require.Equal(t, "mine", first[3].ID)
	require.Equal(t, "other", first[3].ConversationID)

	elsewhere := *parent
	elsewhere.Queue = "b.on.a.do"
	require.NotEqual(t, first[0].ID, run(&elsewhere)[0].ID, "another subscription's messages are others")

	nameless := &Message{Contract: do, ConversationID: "talk"}
	one, two := run(nameless), run(nameless)
	require.NotEqual(t, one[0].ID, two[0].ID, "without an id there is nothing to derive from")
	require.EqualValues(t, 7, uuid.MustParse(one[0].ID).Version())
	require.Equal(t, "talk", one[0].ConversationID)
}

func TestSentOutside(t *testing.T) {
	t.Parallel()
	m := NewMessage(t.Context(), NewEvent[int]("a.told"), []byte("1"))
	require.EqualValues(t, 7, uuid.MustParse(m.ID).Version())
	require.Equal(t, m.ID, m.ConversationID)
	require.Equal(t, m.ID, m.CorrelationID)
	require.Empty(t, m.CausationID)
	require.False(t, m.SentAt.IsZero())

	ask := NewRequest[int, int]("a.ask")
	call := NewMessage(t.Context(), ask, []byte("1"))
	require.Empty(t, call.CorrelationID, "that is made for each call")
	require.EqualValues(t, 4, uuid.MustParse(newCorrelationID()).Version(), "it cannot be guessed from anything")
	require.Nil(t, MessageFrom(t.Context()))
	require.Equal(t, call, MessageFrom(handled(t.Context(), call)))
}
