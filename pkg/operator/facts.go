package operator

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// Facts collects what a process knows of its queues, for [Serve]. Its zero value is ready, and it is safe for
// concurrent use.
type Facts struct {
	queues sync.Map // of *facts, by name
}

// facts is what is known of one queue.
type facts struct {
	mu              sync.Mutex
	inFlight        map[*leveret.Message]struct{}
	taken, sent     time.Time // the last message was
	handled, failed int64
}

// Watch is middleware that notes the messages that come from a queue. Put it outside other middleware, so that what
// that refuses counts as failed.
func (f *Facts) Watch(next leveret.Handler) leveret.Handler {
	return func(ctx context.Context, m *leveret.Message) error {
		if m.Queue == "" { // over HTTP or gRPC
			return next(ctx, m)
		}
		q := f.of(m.Queue)
		q.begin(m)
		failed := true // if it panics
		defer func() { q.end(m, failed) }()
		err := next(ctx, m)
		failed = err != nil
		return err
	}
}

func (f *Facts) of(queue string) *facts {
	q, ok := f.queues.Load(queue)
	if !ok {
		q, _ = f.queues.LoadOrStore(queue, &facts{inFlight: map[*leveret.Message]struct{}{}})
	}
	return q.(*facts) //nolint:forcetypeassert // nothing else is stored
}

func (q *facts) begin(m *leveret.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight[m] = struct{}{}
	q.taken = time.Now()
	if m.Attempt <= 1 && !m.Redelivered {
		q.sent = m.SentAt
	}
}

func (q *facts) end(m *leveret.Message, failed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.inFlight, m)
	q.handled++
	if failed {
		q.failed++
	}
}

// report returns what is known of all queues, sorted by name.
func (f *Facts) report() []Queue {
	all := []Queue{}
	f.queues.Range(func(name, known any) bool {
		all = append(all, known.(*facts).report(name.(string))) //nolint:forcetypeassert // nothing else is stored
		return true
	})
	slices.SortFunc(all, func(a, b Queue) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (q *facts) report(name string) Queue {
	q.mu.Lock()
	defer q.mu.Unlock()
	var oldest time.Time
	for m := range q.inFlight {
		if !m.SentAt.IsZero() && (oldest.IsZero() || m.SentAt.Before(oldest)) {
			oldest = m.SentAt
		}
	}
	return Queue{
		Name: name, InFlight: len(q.inFlight), OldestSentAt: known(oldest),
		LastTakenAt: q.taken, LastSentAt: known(q.sent), Handled: q.handled, Failed: q.failed,
	}
}

// known is t, or nil if it is zero.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
