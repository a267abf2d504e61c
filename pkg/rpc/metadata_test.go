package rpc_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

func TestMetadataTravels(t *testing.T) {
	t.Parallel()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	sent := &leveret.Message{
		ID: `order "7"`, ConversationID: "café", CausationID: "6",
		Headers: map[string]any{"tenant": "blü", "n": 1.5, "traceparent": trace, "tracestate": "a=b", "baggage": "c=d"},
	}
	h := make(http.Header)
	require.NoError(t, rpc.Write(sent, "shop", h.Set))
	require.Equal(t, trace, h.Get("Traceparent"))
	require.Len(t, sent.Headers, 5, "the message is not changed")
	got, err := rpc.Read(h.Get)
	require.NoError(t, err)
	want := *sent
	want.AppID = "shop"
	require.Equal(t, &want, got)
}

// The first message of a conversation needs no header for it.
func TestFirstOfAConversation(t *testing.T) {
	t.Parallel()
	h := make(http.Header)
	require.NoError(t, rpc.Write(&leveret.Message{ID: "7", ConversationID: "7"}, "shop", h.Set))
	require.Equal(t, http.Header{"Idempotency-Key": {"7"}, "Leveret-App-Id": {"shop"}}, h)
	m, err := rpc.Read(h.Get)
	require.NoError(t, err)
	require.Equal(t, "7", m.ConversationID)
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	write := func(m *leveret.Message) (http.Header, error) {
		h := make(http.Header)
		return h, rpc.Write(m, "shop", h.Set)
	}
	for want, m := range map[string]*leveret.Message{
		"Idempotency-Key has 256 bytes":        {ID: strings.Repeat("x", 256)},
		"Leveret-Conversation-Id is not UTF-8": {ConversationID: "\xff"},
		`the header "leveret-attempt" cannot`:  {Headers: map[string]any{"leveret-attempt": 99}},
		`the header "CC" cannot`:               {Headers: map[string]any{"CC": []string{"a"}}},
		"the headers cannot be encoded":        {Headers: map[string]any{"a": func() {}}},
		"they may have 16384":                  {Headers: map[string]any{"a": strings.Repeat("x", 16<<10)}},
	} {
		_, err := write(m)
		require.ErrorIs(t, err, leveret.InvalidArgument)
		require.ErrorContains(t, err, want)
	}
	h, err := write(&leveret.Message{Headers: map[string]any{"traceparent": "a\r\nb", "tracestate": 7, "baggage": "é"}})
	require.NoError(t, err, "a trace that is malformed is none")
	require.Equal(t, http.Header{"Leveret-App-Id": {"shop"}}, h)
}

func TestRead(t *testing.T) {
	t.Parallel()
	read := func(headers ...string) (*leveret.Message, error) {
		h := make(http.Header)
		for i := 0; i < len(headers); i += 2 {
			h.Set(headers[i], headers[i+1])
		}
		return rpc.Read(h.Get)
	}
	m, err := read()
	require.NoError(t, err)
	require.Equal(t, &leveret.Message{}, m)
	m, err = read(rpc.IdempotencyKey, "7", rpc.Headers, "{", "baggage", "a=b")
	require.NoError(t, err)
	require.Equal(t, &leveret.Message{ID: "7", ConversationID: "7", Headers: map[string]any{"baggage": "a=b"}}, m)
	m, err = read(rpc.Headers, `{"leveret-attempt": 99, "CC": ["a"], "x-death": [], "tenant": "blue"}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"tenant": "blue"}, m.Headers, "what is not for a client to set is left out")
	m, err = read(rpc.Headers, `{"id": 1541815603606036481, "half": 0.5, "large": 1e30, "list": [{"n": -9223372036854775808}],
		"beyond": 18446744073709551615, "endless": 1e999999}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"id": int64(1541815603606036481), "half": 0.5, "large": 1e30, "list": []any{map[string]any{"n": int64(-9223372036854775808)}},
		"beyond": json.Number("18446744073709551615"), "endless": json.Number("1e999999"),
	}, m.Headers, "numbers keep their digits")
	for _, name := range []string{rpc.IdempotencyKey, rpc.Conversation, rpc.Causation, rpc.AppID} {
		_, err = read(name, `"`)
		require.ErrorIs(t, err, leveret.InvalidArgument)
		require.ErrorContains(t, err, name)
		_, err = read(name, strings.Repeat("x", 256))
		require.ErrorContains(t, err, "256 bytes")
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	require.Equal(t, "1500", rpc.FormatTimeout(1500*time.Millisecond+999))
	require.Equal(t, "1", rpc.FormatTimeout(-time.Second))
	for value, want := range map[string]time.Duration{
		"": time.Minute, " 5 ": 5 * time.Millisecond, //nolint:gocritic // that is the point
		"60000": time.Minute, "60001": time.Minute, "9223372036854775807": time.Minute,
	} {
		got, err := rpc.ParseTimeout(value, time.Minute)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, value := range []string{"0", "-5", "1.5", "5s", "9223372036854775808", "soon"} {
		_, err := rpc.ParseTimeout(value, time.Minute)
		require.ErrorIs(t, err, leveret.InvalidArgument)
	}
}
