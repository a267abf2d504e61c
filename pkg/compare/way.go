package compare

import (
	"context"
	"errors"
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
	// same as the one that does not.
	Retries bool
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
