package rpc

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// The names of the metadata: HTTP headers, and, in lower case, gRPC metadata. All are optional on the way in. Beside
// them travel the W3C headers traceparent, tracestate and baggage.
const (
	// IdempotencyKey is the message's id, as [EncodeText] writes it.
	IdempotencyKey = "Idempotency-Key"
	// Timeout is the time that is left until the caller's deadline, in whole milliseconds. Over gRPC it is grpc-timeout.
	Timeout = "Leveret-Timeout-Ms"
	// Conversation, Causation and AppID are fields of [leveret.Message]. SentAt does not travel: a request arrives at once.
	Conversation = "Leveret-Conversation-Id"
	Causation    = "Leveret-Causation-Id"
	AppID        = "Leveret-App-Id"
	// Headers are the message's own headers as a JSON object, as [EncodeText] writes it. A whole number arrives as an int64,
	// another as a float64, and one that neither can hold as a [json.Number].
	Headers = "Leveret-Headers"
	// AnsweredBy is the service instance that answers, on the way back.
	AnsweredBy = "Leveret-Answered-By"
)

// MaxText is how many bytes an id may have, as over AMQP.
const MaxText = 255

// MaxHeaders is how many bytes a message's own headers may have together, encoded.
const MaxHeaders = 16 << 10

// traceHeaders are carried under their own names.
var traceHeaders = [...]string{"traceparent", "tracestate", "baggage"}

// Write passes the metadata of a request to set, but for the times. A conversation that has the message's id is left
// out, since [Read] takes the one for the other. An error is one of m's fields that cannot travel; it has the code
// InvalidArgument.
func Write(m *leveret.Message, service string, set func(name, value string)) error {
	if err := m.CheckHeaders(); err != nil {
		return err
	}
	conversation := m.ConversationID
	if conversation == m.ID { // which is what Read takes it for
		conversation = ""
	}
	for _, f := range [...]struct{ name, value string }{
		{IdempotencyKey, m.ID}, {Conversation, conversation}, {Causation, m.CausationID}, {AppID, service},
	} {
		if len(f.value) > MaxText {
			return leveret.Errorf(leveret.InvalidArgument, "%s has %d bytes; it may have %d", f.name, len(f.value), MaxText)
		}
		if !utf8.ValidString(f.value) {
			return leveret.Errorf(leveret.InvalidArgument, "%s is not UTF-8", f.name)
		}
		if f.value != "" {
			set(f.name, EncodeText(f.value))
		}
	}
	if len(m.Headers) == 0 {
		return nil
	}
	own := maps.Clone(m.Headers)
	for _, name := range traceHeaders {
		if value, ok := own[name].(string); ok && printable(value) {
			set(name, value)
		}
		delete(own, name)
	}
	if len(own) == 0 {
		return nil
	}
	encoded, err := json.Marshal(own)
	if err != nil {
		return leveret.Errorf(leveret.InvalidArgument, "the headers cannot be encoded: %w", err)
	}
	text := EncodeText(string(encoded))
	if len(text) > MaxHeaders {
		return leveret.Errorf(leveret.InvalidArgument, "the headers have %d bytes; they may have %d", len(text), MaxHeaders)
	}
	set(Headers, text)
	return nil
}

// printable reports whether a value can be a header as it is. A trace that cannot is malformed anyway.
func printable(value string) bool {
	return !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c >= 0x7f })
}

// Read returns the message that a request's metadata describes, without its contract, body and times. get returns
// the first value of a name, and an empty string where there is none. An error has the code InvalidArgument: an id that
// is malformed would be taken for another one; of the rest, what cannot be read counts as left out, as do
// headers that are not the sender's to set.
func Read(get func(name string) string) (*leveret.Message, error) {
	m := &leveret.Message{}
	for _, f := range [...]struct {
		name string
		into *string
	}{{IdempotencyKey, &m.ID}, {Conversation, &m.ConversationID}, {Causation, &m.CausationID}, {AppID, &m.AppID}} {
		text, err := DecodeText(get(f.name))
		if err != nil {
			return nil, leveret.Errorf(leveret.InvalidArgument, "%s: %w", f.name, err)
		}
		if len(text) > MaxText {
			return nil, leveret.Errorf(leveret.InvalidArgument, "%s has %d bytes; it may have %d", f.name, len(text), MaxText)
		}
		*f.into = text
	}
	if text, err := DecodeText(get(Headers)); err == nil && text != "" && len(text) <= MaxHeaders {
		m.Headers = readHeaders(text)
		maps.DeleteFunc(m.Headers, func(name string, _ any) bool { return wire.Reserved(name) })
	}
	for _, name := range traceHeaders {
		if value := get(name); value != "" {
			if m.Headers == nil {
				m.Headers = make(map[string]any)
			}
			m.Headers[name] = value
		}
	}
	if m.ConversationID == "" {
		m.ConversationID = m.ID
	}
	return m, nil
}

// readHeaders reads a message's own headers. Whole numbers become an int64, as over RabbitMQ, others a float64; what
// these cannot hold stays as it is.
func readHeaders(text string) (headers map[string]any) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&headers) != nil || d.More() {
		return nil
	}
	for name, value := range headers {
		headers[name] = plainNumbers(value)
	}
	return headers
}

func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") {
			return f
		}
		return v
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = plainNumbers(v[name])
		}
	}
	return v
}

// FormatTimeout returns the time left until a deadline as [Timeout] carries it. What is left of a millisecond counts as
// none; the least is 1, since the server takes 0 for no deadline.
func FormatTimeout(left time.Duration) string {
	return strconv.FormatInt(max(left.Milliseconds(), 1), 10)
}

// ParseTimeout returns the time that a request may take: what [Timeout] says, up to most; most where it is left out. An
// error, for what is no positive number, has the code InvalidArgument.
func ParseTimeout(value string, most time.Duration) (time.Duration, error) {
	if value = strings.TrimSpace(value); value == "" {
		return most, nil
	}
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil || ms <= 0 {
		return 0, leveret.Errorf(leveret.InvalidArgument, "%s is %q; it must be a positive number of milliseconds", Timeout, value)
	}
	if ms > most.Milliseconds() {
		return most, nil
	}
	return time.Duration(ms) * time.Millisecond, nil
}
