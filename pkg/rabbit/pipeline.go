package rabbit

import (
	"context"
	"errors"
	"fmt"
)

// A Pipeline publishes many messages from one goroutine without waiting for each confirm. It is not safe for concurrent
// use; make one for each goroutine. Messages are written in order; after a lost connection those without a confirm are
// published again, which may put them behind later ones.
//
// A message holds its place among the publisher's publishes in flight until a later Publish or Flush has seen its
// outcome: flush after the last.
type Pipeline struct {
	publisher *Publisher
	flights   []*flight // oldest first
	failed    []error
	failures  int
}

// Pipeline makes a pipeline on the publisher, whose limit of publishes in flight it shares.
func (p *Publisher) Pipeline() *Pipeline { return &Pipeline{publisher: p} }

// Publish writes m and returns. It blocks while the connection is down, or too many publishes are in flight. An error
// means that this message was not sent or was refused; outcomes that come later go to done, which may be nil and is
// called from a later Publish or Flush; what it returns is what Flush returns for this message. Cancelling ctx affects
// only this message: the context of Flush bounds the wait for those before it.
func (l *Pipeline) Publish(ctx context.Context, m *Publication, done func(error) error) error {
	f := &flight{Publication: m, done: done}
	if err := l.publisher.begin(ctx, f, l.acquire); err != nil {
		return err
	}
	l.flights = append(l.flights, f)
	return nil
}

// acquire takes a slot. Before that it finishes the oldest publishes, as long as they have their outcomes or there is
// no slot: a pipeline that waited for one while it held others, along with more that do the same, would wait forever.
func (l *Pipeline) acquire(ctx context.Context) error {
	p := l.publisher
	if p.refuses.Load() {
		return errPublisherClosed
	}
	for len(l.flights) > 0 {
		if !l.flights[0].answered() && p.tryAcquire() {
			return nil
		}
		if !l.finishOldest(ctx, false) {
			return p.conn.notSent(ctx)
		}
	}
	return p.acquire(ctx)
}

// maxFailed is how many errors Flush returns.
const maxFailed = 100

// finishOldest waits for the outcome of the oldest publish. Where ctx ends before, it gives that one up, with giveUp;
// or returns false, and the publish keeps its place: the context of a later message does not end it.
func (l *Pipeline) finishOldest(ctx context.Context, giveUp bool) bool {
	p, oldest := l.publisher, l.flights[0]
	settled, err := p.follow(ctx, p.lane.channel, oldest)
	switch {
	case settled:
		p.release()
	case !giveUp && ctx.Err() != nil:
		return false
	default:
		p.abandon(oldest)
	}
	l.flights[0] = nil
	l.flights = l.flights[1:]
	if oldest.done != nil {
		err = oldest.done(err)
	}
	if err != nil {
		if l.failures++; l.failures <= maxFailed {
			l.failed = append(l.failed, err)
		}
	}
	return true
}

// Flush waits until every message has its outcome, or ctx ends. It returns the errors of all that failed since the last
// Flush, joined, and of more than a hundred how many more; nil if and only if every one was confirmed.
func (l *Pipeline) Flush(ctx context.Context) error {
	for len(l.flights) > 0 {
		l.finishOldest(ctx, true)
	}
	failed := l.failed
	if more := l.failures - len(failed); more > 0 {
		failed = append(failed, fmt.Errorf("and %d more", more))
	}
	l.flights, l.failed, l.failures = nil, nil, 0
	return errors.Join(failed...)
}
