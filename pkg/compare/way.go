package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/measure"
)

// A Way is one way of asking for the work.
type Way struct {
	// Name is for programs ("grpc"), and Label for people ("gRPC").
	Name, Label string
	// Async says that the work is done after Do has returned: its end is taken from its effect.
	Async bool
	// Protocol is what is spoken: "HTTP/2, without TLS". Connections returns how many are open. Both are only reported;
	// optional.
	Protocol    string
	Connections func() int
	// Do asks once for the work that this id names, and blocks until the reply, or where the way is asynchronous until
	// somebody has taken responsibility. The receiver records its effect under the same id. An error that is
	// leveret.ErrOutcomeUnknown says that the work may have been done; any other, that it certainly was not. Do is safe
	// for concurrent use.
	Do func(ctx context.Context, id string) error
	// Retries says that Do asks again by itself. Such a way is left out of [Comparison.Speed]: without a fault it is the
	// same as the one that does not. [Way.WithRetries] sets it.
	Retries bool
}

// Retries is how a client tries again.
type Retries struct {
	// Try limits one try. Default 1 s.
	Try time.Duration
	// FirstWait limits the first wait between two tries, which is random; the limit doubles up to MaxWait. Default 20 ms
	// and 1 s.
	FirstWait, MaxWait time.Duration
}

// WithRetries returns a way that asks again under the same id, which is the idempotency key, until the work is done,
// the error is one that another try does not change, or the deadline has come. Where an earlier try may have been
// handled, the last error is a leveret.ErrOutcomeUnknown, too.
func (w Way) WithRetries(r Retries) Way {
	once := w.Do
	w.Name, w.Label, w.Retries = w.Name+"-retries", w.Label+" with retries", true
	w.Do = func(ctx context.Context, id string) error { return r.do(ctx, id, once) }
	return w
}

func (r Retries) do(ctx context.Context, id string, once func(context.Context, string) error) error {
	limit := cmp.Or(r.FirstWait, 20*time.Millisecond)
	var unknown error
	for {
		try, cancel := context.WithTimeout(ctx, cmp.Or(r.Try, time.Second))
		err := once(try, id)
		cancel()
		if errors.Is(err, leveret.ErrOutcomeUnknown) {
			unknown = err
		}
		if err == nil || ctx.Err() != nil || !again(err) || !wait(ctx, max(rand.N(limit), leveret.RetryDelay(err))) {
			if err != nil && unknown != nil && !errors.Is(err, leveret.ErrOutcomeUnknown) {
				err = fmt.Errorf("%w (an earlier try: %w)", err, unknown)
			}
			return err
		}
		limit = min(2*limit, cmp.Or(r.MaxWait, time.Second))
	}
}

// again reports whether another try may end better.
func again(err error) bool {
	switch leveret.CodeOf(err) {
	case leveret.Unavailable, leveret.DeadlineExceeded, leveret.ResourceExhausted, leveret.Aborted, leveret.Canceled,
		leveret.Internal, leveret.Unknown:
		return true
	default:
		return errors.Is(err, leveret.ErrOutcomeUnknown)
	}
}

// outcomeOf returns what an error of [Way.Do] reports.
func outcomeOf(err error) measure.Outcome {
	switch {
	case err == nil:
		return measure.OK
	case errors.Is(err, leveret.ErrOutcomeUnknown):
		return measure.Unknown
	default:
		return measure.Failed
	}
}

// wait reports whether d has passed; it returns false once ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
