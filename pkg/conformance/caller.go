package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A callOrder is one line by which the kit has told the client to make a call.
type callOrder struct {
	s    *session
	id   string
	from int
	at   time.Time // before the client had it
}

// call tells the client to make a call. The payload has its id.
func (s *session) call(more map[string]any, timeout time.Duration) callOrder {
	a := callOrder{s: s, id: s.id(), from: s.trace.now(), at: time.Now()}
	body := map[string]any{"id": a.id, "do": doSucceed}
	maps.Copy(body, more)
	s.write(map[string]any{"call": body, "timeout_ms": timeout.Milliseconds()})
	return a
}

// An outcome is how a call has ended, as the client says.
type outcome struct {
	ID    string          `json:"id"`
	Reply json.RawMessage `json:"reply"`
	Error *struct {
		Code   string `json:"code"`
		Reason string `json:"reason"`
	} `json:"error"`

	at time.Time
}

func outcomeOf(e event) (o outcome, ok bool) {
	if e.what != said || json.Unmarshal([]byte(e.text), &o) != nil {
		return o, false
	}
	o.at = e.at
	return o, o.Reply != nil || o.Error != nil
}

// String says how the call has ended.
func (o outcome) String() string {
	if o.Error != nil {
		return fmt.Sprintf("the error %q", o.Error.Code)
	}
	return fmt.Sprintf("the reply %s", o.Reply)
}

// ends reports whether e says how the call has ended.
func (a callOrder) ends(e event) bool {
	o, ok := outcomeOf(e)
	return ok && o.ID == a.id
}

// outcome waits until the client says how the call has ended.
func (a callOrder) outcome(ctx context.Context) (outcome, verdict) {
	e, err := a.s.await(ctx, a.from, a.ends)
	if err != nil {
		return outcome{}, broken("it does not say how the call has ended: %v", err)
	}
	o, _ := outcomeOf(e)
	return o, kept()
}

// fails waits until the client says that the call has failed, with this code; any code, if it is empty.
func (a callOrder) fails(ctx context.Context, code string) (outcome, verdict) {
	o, v := a.outcome(ctx)
	switch {
	case v.state != Kept:
		return o, v
	case o.Error == nil, code != "" && o.Error.Code != code:
		if code == "" {
			return o, broken("it reports %s, not an error", o)
		}
		return o, broken("it reports %s, not the error %q", o, code)
	}
	return o, kept()
}

// succeeds waits until the client says that the call has got its own reply.
func (a callOrder) succeeds(ctx context.Context) (outcome, verdict) {
	o, v := a.outcome(ctx)
	if v.state != Kept {
		return o, v
	}
	var got payload
	if err := json.Unmarshal(o.Reply, &got); o.Error != nil || err != nil || got.ID != a.id {
		return o, broken("it reports %s, not the reply to this call", o)
	}
	return o, kept()
}

func (a callOrder) is(e event) bool {
	return (e.what == published || e.what == arrived) && bytes.Contains(e.message.body, []byte(a.id))
}

// request waits until the client has published the request.
func (a callOrder) request(ctx context.Context) (*message, verdict) { return a.await(ctx, published) }

// arrives waits until the kit, as the service, has the request.
// Its body is what the payload should be: that is judged elsewhere.
func (a callOrder) arrives(ctx context.Context) (*message, verdict) {
	m, v := a.await(ctx, arrived)
	if v.state != Kept {
		return nil, v
	}
	return &message{properties: m.properties, body: asking(a.id, doSucceed)}, kept()
}

func (a callOrder) await(ctx context.Context, at what) (*message, verdict) {
	e, err := a.s.await(ctx, a.from, func(e event) bool { return e.what == at && a.is(e) || a.ends(e) })
	switch o, over := outcomeOf(e); {
	case err != nil:
		return nil, broken("it does not make the call: %v", err)
	case over:
		return nil, broken("it reports %s, without a request", o)
	}
	return e.message, kept()
}

// arrivals counts how often the kit has got the request.
func (a callOrder) arrivals() (n int) {
	for _, e := range a.s.trace.since(a.from) {
		if e.what == arrived && a.is(e) {
			n++
		}
	}
	return n
}

// replying is the reply to a request, as Leveret's workers send it.
func replying(to *message) amqp.Publishing {
	return amqp.Publishing{
		CorrelationId: to.CorrelationID, ContentType: "application/json", DeliveryMode: amqp.Transient,
		Headers: amqp.Table{"leveret-instance": "kit/1"}, Body: to.body,
	}
}

func failing(to *message, body string) amqp.Publishing {
	p := replying(to)
	p.ContentType, p.Body = problemType, []byte(body)
	return p
}

// answers has the client make a call, and gives it that answer.
func (s *session) answers(ctx context.Context, answer func(to *message) amqp.Publishing) (callOrder, verdict) {
	a := s.call(nil, s.Patience)
	m, v := a.arrives(ctx)
	if v.state != Kept {
		return a, v
	}
	if err := s.publish(ctx, "", m.ReplyTo, answer(m)); err != nil {
		return a, untested("%v", err)
	}
	return a, kept()
}

// serve lets the kit be the service that answers: a request that it gets is an event of the trace.
func (s *session) serve() error {
	ch, err := s.admin.Channel()
	if err != nil {
		return err
	}
	requests, err := ch.Consume(Ask, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	go func() { // until the connection ends
		for d := range requests {
			s.trace.add(event{what: arrived, message: &message{
				properties: properties{CorrelationID: d.CorrelationId, ReplyTo: d.ReplyTo}, body: d.Body,
			}})
		}
	}()
	return nil
}
