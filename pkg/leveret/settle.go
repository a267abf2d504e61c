package leveret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	e.worker.conn.tel.verdicts.Add(ctx, 1, e.verdicts[o.Verdict])
	request := e.spec.Kind == KindRequest
	switch {
	case o.Err == nil && request:
		return rabbit.Ack, e.answer(ctx, d, m, nil)
	case o.Err == nil, o.Verdict == VerdictExpired:
		return rabbit.Ack, lost(d)
	case o.Verdict == VerdictRequeue:
		return rabbit.Requeue, nil
	}
	n, log := e.worker.conn.names, e.logger(m)
	switch o.Verdict {
	case VerdictRetry:
		log.WarnContext(ctx, "message failed; retrying", "error", o.Err, "code", CodeOf(o.Err), "delay", o.Delay)
		return e.putAside(ctx, d, n.RetryTier(e.worker.Service().name, o.Delay), e.failure(m, o.Err).PutRetry, log)
	case VerdictDeadLetter:
		log.ErrorContext(ctx, "message failed; dead-lettering it", "error", o.Err, "code", CodeOf(o.Err))
		return e.putAside(ctx, d, n.DeadLetterExchange(e.worker.Service().name), e.failure(m, o.Err).PutLetter, log)
	case VerdictDiscard:
		log.InfoContext(ctx, "message discarded", "error", o.Err)
	case VerdictForbidden:
		log.WarnContext(ctx, "request forbidden", "error", o.Err, "code", CodeOf(o.Err))
		return rabbit.Ack, lost(d)
	case VerdictRefused:
		log.DebugContext(ctx, "request refused", "error", o.Err)
	default:
		log.WarnContext(ctx, "request answered with an error", "error", o.Err, "code", CodeOf(o.Err), "asked", m.ReplyTo != "")
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

// putAside publishes the copy of a failed message until that has succeeded, and only then lets the original go. While
// it does not succeed, the message keeps its place in the worker: giving it back would only bring it again at once. The
// exchange is that of a retry tier or that of dead letters, where the routing key is the queue that a message belongs
// to; put writes into the copy's headers what it failed of.
func (e *endpoint) putAside(
	ctx context.Context, d *rabbit.Incoming, exchange string, put func(rabbit.Table), log *slog.Logger,
) (rabbit.Settlement, error) {
	p := &rabbit.Publication{Exchange: exchange, RoutingKey: e.queue, Mandatory: true, Publishing: wire.Copy(&d.Delivery)}
	put(p.Headers)
	// A message whose connection is lost comes again: a copy would be one too many.
	ctx, stop := d.Context(ctx)
	defer stop()
	defer e.trouble.Store(nil) // where others are in trouble, they say so again
	bare := false
	for failures := 0; ; failures++ {
		err := e.worker.publisher.Publish(ctx, p)
		tooLarge := errors.Is(err, ErrTooLarge)
		switch {
		case err == nil:
			return rabbit.Ack, nil
		case ctx.Err() != nil:
			return rabbit.Requeue, fmt.Errorf("a failed message was not put aside: %w", context.Cause(ctx))
		case !bare && (tooLarge || errors.Is(err, rabbit.ErrInvalid)): // it has headers that arrived but cannot be sent
			p.Headers, bare = wire.Own(p.Headers), true
			continue
		case tooLarge && !e.spec.external():
			log.ErrorContext(ctx, "message exceeds the broker's current size limit; rejecting it so that the broker dead-letters it", "error", err)
			return rabbit.Reject, nil
		}
		e.trouble.Store(&err)
		log.ErrorContext(ctx, "a failed message cannot be put aside; trying again", "exchange", p.Exchange, "error", err)
		e.worker.conn.declarer.Forget(e.topology)
		if err := e.worker.conn.declare(ctx, e.topology); err != nil {
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
	p := &rabbit.Publication{RoutingKey: m.ReplyTo, Publishing: rabbit.Publishing{
		MessageId:     newID(),
		CorrelationId: cmp.Or(m.CorrelationID, m.ID), // the latter as many foreign callers expect
		Type:          e.spec.Name,
		ContentType:   contentTypeJSON,
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
