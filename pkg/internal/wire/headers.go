package wire

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// The headers that Leveret reads and writes. All are optional on the way in. None begins with "x-", which belongs to
// RabbitMQ.
const (
	Conversation  = "leveret-conversation-id"
	Causation     = "leveret-causation-id"
	SentAt        = "leveret-sent-at"
	Deadline      = "leveret-deadline"
	Attempt       = "leveret-attempt"
	RoutingKey    = "leveret-routing-key"
	NotBefore     = "leveret-not-before"
	Returned      = "leveret-returned"
	Instance      = "leveret-instance"
	FailedQueue   = "leveret-failed-queue"
	FailedAt      = "leveret-failed-at"
	FirstFailedAt = "leveret-first-failed-at"
	Attempts      = "leveret-attempts"
	ErrorCode     = "leveret-error-code"
	ErrorReason   = "leveret-error-reason"
	ErrorMessage  = "leveret-error-message"
	Service       = "leveret-service"
	Host          = "leveret-host"
	Stack         = "leveret-stack"
	Replayed      = "leveret-replayed"
	Dropped       = rabbit.HeadersDropped

	// StreamOffset is RabbitMQ's, on each message that comes from a stream.
	StreamOffset = "x-stream-offset"

	// Prefix begins the names of all of them.
	Prefix = "leveret-"
)

// The delivery modes of messages that may be lost with the broker, and of those that may not.
const Transient, Persistent = 1, 2

// maxCarried is how many bytes of a message's headers a copy of it carries on: all headers must fit into one frame of
// 128 KiB.
const maxCarried = 64 << 10

// maxCount bounds what a header counts.
const maxCount = 1_000_000

// Text returns a header that should be a string; empty if it is not.
func Text(h rabbit.Table, name string) string {
	switch v := h[name].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	default:
		return ""
	}
}

// Time returns a header that should be a time: RFC 3339, or an AMQP timestamp. Anything else is the zero time, and so is a
// timestamp beyond 2^63, which some clients write for no end, and which the driver reads as one before 1970.
func Time(h rabbit.Table, name string) time.Time {
	if t, ok := h[name].(time.Time); ok && t.Unix() >= 0 {
		return t
	}
	t, _ := time.Parse(time.RFC3339Nano, Text(h, name)) // the zero time where it fails
	return t
}

// Count returns a header that should be a whole number; 0 if it is not, or is less. What is absurdly large is a
// million.
func Count(h rabbit.Table, name string) int {
	var n int64
	switch v := reflect.ValueOf(h[name]); {
	case v.CanInt():
		n = v.Int()
	case v.CanUint():
		n = int64(min(v.Uint(), maxCount))
	default:
		n, _ = strconv.ParseInt(Text(h, name), 10, 64) // of a number out of range, the nearest
	}
	return int(min(max(n, 0), maxCount))
}

// Cut shortens s to n bytes without cutting a character.
func Cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}

// IsStorable reports whether every database can hold a text.
func IsStorable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// Storable returns a text that is so, and no longer than MaxMessage.
func Storable(text string) string { return Cut(strings.ReplaceAll(text, "\x00", "?"), MaxMessage) }

// FormatTime writes a time as headers carry it.
func FormatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Carried returns the headers that a copy of a message takes along, in its own table: without those about a
// past that is not the copy's, and those that would send it elsewhere; and, where they are too many, none.
func Carried(h rabbit.Table) rabbit.Table {
	out := make(rabbit.Table, len(h)+8)
	maps.Copy(out, h)
	maps.DeleteFunc(out, func(name string, _ any) bool { return brokers(name) || name == NotBefore })
	if rabbit.TableSize(out) > maxCarried {
		return rabbit.Table{Dropped: "larger than 64 KiB"}
	}
	return out
}

// brokers reports whether a header is written by RabbitMQ, or obeyed by it.
func brokers(name string) bool {
	switch name {
	case "CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", StreamOffset:
		return true
	default:
		return strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
	}
}

// Reserved reports whether a header, in any case of its letters, is for Leveret and RabbitMQ to set.
func Reserved(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, Prefix) || name == "cc" || name == "bcc" || brokers(name)
}

// Senders returns the headers that are a sender's own: neither Reserved, nor of federation, shovels and interceptors, nor one
// of others.
func Senders(h rabbit.Table, others ...string) rabbit.Table {
	others = append(others, "x-received-from", "x-shovelled", "x-shovelled-timestamp", "x-routed-by", "timestamp_in_ms")
	out := make(rabbit.Table, len(h))
	maps.Copy(out, h)
	maps.DeleteFunc(out, func(name string, _ any) bool { return Reserved(name) || slices.Contains(others, name) })
	return out
}

// Copy is a delivery to be published again: body and properties as they were, but for those that would end it early or
// that only its sender may set, and with the headers that [Carried] leaves.
func Copy(d *rabbit.Delivery) rabbit.Publishing {
	return rabbit.Publishing{
		Headers:         Carried(d.Headers),
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		DeliveryMode:    Persistent,
		Priority:        d.Priority,
		CorrelationId:   d.CorrelationId,
		ReplyTo:         d.ReplyTo,
		MessageId:       d.MessageId,
		Timestamp:       d.Timestamp,
		Type:            d.Type,
		AppId:           d.AppId,
		Body:            d.Body,
	}
}

// CopyOf is [Copy] of a message in a work queue. The copy will have the queue as its routing key, so it notes the one that
// the message was sent with, where that is another.
func CopyOf(d *rabbit.Delivery, queue string) rabbit.Publishing {
	p := Copy(d)
	if key := SentTo(d); key != queue {
		p.Headers[RoutingKey] = key
	}
	return p
}

// SentTo returns the routing key that a message was sent with, though it may have been in other queues since.
func SentTo(d *rabbit.Delivery) string {
	if _, noted := d.Headers[RoutingKey]; noted {
		return Text(d.Headers, RoutingKey)
	}
	deaths, _ := d.Headers["x-death"].([]any)
	if len(deaths) == 0 {
		return d.RoutingKey
	}
	first, _ := deaths[len(deaths)-1].(rabbit.Table)
	keys, _ := first["routing-keys"].([]any)
	if len(keys) == 0 {
		return d.RoutingKey
	}
	key, ok := keys[0].(string)
	if !ok {
		return d.RoutingKey
	}
	return key
}

// FirstInvalid returns the offset of the first byte that is not UTF-8; -1 if there is none.
func FirstInvalid(text []byte) int {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

// Wide returns "UTF-16" or "UTF-32" if JSON begins as it does in these encodings, which UTF-8 never does; else nothing.
func Wide(body []byte) string {
	begins := ""
	for _, b := range body[:min(len(body), 4)] {
		begins += string("x0<>"[1+strings.IndexByte("\x00\xff\xfe", b)])
	}
	switch { // <> and >< are byte order marks
	case slices.Contains([]string{"000x", "x000", "00><", "<>00"}, begins):
		return "UTF-32"
	case len(begins) > 1 && slices.Contains([]string{"0x", "x0", "><", "<>"}, begins[:2]):
		return "UTF-16"
	}
	return ""
}
