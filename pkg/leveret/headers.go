package leveret

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// The headers that Leveret reads and writes. All are optional on the way in. None begins with "x-", which belongs to
// RabbitMQ. docs/wire.md is their public contract.
const (
	headerConversation  = "leveret-conversation-id"
	headerCausation     = "leveret-causation-id"
	headerSentAt        = "leveret-sent-at"
	headerDeadline      = "leveret-deadline"
	headerAttempt       = "leveret-attempt"
	headerInstance      = "leveret-instance"
	headerFailedQueue   = "leveret-failed-queue"
	headerFailedAt      = "leveret-failed-at"
	headerFirstFailedAt = "leveret-first-failed-at"
	headerAttempts      = "leveret-attempts"
	headerErrorCode     = "leveret-error-code"
	headerErrorReason   = "leveret-error-reason"
	headerErrorMessage  = "leveret-error-message"
	headerService       = "leveret-service"
	headerHost          = "leveret-host"
	headerStack         = "leveret-stack"
	headerDropped       = "leveret-headers-dropped"
)

const (
	// clockSkew is how far the clocks of two machines may be apart before a deadline is believed to have passed.
	clockSkew = 2 * time.Second
	// maxErrorMessage and maxStack bound what a dead letter says about its failure, in bytes.
	maxErrorMessage = 2 << 10
	maxStack        = 8 << 10
	// maxForeignHeaders is how many bytes of a message's own headers a copy of it carries on: all headers must fit into
	// one frame of 128 KiB.
	maxForeignHeaders = 64 << 10
)

// textHeader returns a header that should be a string.
func textHeader(h rabbit.Table, name string) string {
	switch v := h[name].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	default:
		return ""
	}
}

// timeHeader returns a header that should be a time: RFC 3339, or an AMQP timestamp. Anything else is no time.
func timeHeader(h rabbit.Table, name string) time.Time {
	if t, ok := h[name].(time.Time); ok {
		return t
	}
	t, err := time.Parse(time.RFC3339Nano, textHeader(h, name))
	if err != nil {
		return time.Time{}
	}
	return t
}

// countHeader returns a header that should be a whole number not below 1; 1 if it is not.
func countHeader(h rabbit.Table, name string) int {
	var n int64
	switch v := h[name].(type) {
	case int64:
		n = v
	case int32:
		n = int64(v)
	case int16:
		n = int64(v)
	case int8:
		n = int64(v)
	case uint8:
		n = int64(v)
	case int:
		n = int64(v)
	case string:
		n, _ = strconv.ParseInt(v, 10, 32)
	}
	return int(min(max(n, 1), 1_000_000))
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// carried returns the headers that a copy of a message takes along: without those that tell of a past that is not the
// copy's, and, where they are too many, none.
func carried(h rabbit.Table) rabbit.Table {
	if rabbit.TableSize(h) > maxForeignHeaders {
		return rabbit.Table{headerDropped: "larger than 64 KiB"}
	}
	out := maps.Clone(h)
	if out == nil {
		out = make(rabbit.Table, 8)
	}
	maps.DeleteFunc(out, func(name string, _ any) bool {
		switch {
		case name == "CC", name == "BCC", name == "x-death", name == "x-delivery-count", name == "x-acquired-count":
			return true
		default:
			return strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
		}
	})
	return out
}

// cut shortens s to n bytes without cutting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "�")
	}
	return strings.ToValidUTF8(s[:n-3], "") + "…"
}
