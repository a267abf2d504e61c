package deadletter

import (
	"cmp"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// The headers that Leveret's workers put on a dead letter; docs/wire.md is their public contract.
const (
	headerAttempt       = "leveret-attempt"
	headerAttempts      = "leveret-attempts"
	headerFailedQueue   = "leveret-failed-queue"
	headerFailedAt      = "leveret-failed-at"
	headerFirstFailedAt = "leveret-first-failed-at"
	headerErrorCode     = "leveret-error-code"
	headerErrorReason   = "leveret-error-reason"
	headerErrorMessage  = "leveret-error-message"
	headerService       = "leveret-service"
	headerHost          = "leveret-host"
	headerStack         = "leveret-stack"
	headerReplayed      = "leveret-replayed"
)

// A Letter is one dead letter.
type Letter struct {
	// ID is the message id; empty where its sender gave none.
	ID string
	// Queue is the work queue in which the message failed.
	Queue string
	// Contract is the message's type.
	Contract string
	// Code and Reason name the error that the handler returned. Of a message that the broker dead-lettered on its own,
	// Code is empty and Reason is the broker's: delivery_limit (its handler crashed, again and again), rejected, expired,
	// maxlen.
	Code, Reason string
	// Error says in words what went wrong; empty where the broker did it.
	Error string
	// Attempts is how often it was handled; 0 where nobody counted.
	Attempts int
	// Replayed is how often it was replayed before.
	Replayed int
	// FailedAt is when it was dead-lettered, FirstFailedAt when it failed for the first time. Zero where nobody said.
	FailedAt, FirstFailedAt time.Time
	// Service and Host say who gave up.
	Service, Host string
	// SentAt is when it was sent, by its sender's clock.
	SentAt time.Time

	// Delivery is the message itself, as the broker delivered it.
	rabbit.Delivery
}

// letter reads what the headers tell.
func letter(queue string, d rabbit.Delivery) *Letter {
	h := d.Headers
	l := &Letter{
		ID: d.MessageId, Queue: queue, Contract: d.Type,
		Code: text(h, headerErrorCode), Reason: text(h, headerErrorReason), Error: text(h, headerErrorMessage),
		Attempts: number(h, headerAttempts), Replayed: number(h, headerReplayed),
		FailedAt: moment(h[headerFailedAt]), FirstFailedAt: moment(h[headerFirstFailedAt]),
		Service: text(h, headerService), Host: text(h, headerHost),
		SentAt: d.Timestamp, Delivery: d,
	}
	if l.Code == "" {
		l.Reason, l.FailedAt = brokersWord(queue, h)
	}
	return l
}

// brokersWord is what RabbitMQ says about a message that it dead-lettered on its own.
func brokersWord(queue string, h rabbit.Table) (reason string, at time.Time) {
	deaths, _ := h["x-death"].([]any)
	for _, entry := range deaths {
		death, _ := entry.(rabbit.Table)
		if from := text(death, "queue"); from != "" && from != queue {
			continue
		}
		reason, at = text(death, "reason"), moment(death["time"])
		break
	}
	return cmp.Or(reason, text(h, "x-last-death-reason"), text(h, "x-first-death-reason")), at
}

func text(h rabbit.Table, name string) string {
	switch v := h[name].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	default:
		return ""
	}
}

func moment(v any) time.Time {
	switch v := v.(type) {
	case time.Time:
		return v
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return time.Time{}
		}
		return t
	default:
		return time.Time{}
	}
}

func number(h rabbit.Table, name string) int {
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
	case string:
		n, _ = strconv.ParseInt(v, 10, 32)
	}
	return int(min(max(n, 0), 1_000_000))
}

// revived returns the message as it goes back to its queue: body, ids and properties as they were, the story of its
// failure taken off, so that its attempts count from one. What stays is when it failed first and how often it was
// replayed.
func (l *Letter) revived() rabbit.Publishing {
	d := l.Delivery
	return rabbit.Publishing{
		Headers:         l.headers(),
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		DeliveryMode:    2,
		Priority:        d.Priority,
		CorrelationId:   d.CorrelationId,
		ReplyTo:         d.ReplyTo,
		MessageId:       d.MessageId,
		Timestamp:       d.Timestamp,
		Type:            d.Type,
		AppId:           d.AppId,
		Body:            d.Body,
		// Not UserId: the broker refuses one that is not the publishing user. Not Expiration: it has waited long enough.
	}
}

func (l *Letter) headers() rabbit.Table {
	h := maps.Clone(l.Headers)
	if h == nil {
		h = rabbit.Table{}
	}
	maps.DeleteFunc(h, func(name string, _ any) bool {
		switch name {
		case headerAttempt, headerAttempts, headerFailedQueue, headerFailedAt, headerErrorCode, headerErrorReason, headerErrorMessage,
			headerService, headerHost, headerStack,
			"CC", "BCC", // the broker would route to those, too
			"x-death", "x-delivery-count", "x-acquired-count":
			return true
		default:
			return strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
		}
	})
	h[headerReplayed] = int64(l.Replayed) + 1
	return h
}
