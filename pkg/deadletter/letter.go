package deadletter

import (
	"cmp"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A Letter is one dead letter.
type Letter struct {
	// ID is the message id; empty if the sender set none.
	ID string
	// Queue is the work queue in which the message failed.
	Queue string
	// Contract is the message's type.
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
	// Service and Host name the worker that gave up.
	Service, Host string
	// SentAt is when it was sent, by its sender's clock.
	SentAt time.Time

	// Delivery is the message itself, as the broker delivered it.
	rabbit.Delivery
}

// letter makes a Letter of a message in the dead-letter queue of a work queue.
func letter(queue string, d rabbit.Delivery) *Letter {
	h, f := d.Headers, wire.FailureOf(d.Headers)
	l := &Letter{
		ID: d.MessageId, Queue: queue, Contract: d.Type, Attempts: f.Attempts, Replayed: wire.Count(h, wire.Replayed),
		FirstFailedAt: f.FirstAt, SentAt: wire.Time(h, wire.SentAt), Delivery: d,
	}
	if l.SentAt.IsZero() {
		l.SentAt = d.Timestamp
	}
	if reason, at, ok := brokersReason(queue, h); ok || f.Code == "" {
		l.Reason, l.FailedAt = reason, at
		return l
	}
	l.Code, l.Reason, l.Error, l.FailedAt, l.Service, l.Host = f.Code, f.Reason, f.Message, f.At, f.Service, f.Host
	return l
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

// revived returns the message as it goes back to its queue: the same body, ids and properties, without the failure
// headers, so that its attempts count from one. When it first failed stays, and so does how often it was replayed.
func (l *Letter) revived() rabbit.Publishing {
	p := wire.Copy(&l.Delivery)
	wire.ClearFailure(p.Headers)
	p.Headers[wire.Replayed] = int64(l.Replayed) + 1
	return p
}
