package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const (
	// firstBudget is how long letters are held before they are put back for a while. RabbitMQ's consumer timeout, which no
	// client can ask for, is 30 minutes by default.
	firstBudget = 10 * time.Minute
	// leastBudget is the least that is tried.
	leastBudget = 100 * time.Millisecond
	// comingBack is how long the next round waits for what goes back to the queue: the broker confirms that a channel is closed
	// before the queue has all that the channel held.
	comingBack = 10 * time.Second
)

// ErrHeldTooLong is the error of a source that cannot be read to its end within the broker's consumer timeout.
var ErrHeldTooLong = errors.New("the broker's consumer timeout is too short to read that many messages")

// errPaused ends what waits while letters are held.
var errPaused = errors.New("letters are put back for a while")

// work is what is done with a source in rounds.
type work interface {
	// round works until that time. It reports whether all is done.
	round(ctx context.Context, r *reader, until time.Time) (finished bool, err error)
	// closed is called when the reader has been closed, with the error of that. It returns the error that matters.
	closed(r *reader, err error) error
	// between is called before all rounds but the first, while no letter is held.
	between(ctx context.Context) error
	// progress grows with what is done.
	progress() int
	// left is how many messages the source has at least, unless others take some.
	left() int
}

// rounds works on a source in rounds, until it has finished. Between them all letters that are held go back: the broker
// takes back what is held for longer than its consumer timeout. A round begins at the head of the queue again, so it has
// to get further than the one before.
func (s *Store) rounds(ctx context.Context, from Source, w work) error {
	struck := false // by the consumer timeout, which may cost the connection of RabbitMQ 4.3
	for budget := s.budget; ; {
		r, err := open(ctx, s.consume, from.Name, s.consumerName())
		if struck && errors.Is(err, rabbit.ErrNotConnected) {
			struck = false
			continue
		}
		if err != nil {
			return err
		}
		before, begun := w.progress(), time.Now()
		finished, err := w.round(ctx, r, begun.Add(budget))
		finished = finished && err == nil
		lasted := time.Since(begun)
		closing := r.close(ctx)
		tookBack := errors.Is(err, rabbit.ErrTookBack) || errors.Is(closing, rabbit.ErrTookBack)
		closing = w.closed(r, closing)
		struck = tookBack
		switch {
		case ctx.Err() != nil && !finished:
			return fmt.Errorf("it ended early: %w", context.Cause(ctx))
		case tookBack && !finished:
			budget = min(budget, lasted) / 2
		case err != nil || finished:
			return cmp.Or(err, closing)
		}
		s.awaitReturn(ctx, from, w.left())
		if err := w.between(ctx); err != nil {
			return err
		}
		if w.progress() <= before && (!tookBack || budget < leastBudget) {
			return fmt.Errorf("the queue %s: %w", from.Name, ErrHeldTooLong)
		}
	}
}

// awaitReturn returns once a source has that many messages, or a while later: others may have taken some.
func (s *Store) awaitReturn(ctx context.Context, from Source, left int) {
	for until := time.Now().Add(comingBack); time.Now().Before(until) && ctx.Err() == nil; {
		if n, err := s.Count(ctx, from); err == nil && n >= left {
			return
		}
		contexts.Sleep(ctx, quiet/10)
	}
}

// consumerName begins the consumer tags of readers.
func (s *Store) consumerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return fmt.Sprintf("%.100s on %.100s (pid %d)", cmp.Or(s.Reader, "leveret"), host, os.Getpid())
}
