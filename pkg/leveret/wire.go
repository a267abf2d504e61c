package leveret

import (
	"cmp"
	"maps"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// clockSkew is how far the clocks of two machines may be apart, at most, before a deadline is believed to have passed.
const clockSkew = 2 * time.Second

// publishing returns a message as it travels.
func (m *Message) publishing(spec Spec, service string) rabbit.Publishing {
	headers := make(rabbit.Table, len(m.Headers)+6)
	maps.Copy(headers, m.Headers)
	spec.putHeaders(headers)
	headers[wire.Conversation] = m.ConversationID
	if m.CausationID != "" {
		headers[wire.Causation] = m.CausationID
	}
	headers[wire.SentAt] = wire.FormatTime(m.SentAt)
	p := rabbit.Publishing{
		MessageId:     m.ID,
		CorrelationId: m.CorrelationID,
		Type:          spec.messageType(),
		ContentType:   spec.ContentType(),
		Priority:      m.Priority,
		Timestamp:     m.SentAt,
		AppId:         service,
		DeliveryMode:  wire.Persistent,
		Headers:       headers,
		Body:          m.Body,
	}
	if spec.Kind == KindRequest {
		p.DeliveryMode = wire.Transient
		if !m.Deadline.IsZero() {
			headers[wire.Deadline] = wire.FormatTime(m.Deadline)
		}
	}
	return p
}

// received converts a delivery that arrived at the time at into a message for a handler. A foreign sender may have left
// out anything but the body.
func received(d *rabbit.Delivery, u use, spec Spec, queue string, at time.Time) *Message {
	m := &Message{
		Contract:       u.contract,
		ID:             d.MessageId,
		CorrelationID:  d.CorrelationId,
		ConversationID: wire.Text(d.Headers, wire.Conversation),
		CausationID:    wire.Text(d.Headers, wire.Causation),
		AppID:          d.AppId,
		SentAt:         cmp.Or(wire.Time(d.Headers, wire.SentAt), d.Timestamp),
		Headers:        d.Headers,
		Body:           d.Body,
		Priority:       d.Priority,
		Received: Received{
			Queue:        queue,
			Subscription: u.name,
			Attempt:      max(wire.Count(d.Headers, wire.Attempt), 1),
			Redelivered:  d.Redelivered,
			ReplyTo:      d.ReplyTo,
			Type:         d.Type,
			RoutingKey:   wire.SentTo(d),
			ContentType:  d.ContentType,
		},
	}
	if spec.Kind != KindRequest && m.ConversationID == "" {
		m.ConversationID = m.CorrelationID
	}
	if m.ConversationID == "" || len(m.ConversationID) > maxShortString { // it becomes a correlation id
		m.ConversationID = m.ID
	}
	if spec.Kind == KindRequest {
		m.Deadline = deadline(d, spec, at)
	}
	return m
}

// deadline returns when the caller of a request that arrived at the time at gives up: the leveret-deadline header if it
// is set, else the arrival plus the expiration, else the arrival plus the contract's timeout.
//
// If the deadline has passed on arrival, though the broker did not drop the request, our clock may be fast. Then the
// request has what its sender kept for the handling, clockSkew at most. A Leveret sender lets a request wait for three
// quarters of its time, the expiration, and keeps the last quarter for the handling (see [rabbit.Requester]): a third
// of the expiration.
func deadline(d *rabbit.Delivery, spec Spec, at time.Time) time.Time {
	until := at.Add(spec.Timeout)
	ms, err := strconv.ParseInt(d.Expiration, 10, 64)
	expires := err == nil && ms > 0 && ms < (24*time.Hour).Milliseconds()
	expiration := time.Duration(ms) * time.Millisecond
	if expires {
		until = at.Add(expiration)
	}
	if t := wire.Time(d.Headers, wire.Deadline); !t.IsZero() {
		until = t
		if expires && t.Before(at) {
			until = at.Add(min(expiration/3, clockSkew))
		}
	}
	return until
}
