package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The waits between two tries of a call: random, and up to a limit that doubles each time; longer where that was asked
// for, by Retry-After for instance.
const (
	firstWait = 20 * time.Millisecond
	maxWait   = time.Second
)

// Call makes a call until it has an outcome, as a [leveret.Client] does over RabbitMQ. try makes one try, and returns
// nil, the other side's answer ([leveret.IsRemote]), or why there is none: leveret.ErrNotConnected if nothing was sent,
// leveret.ErrOutcomeUnknown if something was. While ctx lives, Call tries again after the first of the two, and after
// the second where the contract is idempotent, unless there is an answer that cannot be read: Internal, or
// ResourceExhausted for one that is too large. Its error, where no answer came in time, has the code DeadlineExceeded or
// Canceled, and is a leveret.ErrOutcomeUnknown if something was sent.
func Call(ctx context.Context, m *leveret.Message, try func(context.Context) error) error {
	return call(ctx, m, true, try)
}

// Once is like [Call], but makes a single try, however it ends.
func Once(ctx context.Context, m *leveret.Message, try func(context.Context) error) error {
	return call(ctx, m, false, try)
}

func call(ctx context.Context, m *leveret.Message, retry bool, try func(context.Context) error) error {
	spec := m.Contract.Spec()
	var cancel context.CancelFunc
	if _, ok := ctx.Deadline(); !ok {
		ctx, cancel = context.WithTimeout(ctx, spec.Timeout)
		defer cancel()
	}
	m.Deadline, _ = ctx.Deadline()
	var unknown error // of a try whose request may have been handled
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		err := try(ctx)
		if errors.Is(err, leveret.ErrOutcomeUnknown) && !leveret.IsRemote(err) {
			unknown = err
		}
		again := errors.Is(err, leveret.ErrNotConnected) || spec.Idempotent && errors.Is(err, leveret.ErrOutcomeUnknown) && !unreadable(err)
		delay := leveret.RetryDelay(err)
		switch {
		case err == nil:
			return nil
		case leveret.IsRemote(err), ctx.Err() == nil && (!retry || !again || delay > 0 && delay > time.Until(m.Deadline)):
			return after(unknown, err)
		case ctx.Err() == nil && sleep(ctx, max(rand.N(wait), delay)):
			continue
		}
		code, what := leveret.DeadlineExceeded, "no reply in time"
		if errors.Is(ctx.Err(), context.Canceled) {
			code, what = leveret.Canceled, "the call was cancelled"
		}
		return after(unknown, leveret.Errorf(code, "%s %s: %s: %w: %w", spec.Name, m.ID, what, ctx.Err(), err))
	}
}

// unreadable reports whether an answer came, of which no other can be expected.
func unreadable(err error) bool {
	code := leveret.CodeOf(err)
	return code == leveret.Internal || code == leveret.ResourceExhausted
}

// after adds to an error that an earlier try may have been handled.
func after(unknown, err error) error {
	if unknown == nil || errors.Is(err, leveret.ErrOutcomeUnknown) {
		return err
	}
	return fmt.Errorf("%w (an earlier try: %w)", err, unknown)
}

// sleep reports whether d has passed; it returns false once ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
