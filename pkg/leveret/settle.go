package leveret

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// settle does what the verdict says. The copy of a message that is retried or dead-lettered is confirmed and routed
// before the original is acked: nothing is lost in between, though a crash there leaves two.
func (e *endpoint) settle(ctx context.Context, d *rabbit.Incoming, m *Message, o Outcome) rabbit.Settlement {
	w := e.worker
	if o.Verdict == VerdictAck && o.Err == nil && e.spec.Kind != KindRequest {
		return rabbit.Ack // nothing to tell and nothing to send: the way of nearly all messages
	}
	if o.Err != nil { // what is logged belongs to the message and its trace
		ctx = handlingContext{Context: e.signals.extract(ctx, m.Headers), handling: &handling{message: m}}
	}
	log := w.log.With("queue", e.queue, "contract", e.spec.Name, "message_id", m.ID, "attempt", m.Attempt)
	switch o.Verdict {
	case VerdictAck:
		if e.spec.Kind == KindRequest {
			e.answer(ctx, d, m, o.Err, log)
		}
		return rabbit.Ack
	case VerdictRequeue:
		return rabbit.Requeue
	case VerdictDiscard:
		log.InfoContext(ctx, "message discarded", "error", o.Err)
		if e.spec.Kind == KindRequest {
			e.answer(ctx, d, m, o.Err, log)
		}
		return rabbit.Ack
	case VerdictExpired:
		log.DebugContext(ctx, "request expired before it was handled")
		return rabbit.Ack
	case VerdictRetry:
		log.WarnContext(ctx, "message failed; it is tried again", "error", o.Err, "code", CodeOf(o.Err), "delay", o.Delay)
		p := e.failed(d, o.Err)
		p.Exchange = w.names().RetryTier(o.Delay)
		p.Headers[wire.Attempt] = int64(m.Attempt + 1)
		return e.putAside(ctx, d, p, log)
	default:
		log.ErrorContext(ctx, "message failed; it is dead-lettered", "error", o.Err, "code", CodeOf(o.Err))
		p := e.failed(d, o.Err)
		p.Exchange = w.names().DeadLetterExchange()
		e.explain(p.Headers, m, o.Err)
		return e.putAside(ctx, d, p, log)
	}
}

// failed is a copy of a failed message that is addressed to its queue: on a retry tier's exchange or on that of dead
// letters, the routing key is the queue it belongs to.
func (e *endpoint) failed(d *rabbit.Incoming, err error) *rabbit.Publication {
	p := &rabbit.Publication{RoutingKey: e.queue, Mandatory: true, Publishing: wire.Copy(&d.Delivery)}
	if wire.Time(p.Headers, wire.FirstFailedAt).IsZero() {
		p.Headers[wire.FirstFailedAt] = wire.FormatTime(time.Now())
	}
	p.Headers[wire.ErrorCode] = CodeOf(err).String()
	p.Headers[wire.ErrorMessage] = cut(messageOf(err), maxErrorMessage)
	return p
}

// explain writes into a dead letter why it is one.
func (e *endpoint) explain(headers rabbit.Table, m *Message, err error) {
	w := e.worker
	maps.Copy(headers, rabbit.Table{
		wire.FailedQueue: e.queue,
		wire.FailedAt:    wire.FormatTime(time.Now()),
		wire.Attempts:    int64(m.Attempt),
		wire.Service:     w.service.name,
		wire.Host:        w.instance(),
	})
	for _, past := range []string{wire.Attempt, wire.ErrorReason, wire.Stack} { // of an earlier failure
		delete(headers, past)
	}
	if coded, ok := errors.AsType[*Error](err); ok && coded.Reason != "" {
		headers[wire.ErrorReason] = cut(coded.Reason, 255)
	}
	if p, ok := errors.AsType[*panicked](err); ok && w.config.Stacks {
		headers[wire.Stack] = cut(string(p.stack), maxStack)
	}
}

// putAside publishes the copy of a failed message until that has succeeded, and only then lets the original go. While
// it does not succeed, the message keeps its place in the worker: giving it back would only bring it again at once.
func (e *endpoint) putAside(ctx context.Context, d *rabbit.Incoming, p *rabbit.Publication, log *slog.Logger) rabbit.Settlement {
	// A message whose connection is lost comes again: a copy would be one too many.
	ctx, stop := d.While(ctx)
	defer stop()
	bare, troubled := false, false
	defer func() {
		if troubled {
			e.troubled.Add(-1)
		}
	}()
	for failures := 0; ; failures++ {
		err := e.worker.publisher.Publish(ctx, p)
		tooLarge := errors.Is(err, ErrTooLarge)
		switch {
		case err == nil:
			return rabbit.Ack
		case ctx.Err() != nil:
			return rabbit.Requeue
		case !bare && (tooLarge || errors.Is(err, rabbit.ErrInvalid)): // it has headers that arrived but cannot be sent
			p.Headers, bare = wire.Own(p.Headers), true
			continue
		case tooLarge && !e.external():
			log.ErrorContext(ctx, "a failed message is larger than the broker takes by now; it dead-letters it itself", "error", err)
			return rabbit.Reject
		}
		e.trouble.Store(&err)
		if !troubled {
			troubled = true
			e.troubled.Add(1)
		}
		log.ErrorContext(ctx, "a failed message cannot be put aside; trying again", "exchange", p.Exchange, "error", err)
		e.worker.conn.declarer.Forget(e.topology)
		if err := e.worker.conn.declare(ctx, e.topology); err != nil {
			log.WarnContext(ctx, "cannot declare", "error", err)
		}
		pause := time.NewTimer(rand.N(min(100*time.Millisecond<<min(failures, 10), 30*time.Second)) + time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return rabbit.Requeue
		}
	}
}

// answer sends a reply or an error to the caller, if there is one. It is not confirmed: a reply that is lost ends with
// its caller's deadline.
func (e *endpoint) answer(ctx context.Context, d *rabbit.Incoming, m *Message, err error, log *slog.Logger) {
	if err != nil {
		log.WarnContext(ctx, "request answered with an error", "error", err, "code", CodeOf(err), "asked", m.ReplyTo != "")
	}
	if m.ReplyTo == "" || errors.Is(context.Cause(ctx), errCallerGone) {
		return
	}
	correlation := m.CorrelationID
	if correlation == "" {
		correlation = m.ID // as many foreign callers expect
	}
	p := &rabbit.Publication{RoutingKey: m.ReplyTo, Publishing: rabbit.Publishing{
		MessageId:     newID(),
		CorrelationId: correlation,
		Type:          e.spec.Name,
		ContentType:   contentTypeJSON,
		DeliveryMode:  transient,
		Timestamp:     time.Now(),
		AppId:         e.worker.service.name,
		Headers:       rabbit.Table{wire.Instance: e.worker.instance()},
		Body:          m.Reply,
	}}
	if m.ConversationID != "" { // foreign callers may have none
		p.Headers[wire.Conversation] = m.ConversationID
	}
	if err == nil && len(m.Reply) > rabbit.DefaultMaxBody { // the broker would close the channel, with all that is on it
		err = Errorf(ResourceExhausted, "the reply has %d bytes; the limit is %d", len(m.Reply), rabbit.DefaultMaxBody)
		log.ErrorContext(ctx, "the reply is too large", "error", err)
	}
	if err != nil {
		p.ContentType, p.Body = contentTypeFault, fault(err)
	}
	if m.Redelivered {
		d.AckNow() // what ended the channel last time may have been the reply: not a third time
	}
	if err := d.Reply(ctx, p); err != nil {
		log.WarnContext(ctx, "the reply was not sent", "error", err)
	}
}
