package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func answererRules() []Rule {
	return []Rule{
		{
			ID: "A1", Link: "where-it-travels", early: true, check: declaresExactly,
			Text: "It must declare nothing, or exactly what this page says: anything else is refused with 406.",
		},
		{
			ID: "A2", Link: "being-a-worker", early: true, needs: []string{"A1"}, check: manualAcks,
			Text: "It must consume the queue of its request with manual acks.",
		},
		{
			ID: "A3", Link: "being-a-worker", needs: []string{"A2"}, check: boundPrefetch,
			Text: "It must set a prefetch count before it consumes: without one it is sent the whole queue.",
		},
		{
			ID: "A4", Link: "being-a-worker", needs: []string{"A2"}, check: answers,
			Text: "It must publish the answer to the default exchange with the request's `reply_to` as the routing key, when the work is " +
				"done, and ack the request after that.",
		},
		{
			ID: "A5", Link: "properties", needs: []string{"A4"}, check: copiesCorrelation,
			Text: "It must give the answer the `correlation_id` of the request; where there is none, its `message_id` stands in.",
		},
		{
			ID: "A6", Link: "being-a-worker", needs: []string{"A4"}, check: plainAnswers,
			Text: "It must not publish answers mandatory: a caller that has gone is no error.",
		},
		{
			ID: "A7", Link: "what-is-a-reply", needs: []string{"A4"}, check: marksReplies,
			Text: "It must mark each answer with the header `leveret-instance`, which names its process.",
		},
		{
			ID: "A8", Link: "making-a-request", needs: []string{"A4"}, check: repliesInJSON,
			Text: "It must answer with a body that is JSON in UTF-8, and without the `content_type` `application/problem+json` " +
				"where that is a reply.",
		},
		{
			ID: "A9", Link: "errors", needs: []string{"A4"}, check: answersErrors,
			Text: "It must answer a request that fails with problem details, whose `content_type` is `application/problem+json` and whose " +
				"`code` is one of the table.",
		},
		{
			ID: "A10", Link: "the-body", needs: []string{"A9"}, check: refusesBodies,
			Text: "It must answer a body that it cannot read with `invalid_argument`.",
		},
		{
			ID: "A11", Link: "the-body", needs: []string{"A4"}, check: unknownInRequests,
			Text: "It must accept fields that it does not know, and skip a byte order mark.",
		},
		{
			ID: "A12", Link: "properties", needs: []string{"A4"}, check: withoutReplyTo,
			Text: "It must handle a request without `reply_to`, with no other property perhaps, and answer nothing.",
		},
		{
			ID: "A13", Link: "which-addresses-are-answered", needs: []string{"A4"}, check: answersCallersAlone,
			Text: "It must answer to addresses of callers alone, and must not handle a request that has another: " +
				"it could be made to write into any queue.",
		},
		{
			ID: "A14", Link: "headers", needs: []string{"A4"}, check: expired,
			Text: "It must not handle a request whose `leveret-deadline` is more than two seconds ago: nobody waits for it.",
		},
		{
			ID: "A15", Link: "what-is-a-reply", needs: []string{"A4"}, check: dropsReplies,
			Text: "It must drop a reply that is in its queue: what has the header `leveret-instance`, or the `content_type` " +
				"`application/problem+json`.",
		},
		{
			ID: "A16", Link: "headers", needs: []string{"A4"}, check: oddRequests,
			Text: "It must ignore a header that is not what it should be, and survive it; and not look at `type` and `content_encoding`.",
		},
		{
			ID: "A17", Link: "making-a-request", needs: []string{"A9"}, check: reconnectsAnswerer,
			Text: "It must connect again after a lost connection, and answer a request that is redelivered with `aborted` and the reason " +
				"`outcome_unknown`, without handling it, unless the contract is idempotent.",
		},
	}
}

// request sends a request, from the kit's own address.
func (s *session) request(ctx context.Context, do string, change func(*amqp.Publishing)) (*course, error) {
	id := s.id()
	p := requesting(id)
	if change != nil {
		change(&p)
	}
	return s.send(ctx, id, asking(id, do), p)
}

// directReply is the address that the broker makes the kit's own.
const directReply = "amq.rabbitmq.reply-to"

func requesting(id string) amqp.Publishing {
	p := usual(id)
	p.DeliveryMode, p.Type, p.ReplyTo, p.CorrelationId, p.Expiration = amqp.Transient, Ask, directReply, "call-of-"+id, "60000"
	return p
}

// answered waits until the client has settled the request, and returns its one answer.
func (c *course) answered(ctx context.Context) (*message, verdict) {
	e, err := c.settled(ctx)
	if err != nil {
		return nil, broken("%v", err)
	}
	// What was published on a connection that was cut a moment later is no answer to the request that came again; nor is the
	// answer to another request, which came again because its ack was lost.
	sent := slices.DeleteFunc(c.copies(), func(p event) bool { return p.conn != e.conn || c.isOther(p.message.CorrelationID) })
	if len(sent) != 1 {
		for _, later := range c.s.trace.since(c.from) {
			if later.what == published && later.at.After(e.at) && later.conn == e.conn {
				return nil, broken("it acked the request before it answered")
			}
		}
		return nil, broken("%s", c.ending(e))
	}
	all := c.deliveries()
	to := all[len(all)-1].message.ReplyTo
	if m := sent[0].message; m.exchange != "" || m.key != to {
		return nil, broken("it published to the exchange %q with the routing key %q, not to %q", m.exchange, m.key, to)
	}
	if e.what != acked {
		return nil, broken("%s", c.ending(e))
	}
	return sent[0].message, kept()
}

// answer sends a request, and returns its answer.
func (s *session) answer(ctx context.Context, do string, change func(*amqp.Publishing)) (*course, *message, verdict) {
	c, err := s.request(ctx, do, change)
	if err != nil {
		return nil, nil, untested("%v", err)
	}
	m, v := c.answered(ctx)
	return c, m, v
}

func answers(ctx context.Context, s *session) verdict {
	c, _, v := s.answer(ctx, doSucceed, nil)
	if v.state != Kept {
		return v
	}
	if err := c.effect(ctx); err != nil {
		return broken("it did not say that the work is done: %v", err)
	}
	id, takes := s.id(), s.slowly(workTakes)
	c, err := s.send(ctx, id, waiting(id, takes), requesting(id))
	if err != nil {
		return untested("%v", err)
	}
	e, err := c.settled(ctx)
	if err != nil {
		return broken("%v", err)
	}
	if took := e.at.Sub(c.deliveries()[0].at); took < takes {
		return broken("the work takes %s, but the ack came %s after the delivery", takes, took.Round(time.Millisecond))
	}
	_, v = c.answered(ctx)
	return v
}

func copiesCorrelation(ctx context.Context, s *session) verdict {
	for _, id := range []string{"call", "0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41", "with space, ü and more"} {
		_, m, v := s.answer(ctx, doSucceed, func(p *amqp.Publishing) { p.CorrelationId = id })
		if v.state == Kept && m.CorrelationID != id {
			v = broken("the answer to the call %q has the correlation_id %q", id, m.CorrelationID)
		}
		if v.state != Kept {
			return v
		}
	}
	_, m, v := s.answer(ctx, doSucceed, func(p *amqp.Publishing) { p.CorrelationId, p.MessageId = "", "the-message" })
	if v.state == Kept && m.CorrelationID != "the-message" {
		return broken("the answer to a request with the message_id \"the-message\" alone has the correlation_id %q", m.CorrelationID)
	}
	_, m, w := s.answer(ctx, doFail, func(p *amqp.Publishing) { p.CorrelationId = "failing" })
	if v.state == Kept && w.state == Kept && m.CorrelationID != "failing" {
		return broken("the error that answers the call \"failing\" has the correlation_id %q", m.CorrelationID)
	}
	return v
}

func plainAnswers(ctx context.Context, s *session) verdict {
	for _, do := range []string{doSucceed, doFail} {
		if _, m, v := s.answer(ctx, do, nil); v.state == Kept && m.mandatory {
			return broken("its answer is mandatory")
		}
	}
	return kept()
}

func marksReplies(ctx context.Context, s *session) verdict {
	for _, do := range []string{doSucceed, doFail} {
		_, m, v := s.answer(ctx, do, nil)
		if v.state != Kept {
			return v
		}
		if text, _ := m.Headers["leveret-instance"].(string); text == "" {
			return broken("leveret-instance is %#v in its answer", m.Headers["leveret-instance"])
		}
	}
	return kept()
}

func repliesInJSON(ctx context.Context, s *session) verdict {
	c, m, v := s.answer(ctx, doSucceed, nil)
	if v.state != Kept {
		return v
	}
	var got payload
	switch err := json.Unmarshal(m.body, &got); {
	case m.ContentType == problemType:
		return broken("its reply has the content_type %q: an error", m.ContentType)
	case err != nil:
		return broken("its reply is not JSON: %v", err)
	case got.ID != c.id || got.Do != doSucceed:
		return broken("its reply is %q, not the payload", m.body)
	}
	return kept()
}

const problemType = "application/problem+json"

// problem judges that an answer is an error with one of these codes; any, if there are none.
func problem(m *message, codes ...string) verdict {
	var got struct {
		Code   *string `json:"code"`
		Reason string  `json:"reason"`
	}
	switch err := json.Unmarshal(m.body, &got); {
	case m.ContentType != problemType:
		return broken("its answer has the content_type %q, not %q", m.ContentType, problemType)
	case err != nil || got.Code == nil:
		return broken("its answer %q has no code", m.body)
	case !isCode(*got.Code):
		return broken("its answer has the code %q, which is not in the table", *got.Code)
	}
	if slices.Contains(codes, *got.Code) {
		return kept()
	}
	return broken("its answer has the code %q, not %q", *got.Code, codes)
}

func answersErrors(ctx context.Context, s *session) verdict {
	for do, code := range map[string]string{doFail: "failed_precondition", doFailNow: "unavailable"} {
		_, m, v := s.answer(ctx, do, nil)
		if v.state == Kept {
			v = problem(m, code)
		}
		if v.state != Kept {
			return verdict{v.state, "of " + do + ": " + v.why}
		}
	}
	return kept()
}

func refusesBodies(ctx context.Context, s *session) verdict {
	for _, b := range bad {
		id := s.id()
		c, err := s.send(ctx, id, []byte(b.body), requesting(id))
		if err != nil {
			return untested("%v", err)
		}
		m, v := c.answered(ctx)
		if v.state == Kept {
			v = problem(m, "invalid_argument")
		}
		if v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of a body that is %s: %s", b.what, v.why)}
		}
	}
	return kept()
}

func unknownInRequests(ctx context.Context, s *session) verdict {
	for _, format := range []string{`{"new": {"nested": [1, null]}, "id": %q, "do": "succeed", "newer": 1.5}`, "\ufeff{\"id\": %q, \"do\": \"succeed\"}"} {
		id := s.id()
		if v := s.replied(ctx, id, fmt.Sprintf(format, id), requesting(id)); v.state != Kept {
			return v
		}
	}
	return kept()
}

// replied sends a request that has to be answered as any other.
func (s *session) replied(ctx context.Context, id, body string, p amqp.Publishing) verdict {
	c, err := s.send(ctx, id, []byte(body), p)
	if err != nil {
		return untested("%v", err)
	}
	m, v := c.answered(ctx)
	switch {
	case v.state != Kept:
		return v
	case m.ContentType == problemType:
		return broken("it answered %q", m.body)
	}
	if err := c.effect(ctx); err != nil {
		return broken("it did not say that the work is done: %v", err)
	}
	return kept()
}

func withoutReplyTo(ctx context.Context, s *session) verdict {
	id := s.id()
	p := requesting(id)
	p.ReplyTo = ""
	for _, p := range []amqp.Publishing{p, {}} {
		id := s.id()
		c, err := s.send(ctx, id, []byte(succeed(id)), p)
		if err != nil {
			return untested("%v", err)
		}
		if v := c.handled(ctx); v.state != Kept {
			return v
		}
	}
	return kept()
}

func answersCallersAlone(ctx context.Context, s *session) verdict {
	for _, to := range []string{"conformance.victim", "conformance.work", "amq.direct", "replies", "reply", "myreply.a.b"} {
		c, err := s.request(ctx, doSucceed, func(p *amqp.Publishing) { p.ReplyTo = to })
		if err != nil {
			return untested("%v", err)
		}
		if v := c.unhandled(ctx); v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of a request with the reply_to %q: %s", to, v.why)}
		}
	}
	for _, to := range []string{"amq.gen-conformance", "reply.conformance.1"} {
		if _, _, v := s.answer(ctx, doSucceed, func(p *amqp.Publishing) { p.ReplyTo = to }); v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of a request with the reply_to %q: %s", to, v.why)}
		}
	}
	return kept()
}

// unhandled judges that a request is neither worked on nor answered.
func (c *course) unhandled(ctx context.Context) verdict {
	e, err := c.settled(ctx)
	switch {
	case err != nil:
		return broken("%v", err)
	case e.requeue || len(c.copies()) > 0:
		return broken("%s", c.ending(e))
	}
	id := c.s.id()
	if v := c.s.replied(ctx, id, succeed(id), requesting(id)); v.state != Kept {
		return verdict{v.state, "of the request that came next: " + v.why}
	}
	if c.effects() > 0 {
		return broken("it did the work")
	}
	return kept()
}

func expired(ctx context.Context, s *session) verdict {
	c, err := s.request(ctx, doSucceed, func(p *amqp.Publishing) {
		*p = with(*p, amqp.Table{"leveret-deadline": time.Now().UTC().Add(-time.Minute).Format(time.RFC3339Nano)})
		p.Expiration = ""
	})
	if err != nil {
		return untested("%v", err)
	}
	e, err := c.settled(ctx)
	if err != nil {
		return broken("%v", err)
	}
	if e.requeue || len(c.copies()) > 1 {
		return broken("%s", c.ending(e))
	}
	id := s.id()
	if v := s.replied(ctx, id, succeed(id), requesting(id)); v.state != Kept {
		return verdict{v.state, "of the request that came next: " + v.why}
	}
	if c.effects() > 0 {
		return broken("it did the work")
	}
	return kept()
}

func dropsReplies(ctx context.Context, s *session) verdict {
	for what, change := range map[string]func(*amqp.Publishing){
		"the header leveret-instance":           func(p *amqp.Publishing) { *p = with(*p, amqp.Table{"leveret-instance": "host/7"}) },
		"the content type of problem documents": func(p *amqp.Publishing) { p.ContentType = problemType },
	} {
		c, err := s.request(ctx, doSucceed, change)
		if err != nil {
			return untested("%v", err)
		}
		if v := c.unhandled(ctx); v.state != Kept {
			return verdict{v.state, "of a message with " + what + ": " + v.why}
		}
	}
	return kept()
}

func oddRequests(ctx context.Context, s *session) verdict {
	for _, headers := range append([]amqp.Table{{"leveret-deadline": "soon"}, {"leveret-deadline": int64(5)}, {"leveret-deadline": amqp.Table{}}}, odd...) {
		if text, _ := headers["leveret-deadline"].(string); text == "2001-01-01T00:00:00Z" {
			continue
		}
		id := s.id()
		if v := s.replied(ctx, id, succeed(id), with(requesting(id), headers)); v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of a request with %s: %s", described(headers), v.why)}
		}
	}
	id := s.id()
	p := requesting(id)
	p.Type, p.ContentEncoding, p.ContentType = "another", "gzip", "text/plain"
	return s.replied(ctx, id, succeed(id), p)
}

func reconnectsAnswerer(ctx context.Context, s *session) verdict {
	var c *course
	var from int
	// What was settled before the connection was cut does not come again: then the work did not take long enough.
	for takes := workTakes; takes <= max(workTakes, s.Patience/4); takes *= 2 {
		id := s.id()
		var err error
		if c, err = s.send(ctx, id, waiting(id, takes), requesting(id)); err != nil {
			return untested("%v", err)
		}
		if _, err := s.await(ctx, c.from, func(event) bool { return len(c.deliveries()) > 0 }); err != nil {
			return broken("it does not take the next request: %v", err)
		}
		from = s.trace.now()
		s.proxy.cut()
		if _, err := s.await(ctx, from, func(e event) bool { return e.what == consuming }); err != nil {
			return broken("it does not consume again: %v", err)
		}
		if !slices.ContainsFunc(s.trace.since(c.from), c.deliveries()[0].settles) {
			break
		}
	}
	if _, err := s.await(ctx, from, func(e event) bool { return e.what == delivered }); errors.Is(err, errEnded) {
		return broken("%v", err)
	} else if err != nil {
		return untested("what it had was not delivered again")
	}
	c.from = from
	m, v := c.answered(ctx)
	if v.state == Kept {
		v = problem(m, "aborted")
	}
	if v.state != Kept {
		return verdict{v.state, "of the request that came again: " + v.why}
	}
	var got struct {
		Reason string `json:"reason"`
	}
	if _ = json.Unmarshal(m.body, &got); got.Reason != "outcome_unknown" {
		return broken("its answer to the request that came again has the reason %q", got.Reason)
	}
	return kept()
}
