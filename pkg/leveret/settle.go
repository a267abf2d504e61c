package leveret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// errLost is why a message could not be settled.
var errLost = withCode("%w: the channel that the message came on was lost", ErrNotConnected)

// settle does what the verdict says, and returns why it could not. The copy of a message that is retried or
// dead-lettered is confirmed and routed before the original is acked: nothing is lost in between, though a crash there
// leaves two.
func (e *endpoint) settle(ctx context.Context, d *rabbit.Incoming, m *Message, o Outcome) (rabbit.Settlement, error) {
	request := e.spec.Kind == KindRequest
	if reason := e.worker.gate.Err(); reason != nil && !request &&
		(o.Verdict == VerdictRetry || o.Verdict == e.spec.givenUp(e.use.name) && CodeOf(o.Err).retryable()) {
		e.worker.conn.tel.verdicts.Add(ctx, 1, e.verdicts[VerdictRequeue])
		e.logger(m).WarnContext(ctx, "message failed while the worker is paused; leaving it in its queue",
			"error", wire.Cut(o.Err.Error(), wire.MaxMessage), "code", CodeOf(o.Err))
		return rabbit.Requeue, fmt.Errorf("the worker is paused: %w", reason)
	}
	e.worker.conn.tel.verdicts.Add(ctx, 1, e.verdicts[o.Verdict])
	switch {
	case o.Err == nil && request:
		return rabbit.Ack, e.answer(ctx, d, m, nil)
	case o.Err == nil, o.Verdict == VerdictExpired:
		return rabbit.Ack, lost(d)
	case o.Verdict == VerdictRequeue:
		return rabbit.Requeue, lost(d)
	}
	n, log, failed := e.worker.conn.names, e.logger(m), wire.Cut(o.Err.Error(), wire.MaxMessage)
	switch o.Verdict {
	case VerdictRetry:
		log.WarnContext(ctx, "message failed; retrying", "error", failed, "code", CodeOf(o.Err), "delay", o.Delay)
		if asked := RetryDelay(o.Err); asked > o.Delay {
			log.WarnContext(ctx, "RetryAfter was given too long a delay; it is cut", "asked", asked, "delay", o.Delay)
		}
		return e.postpone(ctx, d, time.Now().Add(o.Delay), e.failure(m, o.Err).PutRetry, log)
	case VerdictDeadLetter:
		log.ErrorContext(ctx, "message failed; dead-lettering it", "error", failed, "code", CodeOf(o.Err))
		return e.putAside(ctx, d, n.DeadLetterExchange(e.worker.Service().name), e.failure(m, o.Err).PutLetter, log)
	case VerdictReject:
		log.ErrorContext(ctx, "message failed; rejecting it", "error", failed, "code", CodeOf(o.Err), "dead_letter_queue", e.spec.Address.DeadLetterQueue)
		if d.ConsumerTag == "" { // from the quarantine, whose queue leads nowhere
			return e.putAside(ctx, d, "", e.failure(m, o.Err).PutLetter, log)
		}
		return rabbit.Reject, lost(d)
	case VerdictDropped:
		log.ErrorContext(ctx, "message failed; dropping it, since its queue is this process's own", "error", failed, "code", CodeOf(o.Err))
	case VerdictDiscard:
		log.InfoContext(ctx, "message discarded", "error", failed)
	case VerdictForbidden:
		log.WarnContext(ctx, "request forbidden", "error", failed, "code", CodeOf(o.Err))
		return rabbit.Ack, lost(d)
	case VerdictRefused:
		log.DebugContext(ctx, "request refused", "error", failed)
	default:
		log.WarnContext(ctx, "request answered with an error", "error", failed, "code", CodeOf(o.Err), "asked", m.ReplyTo != "")
	}
	if !request {
		return rabbit.Ack, lost(d)
	}
	return rabbit.Ack, e.answer(ctx, d, m, o.Err)
}

// logger returns a logger that says which message it is about.
func (e *endpoint) logger(m *Message) *slog.Logger {
	return e.worker.log.With("queue", e.queue, "contract", e.spec.Name, "message_id", m.ID, "attempt", m.Attempt)
}

// lost returns errLost if the channel of a delivery has ended.
func lost(d *rabbit.Incoming) error {
	if d.Lost() {
		return errLost
	}
	return nil
}

// failure is what the copy of a failed message says of its failure.
func (e *endpoint) failure(m *Message, err error) wire.Failure {
	w := e.worker
	f := wire.Failure{
		Queue: e.queue, Service: w.Service().name, Host: w.conn.config.Instance,
		Code: CodeOf(err).String(), Message: messageOf(err), Attempts: m.Attempt, At: time.Now(),
	}
	if coded, ok := errors.AsType[*Error](err); ok {
		f.Reason = coded.Reason
		if w.config.Stacks {
			f.Stack = string(coded.stack)
		}
	}
	return f
}

// notBeforeSkew is how much later than maxDelay a message may have to wait by this machine's clock.
const notBeforeSkew = 24 * time.Hour

// early returns until when a delivery has to wait; the zero time if it has not. A time that is further away than any
// that a worker writes is not believed.
func early(d *rabbit.Incoming) time.Time {
	until := wire.Time(d.Headers, wire.NotBefore)
	if wait := time.Until(until); wait <= 0 || wait > maxDelay+notBeforeSkew {
		return time.Time{}
	}
	return until
}

// postpone puts a message aside until the given time. It waits in the retry tier nearest to that from above. Where even
// the longest is too short, the copy says until when it has to wait, and comes back early.
func (e *endpoint) postpone(
	ctx context.Context, d *rabbit.Incoming, until time.Time, put func(rabbit.Table), log *slog.Logger,
) (rabbit.Settlement, error) {
	wait := time.Until(until)
	tier := e.spec.Retry.delay(1, max(wait, 1))
	return e.putAside(ctx, d, e.worker.conn.names.RetryTier(e.worker.Service().name, tier), func(h rabbit.Table) {
		put(h)
		if tier < wait {
			h[wire.NotBefore] = wire.FormatTime(until)
		}
	}, log)
}

// putAside publishes the copy of a failed message until that has succeeded, and only then lets the original go. While
// it does not succeed, the message keeps its place in the worker: giving it back would only bring it again at once. The
// exchange is that of a retry tier or that of dead letters, where the routing key is the queue that a message belongs
// to; or it has no name, and leads to the address's own dead-letter queue. put writes into the copy's headers what it
// failed of.
func (e *endpoint) putAside(
	ctx context.Context, d *rabbit.Incoming, exchange string, put func(rabbit.Table), log *slog.Logger,
) (rabbit.Settlement, error) {
	p := &rabbit.Publication{Exchange: exchange, RoutingKey: e.queue, Mandatory: true, Publishing: wire.CopyOf(&d.Delivery, e.queue)}
	if put(p.Headers); len(e.mates) > 1 {
		e.spec.putHeaders(p.Headers) // again, where a copy has dropped what it is known by
	}
	if exchange == "" {
		p.RoutingKey = e.spec.Address.DeadLetterQueue
	}
	// A message whose connection is lost comes again: a copy would be one too many.
	ctx, stop := d.Context(ctx)
	defer stop()
	for failures := 0; ; failures++ {
		err := e.worker.publisher.Publish(ctx, p)
		switch {
		case err == nil:
			return rabbit.Ack, nil
		case ctx.Err() != nil:
			return rabbit.Requeue, fmt.Errorf("a failed message was not put aside: %w", context.Cause(ctx))
		case (errors.Is(err, ErrTooLarge) || errors.Is(err, rabbit.ErrInvalid)) && (!e.spec.external() || e.spec.givenUp(e.use.name) == VerdictReject):
			log.ErrorContext(ctx, "the broker does not take a copy of the message; rejecting it so that the broker dead-letters it", "error", err)
			return rabbit.Reject, nil
		}
		e.trouble.Store(&err)
		if failures == 0 {
			e.troubled.Add(1)
			defer e.troubled.Add(-1)
		}
		log.ErrorContext(ctx, "a failed message cannot be put aside; trying again", "exchange", p.Exchange, "error", err)
		e.worker.conn.declarer.Forget(e.topology)
		if err := e.worker.conn.Declare(ctx, e.topology); err != nil {
			log.WarnContext(ctx, "cannot declare", "error", err)
		}
		contexts.Sleep(ctx, rand.N(min(100*time.Millisecond<<min(failures, 10), 30*time.Second))+time.Millisecond)
	}
}

// answer sends a reply or an error to the caller, if there is one. It is not confirmed: a reply that is lost ends with
// its caller's deadline.
func (e *endpoint) answer(ctx context.Context, d *rabbit.Incoming, m *Message, err error) error {
	if m.ReplyTo == "" || errors.Is(context.Cause(ctx), errCallerGone) {
		return nil
	}
	n, exchange := e.worker.conn.names, ""
	if strings.HasPrefix(m.ReplyTo, n.ReplyPrefix()) { // the queues of others are not bound to the exchange of replies
		exchange = e.spec.replyExchange(n)
	}
	p := &rabbit.Publication{Exchange: exchange, RoutingKey: m.ReplyTo, Publishing: rabbit.Publishing{
		MessageId:     newID(),
		CorrelationId: cmp.Or(m.CorrelationID, m.ID), // the latter as many foreign callers expect
		Type:          e.spec.messageType(),
		ContentType:   e.spec.ContentType(),
		DeliveryMode:  wire.Transient,
		Timestamp:     time.Now(),
		AppId:         e.worker.Service().name,
		Headers:       rabbit.Table{wire.Instance: e.worker.conn.config.Instance},
		Body:          m.Reply,
	}}
	if m.ConversationID != "" { // foreign callers may have none
		p.Headers[wire.Conversation] = m.ConversationID
	}
	if err != nil {
		p.ContentType, p.Body = contentTypeProblem, EncodeProblem(err)
	}
	if m.Redelivered {
		d.AckNow() // what ended the channel last time may have been the reply: not a third time
	}
	if err := d.Reply(ctx, p); err != nil {
		e.logger(m).WarnContext(ctx, "the reply was not sent", "error", err)
		return fmt.Errorf("the reply was not sent: %w", err)
	}
	return nil
}
