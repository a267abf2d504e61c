//go:build !short

package peers

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// retryByHand describes Retry for libraries that have no retries but can reject a delivery.
const retryByHand = "not the library's own: the broker dead-letters rejected deliveries into a tier declared by hand, from which they come " +
	"back; nothing counts the attempts."

// declareRetryByHand declares a work queue whose rejected messages wait in the tier.
func declareRetryByHand(ch *amqp.Channel, s Setting) error {
	if err := ch.ExchangeDeclare(commands, "direct", true, false, false, false, nil); err != nil {
		return err
	}
	args := WorkArgs(s.Queue)
	args["x-dead-letter-exchange"] = retryTier
	if err := declareBound(ch, commands, s.Queue, s.Queue, args); err != nil {
		return err
	}
	return declareRetry(ch, s)
}

// returned holds the ids of returned messages, for libraries that report returns separately from confirms.
type returned struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (r *returned) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = make(map[string]bool)
	}
	r.ids[id] = true
}

// take reports whether a message was returned, and forgets it.
func (r *returned) take(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.ids[id]
	delete(r.ids, id)
	return was
}

// ring is a Pipeline over operations whose outcome arrives later.
type ring struct {
	outcomes    []func() error
	first, used int
	failed      error
}

func newRing(window int) *ring { return &ring{outcomes: make([]func() error, window)} }

// add adds an operation. If the ring is full, it waits for the oldest one.
func (r *ring) add(outcome func() error) {
	if r.used == len(r.outcomes) {
		r.finishOldest()
	}
	r.outcomes[(r.first+r.used)%len(r.outcomes)] = outcome
	r.used++
}

func (r *ring) finishOldest() {
	if err := r.outcomes[r.first](); err != nil && r.failed == nil {
		r.failed = err
	}
	r.first = (r.first + 1) % len(r.outcomes)
	r.used--
}

func (r *ring) flush() error {
	for r.used > 0 {
		r.finishOldest()
	}
	err := r.failed
	r.failed = nil
	return err
}

// awaitConsumers calls ready when the queue has a consumer, for libraries that do not report when they consume.
func awaitConsumers(ctx context.Context, s Setting, ready func()) error {
	conn, err := amqp.Dial(s.URL)
	if err != nil {
		return err
	}
	defer conn.Close()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		ch, err := conn.Channel() // a missing queue closes the channel
		if err != nil {
			return err
		}
		q, err := ch.QueueDeclarePassive(s.Queue, true, false, false, false, nil)
		if err == nil {
			err = ch.Close()
		}
		if e, ok := errors.AsType[*amqp.Error](err); err != nil && !(ok && e.Code == amqp.NotFound) {
			return err
		}
		if q.Consumers > 0 {
			ready()
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil
		}
	}
}
