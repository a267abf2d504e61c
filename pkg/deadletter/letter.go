package deadletter

import (
	"cmp"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A Letter is one dead letter, or one message that waits for a retry.
type Letter struct {
	// ID is the message id; empty if the sender set none.
	ID string
	// Queue is the work queue in which the message failed.
	Queue string
	// Source is the queue that it was read from.
	Source string
	// Contract is what the Store's Contract says, or else the message's type.
	Contract string
	// Code and Reason name the error that the handler returned. If the broker dead-lettered the message itself, Code is
	// empty and Reason is the broker's: delivery_limit (its handler crashed repeatedly), rejected, expired, maxlen.
	Code, Reason string
	// Error is the error message; empty if the broker dead-lettered the message itself.
	Error string
	// Attempts is how often the message was handled, without crashes; 0 if unknown.
	Attempts int
	// Replayed is how often it was replayed.
	Replayed int
	// FailedAt is when it was dead-lettered, FirstFailedAt when it first failed. Zero if unknown.
	FailedAt, FirstFailedAt time.Time
	// Service and Host name the worker that gave up; of a retry, Service is the one that consumes its queue.
	Service, Host string
	// SentAt is when it was sent, by its sender's clock.
	SentAt time.Time
	// Delayed says that it has never failed: it was sent to be handled later, through a retry tier.
	Delayed bool
	// DueAt is when it goes back from its retry tier to its work queue. Zero if unknown, and of messages elsewhere.
	DueAt time.Time

	// Delivery is the message itself, as the broker delivered it.
	rabbit.Delivery
}

// Since is when the letter failed last, or, if it is delayed, when it was sent. Zero if unknown.
func (l *Letter) Since() time.Time {
	if l.Delayed {
		return l.SentAt
	}
	return l.FailedAt
}

// wait sets what follows from the wait in a tier with that delay, or in none.
func (l *Letter) wait(delay time.Duration) {
	l.Delayed = l.Code == "" && l.Reason == "" && l.Attempts == 0
	if l.FailedAt.IsZero() && l.Attempts == 1 && l.Replayed == 0 {
		l.FailedAt = l.FirstFailedAt
	}
	if delay == 0 {
		return
	}
	l.DueAt = wire.Time(l.Headers, wire.NotBefore)
	if since := l.Since(); l.DueAt.IsZero() && !since.IsZero() {
		l.DueAt = since.Add(delay)
	}
}

// diedIn returns the last queue from which RabbitMQ took a message to the given one.
func diedIn(queue string, h rabbit.Table) string {
	deaths, _ := h["x-death"].([]any)
	for _, entry := range deaths {
		death, _ := entry.(rabbit.Table)
		if from := wire.Text(death, "queue"); from != queue {
			return from
		}
	}
	return ""
}

// brokersReason returns why RabbitMQ dead-lettered a message itself. It is sure if x-death names the queue: a worker
// removes such entries, so RabbitMQ came last, whatever an earlier failure left in the headers.
func brokersReason(queue string, h rabbit.Table) (reason string, at time.Time, sure bool) {
	deaths, _ := h["x-death"].([]any)
	for _, entry := range deaths {
		death, _ := entry.(rabbit.Table)
		if from := wire.Text(death, "queue"); from == queue {
			return wire.Text(death, "reason"), wire.Time(death, "time"), true
		}
	}
	return cmp.Or(wire.Text(h, "x-last-death-reason"), wire.Text(h, "x-first-death-reason")), time.Time{}, false
}
