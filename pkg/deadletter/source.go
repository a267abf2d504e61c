package deadletter

import (
	"cmp"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A Source is a queue that keeps messages, and the way back from it: the dead letters of a work queue, the messages that
// wait for a retry, or those whose work queue was gone when their retry was due.
type Source struct {
	// Name is the queue that is read.
	Name string
	// Queue is the work queue in which all its messages failed for good. Where it is empty, each message has its own: it is
	// a retry, whose routing key names the queue, or one of theirs.
	Queue string
	// Theirs says that somebody else's dead-letter exchange fills the queue. Each message says in which queue it failed.
	Theirs bool
	// Service is the service that consumes the work queues. It matters only in the isolated layout, to a user who may not
	// write to the default exchange.
	Service string
	// Delay is how long messages wait in a retry tier; 0 for others.
	Delay time.Duration

	otherwise string                                        // the work queue of one of theirs that does not say it
	consumer  func(queue string) string                     // of retries, which do not say it; nil if unknown
	contract  func(queue string, d *rabbit.Delivery) string // nil: its type is
}

// retries reports whether the messages wait for a retry, or have waited for one.
func (s Source) retries() bool { return s.Queue == "" && !s.Theirs }

// DeadLetters is the dead letters of a work queue.
func (s *Store) DeadLetters(queue string) Source {
	return Source{Name: s.names.DeadLetterQueue(queue), Queue: queue, Service: s.serviceOf(queue), contract: s.Contract}
}

// Rejected is the dead letters in a queue that somebody else's dead-letter exchange fills, as the DeadLetterQueue of an
// address says. They may be of several work queues. One that does not say it, in x-death, failed in the given queue, which
// may be empty. Service is the one that consumes the work queues.
func (s *Store) Rejected(name, queue, service string) Source {
	return Source{Name: name, Theirs: true, Service: service, otherwise: queue, contract: s.Contract}
}

// RetryTier is what waits until it is tried again after a delay. The shared layout ignores the service.
func (s *Store) RetryTier(service string, delay time.Duration) Source {
	return Source{Name: s.names.RetryTier(service, delay), Service: service, Delay: delay, consumer: s.serviceOf, contract: s.Contract}
}

// RetryLost is the messages whose work queue was gone when their retry was due. The shared layout ignores the service.
func (s *Store) RetryLost(service string) Source {
	return Source{Name: s.names.RetryLost(service), Service: service, consumer: s.serviceOf, contract: s.Contract}
}

// serviceOf returns the service that consumes a work queue.
func (s *Store) serviceOf(queue string) string {
	if s.Consumer != nil {
		if service := s.Consumer(queue); service != "" {
			return service
		}
	}
	return s.names.Consumer(queue)
}

// letter makes a Letter of a message in the source.
func (s Source) letter(d rabbit.Delivery) *Letter {
	h, f := d.Headers, wire.FailureOf(d.Headers)
	l := &Letter{
		ID: d.MessageId, Queue: cmp.Or(s.Queue, d.RoutingKey), Source: s.Name, Contract: d.Type, Attempts: f.Attempts, Replayed: wire.Count(h, wire.Replayed),
		FirstFailedAt: f.FirstAt, SentAt: wire.Time(h, wire.SentAt), Delivery: d,
	}
	if l.SentAt.IsZero() {
		l.SentAt = d.Timestamp
	}
	if s.Theirs {
		l.Queue = cmp.Or(diedIn(s.Name, h), f.Queue, s.otherwise)
	}
	if s.contract != nil {
		l.Contract = s.contract(l.Queue, &l.Delivery)
	}
	if s.retries() {
		l.Attempts = max(wire.Count(h, wire.Attempt)-1, 0) // the header counts the attempt to come
	} else if reason, at, ok := brokersReason(l.Queue, h); ok || f.Code == "" {
		l.Reason, l.FailedAt = reason, at
		return l
	}
	l.Code, l.Reason, l.Error, l.FailedAt, l.Service, l.Host = f.Code, f.Reason, f.Message, f.At, f.Service, f.Host
	if s.retries() {
		l.wait(s.Delay)
		if l.Service == "" && s.consumer != nil {
			l.Service = s.consumer(l.Queue)
		}
	}
	return l
}

// returned returns the message of a letter as it goes back to its work queue: the same body, ids and properties. A dead
// letter goes without its failure headers, so that its attempts count from one; when it first failed stays, and so does
// how often it was replayed. A retry goes as it is.
func (s Source) returned(l *Letter) rabbit.Publishing {
	p := wire.Copy(&l.Delivery)
	if key := wire.SentTo(&l.Delivery); key != "" && key != s.Name && key != l.Queue { // of one that the broker dead-lettered
		p.Headers[wire.RoutingKey] = key
	}
	if !s.retries() {
		wire.ClearFailure(p.Headers)
		p.Headers[wire.Replayed] = int64(l.Replayed) + 1
	}
	return p
}
