package deadletter

import (
	"cmp"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
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
	// Attempts is how often it was handled, crashes not counted; 0 where nobody counted.
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
	if reason, at, ok := brokersWord(queue, h); ok || f.Code == "" {
		l.Reason, l.FailedAt = reason, at
		return l
	}
	l.Code, l.Reason, l.Error, l.FailedAt, l.Service, l.Host = f.Code, f.Reason, f.Message, f.At, f.Service, f.Host
	return l
}

// brokersWord is what RabbitMQ says about a message that it dead-lettered on its own. It is sure where it names the
// queue: a worker takes such entries off, so that it was RabbitMQ who had the last word, whatever an earlier failure left
// in the headers.
func brokersWord(queue string, h rabbit.Table) (reason string, at time.Time, sure bool) {
	deaths, _ := h["x-death"].([]any)
	for _, entry := range deaths {
		death, _ := entry.(rabbit.Table)
		if from := wire.Text(death, "queue"); from == queue {
			return wire.Text(death, "reason"), wire.Time(death, "time"), true
		}
	}
	return cmp.Or(wire.Text(h, "x-last-death-reason"), wire.Text(h, "x-first-death-reason")), time.Time{}, false
}

// revived returns the message as it goes back to its queue: body, ids and properties as they were, the story of its
// failure taken off, so that its attempts count from one. What stays is when it failed first and how often it was
// replayed.
func (l *Letter) revived() rabbit.Publishing {
	p := wire.Copy(&l.Delivery)
	wire.ClearFailure(p.Headers)
	p.Headers[wire.Replayed] = int64(l.Replayed) + 1
	return p
}
