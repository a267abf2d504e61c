package leveret

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A Verdict is what becomes of a message after its handling.
type Verdict uint8

// The verdicts.
const (
	// VerdictAck: done. A request has been answered, with its reply or with an error.
	VerdictAck Verdict = iota + 1
	// VerdictRetry: handled again after a delay, as a copy with the next attempt's number.
	VerdictRetry
	// VerdictDeadLetter: kept in the queue's dead-letter queue, with the reason in its headers.
	VerdictDeadLetter
	// VerdictDiscard: dropped, by [Discard]. The caller of a request gets the error.
	VerdictDiscard
	// VerdictRequeue: back to the queue, because the worker stops, or is back there already, because the channel that it
	// came on was lost or its consumer cancelled.
	VerdictRequeue
	// VerdictExpired: a request whose caller had given up, or called it off, before it was handled; dropped.
	VerdictExpired
	// VerdictRefused: a request that was not handled but answered with an error: [DeadlineExceeded] where it could not
	// have been done in time; [Aborted] and [ErrOutcomeUnknown] where it is not idempotent and was delivered before, so
	// that it may have been handled.
	VerdictRefused
	// VerdictForbidden: a request that was neither handled nor answered: its reply_to is no address that the worker
	// answers to (see [WorkerConfig]), or it is a reply itself.
	VerdictForbidden
	// VerdictReject: rejected, so that the broker takes it to the DeadLetterQueue of the contract's [Address].
	VerdictReject
	// VerdictDropped: failed, and gone, since its queue belongs to one process and has neither retries nor dead letters: see
	// [SubscribesPerProcess].
	VerdictDropped
)

var verdictNames = [...]string{"none", "ack", "retry", "dead_letter", "discard", "requeue", "expired", "refused", "forbidden", "reject", "dropped"}

// String returns "ack", "retry", "dead_letter", "discard", "requeue", "expired", "refused", "forbidden", "reject" or
// "dropped".
func (v Verdict) String() string {
	if int(v) >= len(verdictNames) {
		return "unknown"
	}
	return verdictNames[v]
}

// An Outcome is what became of a message: a verdict, its reason, and whether it could be carried out.
type Outcome struct {
	Verdict Verdict
	// Err is what the handler returned, or why it was not called; nil if all went well.
	Err error
	// Delay is how long a message to be retried waits.
	Delay time.Duration
	// SettleErr is why the verdict could not be carried out: the message comes again, or its caller has no answer. It is
	// nil if it was. Over RabbitMQ an ack can still be lost with its connection afterwards, and the message comes again.
	SettleErr error
}

// maxDelay is how long RetryAfter can make a message wait.
const maxDelay = 365 * 24 * time.Hour

// judge turns the error of a handling into a verdict. The context is the one that the handler had.
func judge(ctx context.Context, m *Message, err error) Outcome {
	spec, code, after := m.Contract.Spec(), CodeOf(err), min(RetryDelay(err), maxDelay)
	o := Outcome{Verdict: VerdictAck, Err: err}
	switch {
	case err == nil:
	case errors.Is(err, errDiscarded):
		o.Verdict = VerdictDiscard
	case errors.Is(context.Cause(ctx), rabbit.ErrNotConnected): // it comes again
		o.Verdict = VerdictRequeue
	case errors.Is(context.Cause(ctx), rabbit.ErrDraining) &&
		(errors.Is(err, context.Canceled) || errors.Is(err, rabbit.ErrDraining) || code == Canceled):
		o.Verdict = VerdictRequeue
	case spec.exclusive(m.Subscription):
		o.Verdict = spec.givenUp(m.Subscription)
	case m.Attempt < spec.Retry.Attempts && (after > 0 || code.retryable() || slices.Contains(spec.RetryOn, code)):
		o.Verdict, o.Delay = VerdictRetry, max(spec.Retry.delay(m.Attempt, after), after)
	default:
		o.Verdict = spec.givenUp(m.Subscription)
	}
	return o
}

// givenUp returns the verdict on a message that failed for good: of a request, whose caller gets the error, it is ack.
func (s *Spec) givenUp(subscription string) Verdict {
	switch {
	case s.Kind == KindRequest:
		return VerdictAck
	case s.Address != nil && s.Address.DeadLetterQueue != "" && subscription != topology.PerProcess:
		return VerdictReject
	case s.exclusive(subscription):
		return VerdictDropped
	default:
		return VerdictDeadLetter
	}
}

// delay returns the retry tier in which a message waits after its n-th attempt: by the policy, or, where the handler
// asked for a delay, the one of the policy that is nearest to it from above, or else the longest.
func (p RetryPolicy) delay(attempt int, asked time.Duration) time.Duration {
	if asked == 0 {
		return p.Delays[min(attempt, len(p.Delays))-1]
	}
	best := slices.Max(p.Delays)
	for _, d := range p.Delays {
		if d >= asked && d < best {
			best = d
		}
	}
	return best
}
