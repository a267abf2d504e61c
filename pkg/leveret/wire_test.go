package leveret

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// TestThereAndBack: what is sent is what is received.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 12, 0, 0, 123456789, time.UTC)
	for _, c := range []Contract{NewCommand[int]("a.do"), NewEvent[int]("a.told"), NewRequest[int, int]("a.ask")} {
		m := &Message{
			Contract: c, ID: "id", CorrelationID: "correlation", ConversationID: "talk", CausationID: "cause", SentAt: now,
			Headers: map[string]any{"mine": "kept"}, Body: []byte("7"), Priority: 4,
		}
		if c.Spec().Kind == KindRequest {
			m.Deadline = now.Add(time.Hour)
		}
		p := m.publishing(c.Spec(), "sender")
		require.Equal(t, c.Spec().Name, p.Type)
		require.Equal(t, "application/json", p.ContentType)
		require.Equal(t, "kept", p.Headers["mine"])
		require.NotContains(t, m.Headers, "leveret-sent-at", "the sender's own map is left alone")
		require.Equal(t, map[bool]uint8{true: 1, false: 2}[c.Spec().Kind == KindRequest], p.DeliveryMode)
		require.Empty(t, p.Expiration, "that is for the caller to set")
		d := &rabbit.Delivery{
			Headers: p.Headers, ContentType: p.ContentType, CorrelationId: p.CorrelationId, MessageId: p.MessageId,
			Expiration: p.Expiration, Timestamp: p.Timestamp, AppId: p.AppId, Body: p.Body, ReplyTo: "back",
			Type: p.Type, Priority: p.Priority, RoutingKey: "key",
		}
		got := received(d, use{contract: c}, c.Spec(), "queue", now)
		want := *m
		want.AppID, want.Queue, want.Attempt, want.ReplyTo, want.Headers = "sender", "queue", 1, "back", p.Headers
		want.Type, want.ContentType, want.RoutingKey = c.Spec().Name, "application/json", "key"
		require.Equal(t, &want, got)
	}
}

// TestHeaderOption: the tables of two messages made with the same options are not one.
func TestHeaderOption(t *testing.T) {
	t.Parallel()
	e := NewEvent[int]("a.told")
	require.Equal(t, map[string]any{"a": 1, "b": "2"}, NewMessage(t.Context(), e, nil, Header("a", 1), Header("b", "2")).Headers)
	options := []SendOption{Header("a", 1)}
	one, two := NewMessage(t.Context(), e, nil, options...), NewMessage(t.Context(), e, nil, options...)
	two.Headers["a"] = 3
	require.Equal(t, 1, one.Headers["a"])
}

// TestForeignMessages: what a foreign sender leaves out, or fills with something else.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	do, ask := NewCommand[int]("a.do"), NewRequest[int, int]("a.ask", Timeout(7*time.Second))

	m := received(&rabbit.Delivery{Body: []byte("7")}, use{contract: do}, do.Spec(), "q", now)
	require.Equal(t, &Message{Contract: do, Body: []byte("7"), Received: Received{Queue: "q", Attempt: 1}}, m)

	require.Equal(t, "id", received(&rabbit.Delivery{MessageId: "id"}, use{contract: do}, do.Spec(), "q", now).ConversationID)
	require.Equal(t, "correlation", received(&rabbit.Delivery{MessageId: "id", CorrelationId: "correlation"}, use{contract: do}, do.Spec(), "q", now).ConversationID,
		"a foreign sender's correlation id is its conversation")
	require.Equal(t, "id", received(&rabbit.Delivery{MessageId: "id", CorrelationId: "correlation"}, use{contract: ask}, ask.Spec(), "q", now).ConversationID,
		"but that of a request is the call's")
	long := strings.Repeat("x", 256)
	require.Equal(t, "id", received(&rabbit.Delivery{MessageId: "id", Headers: rabbit.Table{"leveret-conversation-id": long}}, use{contract: do}, do.Spec(), "q", now).ConversationID,
		"one that no message could carry on is none")
	require.Equal(t, now, received(&rabbit.Delivery{Timestamp: now}, use{contract: do}, do.Spec(), "q", now).SentAt)

	for _, test := range []struct {
		delivery rabbit.Delivery
		want     time.Time
	}{
		{rabbit.Delivery{}, now.Add(7 * time.Second)},
		{rabbit.Delivery{Expiration: "1500"}, now.Add(1500 * time.Millisecond)},
		{rabbit.Delivery{Expiration: "-5"}, now.Add(7 * time.Second)},
		{rabbit.Delivery{Expiration: "soon"}, now.Add(7 * time.Second)},
		{rabbit.Delivery{Expiration: "99999999999999999999"}, now.Add(7 * time.Second)},
		{rabbit.Delivery{Expiration: "1500", Headers: rabbit.Table{"leveret-deadline": "2026-06-01T14:00:03.5+02:00"}}, now.Add(3500 * time.Millisecond)},
		{rabbit.Delivery{Headers: rabbit.Table{"leveret-deadline": now.Add(time.Minute)}}, now.Add(time.Minute)},
		{rabbit.Delivery{Headers: rabbit.Table{"leveret-deadline": now.Add(-time.Second)}}, now.Add(-time.Second)},
		// Clocks differ.
		{rabbit.Delivery{Headers: rabbit.Table{"leveret-deadline": now.Add(-time.Second)}, Expiration: "1500"}, now.Add(500 * time.Millisecond)},
		{rabbit.Delivery{Headers: rabbit.Table{"leveret-deadline": now.Add(-time.Second)}, Expiration: "15000"}, now.Add(2 * time.Second)},
		{rabbit.Delivery{Headers: rabbit.Table{"leveret-deadline": []byte("2026-06-01T12:00:01Z")}}, now.Add(time.Second)},
		{rabbit.Delivery{Headers: rabbit.Table{"leveret-deadline": int64(17)}}, now.Add(7 * time.Second)},
		{rabbit.Delivery{Headers: rabbit.Table{"leveret-deadline": "0001-01-01T00:00:00Z"}}, now.Add(7 * time.Second)},
	} {
		got := received(&test.delivery, use{contract: ask}, ask.Spec(), "q", now).Deadline
		require.True(t, test.want.Equal(got), "%+v: %v", test.delivery, got)
	}

	for value, want := range map[any]int{
		int64(3): 3, int32(3): 3, int16(3): 3, int8(3): 3, uint8(3): 3, "3": 3, int64(-1): 1, int64(0): 1, "x": 1, "-7": 1, nil: 1, true: 1,
		int64(1) << 60: 1_000_000, "99999999999999999999999": 1_000_000, 2.5: 1,
	} {
		m := received(&rabbit.Delivery{Headers: rabbit.Table{"leveret-attempt": value}}, use{contract: do}, do.Spec(), "q", now)
		require.Equal(t, want, m.Attempt, "%T %v", value, value)
	}
}

// FuzzReceived: nothing that a foreign sender writes into properties and headers does more than be ignored.
func FuzzReceived(f *testing.F) {
	f.Add("id", "correlation", "1500", "2026-06-01T12:00:01Z", "3", int64(3))
	f.Add("", "", "-1", "0001-01-01T00:00:00Z", "-1", int64(-1))
	f.Add("\xff", strings.Repeat("x", 255), "99999999999999999999", "9999-12-31T23:59:59.999999999Z", "1e9", int64(1)<<62)
	do, ask := NewCommand[int]("a.do"), NewRequest[int, int]("a.ask")
	f.Fuzz(func(t *testing.T, id, correlation, expiration, text, count string, number int64) {
		if len(id) > 255 || len(correlation) > 255 {
			t.Skip("AMQP cannot carry it")
		}
		now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
		for _, headers := range []rabbit.Table{
			{"leveret-deadline": text, "leveret-attempt": count, "leveret-conversation-id": text, "leveret-sent-at": text, "leveret-causation-id": count},
			{"leveret-deadline": number, "leveret-attempt": number, "leveret-conversation-id": number, "leveret-sent-at": time.Unix(number, 0)},
			{"leveret-deadline": []byte(text), "leveret-attempt": rabbit.Table{text: count}, "leveret-conversation-id": []any{text}},
		} {
			for _, c := range []Contract{do, ask} {
				before := maps.Clone(headers)
				m := received(&rabbit.Delivery{MessageId: id, CorrelationId: correlation, Expiration: expiration, Headers: headers}, use{contract: c}, c.Spec(), "q", now)
				require.Equal(t, before, headers)
				require.GreaterOrEqual(t, m.Attempt, 1)
				require.LessOrEqual(t, m.Attempt, 1_000_000)
				require.LessOrEqual(t, len(m.ConversationID), 255)
				require.Equal(t, c == ask, !m.Deadline.IsZero())
			}
		}
	})
}
