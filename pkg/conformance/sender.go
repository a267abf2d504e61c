package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func senderRules() []Rule {
	return []Rule{
		{
			ID: "S1", Link: "where-it-travels", check: publishesRight,
			Text: "It must publish a command to `commands` and an event to `events`, with the contract's name as the routing key.",
		},
		{
			ID: "S2", Link: "where-it-travels", check: declaresExactly,
			Text: "It must declare nothing, or exactly what this page says: anything else is refused with 406.",
		},
		{
			ID: "S3", Link: "the-body", needs: []string{"S1"}, check: sendsPayload,
			Text: "It must send the payload alone, as JSON in UTF-8, without a byte order mark.",
		},
		{
			ID: "S4", Link: "sending-a-command-publishing-an-event", needs: []string{"S1"}, check: sendsMandatory,
			Text: "It must publish a command mandatory: where its queue does not exist yet, it would be dropped.",
		},
		{
			ID: "S5", Link: "properties", needs: []string{"S1"}, check: sendsPersistent,
			Text: "It must publish persistent (`delivery_mode` 2).",
		},
		{
			ID: "S6", Link: "properties", needs: []string{"S1"}, check: sendsIDs,
			Text: "It must give each message a `message_id` of its own, of up to 255 bytes: receivers dedupe on it.",
		},
		{
			ID: "S7", Link: "headers", needs: []string{"S1"}, check: sendsOwnHeaders,
			Text: "It must not make a message look like a reply (`leveret-instance`, `application/problem+json`), and not set what RabbitMQ " +
				"writes or obeys: " + brokersHeaders + ".",
		},
		{
			ID: "S8", Link: "sending-a-command-publishing-an-event", needs: []string{"S1"}, check: waitsForConfirm,
			Text: "It must not report success before the broker has confirmed the message.",
		},
		{
			ID: "S9", Link: "sending-a-command-publishing-an-event", needs: []string{"S8"}, check: reportsNacks,
			Text: "It must report a failure if the broker nacks the message, or send it again.",
		},
		{
			ID: "S10", Link: "sending-a-command-publishing-an-event", needs: []string{"S4", "S8"}, check: reportsReturns,
			Text: "It must report a failure if a command is returned, although that is confirmed as well, or send it again.",
		},
		{
			ID: "S11", Link: "sending-a-command-publishing-an-event", needs: []string{"S1"}, check: eventsNeedNobody,
			Text: "It must not take an event that nobody listens to for a failure.",
		},
		{
			ID: "S12", Link: "sending-a-command-publishing-an-event", needs: []string{"S6", "S8"}, check: losesConfirm,
			Text: "It must report a failure if the connection is lost before the confirm, or send the message again, under the same " +
				"`message_id`: the broker may have it.",
		},
		{
			ID: "S13", Link: "sending-a-command-publishing-an-event", needs: []string{"S1"}, check: sendsAgain,
			Text: "It must send again after a lost connection, without being started anew.",
		},
	}
}

// told is a line that a sender answers with.
type told struct {
	Sent  *string `json:"sent"`
	Error *struct {
		Code string `json:"code"`
	} `json:"error"`
}

func toldBy(line string) (t told, ok bool) {
	err := json.Unmarshal([]byte(line), &t)
	return t, err == nil && (t.Sent != nil || t.Error != nil)
}

// An order is one line that the kit has written to the client's standard input.
type order struct {
	s    *session
	id   string
	from int
}

// tell writes a line for the client. The payload has the order's id.
func (s *session) tell(verb string, more map[string]any) order {
	o := order{s: s, id: s.id(), from: s.trace.now()}
	body := map[string]any{"id": o.id, "do": doSucceed}
	maps.Copy(body, more)
	s.write(map[string]any{verb: body})
	return o
}

// write writes a line of JSON to the client's standard input.
func (s *session) write(value map[string]any) {
	line, err := json.Marshal(value)
	if err != nil { // of the kit's own making: the client will not answer
		return
	}
	in := s.client.in
	go func() { _, _ = in.Write(append(line, '\n')) }() // it ends when the client reads, or ends
}

// done waits for the client's answer.
func (o order) done(ctx context.Context) (told, error) {
	return o.doneWithin(ctx, o.s.Patience)
}

func (o order) doneWithin(ctx context.Context, d time.Duration) (told, error) {
	e, err := o.s.awaitFor(ctx, d, o.from, func(e event) bool {
		_, ok := toldBy(e.text)
		return e.what == said && ok
	})
	t, _ := toldBy(e.text)
	return t, err
}

// published are what the client has published for the order.
func (o order) published() (all []event) {
	for _, e := range o.s.trace.since(o.from) {
		if e.what == published && bytes.Contains(e.message.body, []byte(o.id)) {
			all = append(all, e)
		}
	}
	return all
}

// sent waits until the client says that it has sent the message, and returns what it published.
func (o order) sent(ctx context.Context) (event, verdict) {
	t, err := o.done(ctx)
	switch {
	case err != nil:
		return event{}, broken("it does not say what became of the message: %v", err)
	case t.Error != nil:
		return event{}, broken("it reports the error %q", t.Error.Code)
	}
	all := o.published()
	if len(all) == 0 {
		e, err := o.s.await(ctx, o.from, func(e event) bool { return e.what == published })
		if err != nil {
			return event{}, broken("it published nothing")
		}
		return e, kept()
	}
	return all[len(all)-1], kept()
}

func (s *session) sends(ctx context.Context, verb string, more map[string]any) (*message, verdict) {
	e, v := s.tell(verb, more).sent(ctx)
	return e.message, v
}

const (
	sendCommand  = "send"
	publishEvent = "publish"
)

func publishesRight(ctx context.Context, s *session) verdict {
	for verb, want := range map[string][2]string{sendCommand: {commands.Name, Work}, publishEvent: {events.Name, Happened}} {
		m, v := s.sends(ctx, verb, nil)
		switch {
		case v.state != Kept && declaresExactly(ctx, s).state != Kept:
			return untested("the broker refused what the client declares")
		case v.state != Kept && verb == publishEvent:
			continue // see the rule on events that nobody listens to
		case v.state != Kept:
			return v
		case m.exchange != want[0] || m.key != want[1]:
			return broken("to %s, it published to the exchange %q with the routing key %q, not to %s with %s", verb, m.exchange, m.key, want[0], want[1])
		}
	}
	return kept()
}

func sendsPayload(ctx context.Context, s *session) verdict {
	m, v := s.sends(ctx, sendCommand, samplePayload)
	if v.state != Kept {
		return v
	}
	return samePayload(m)
}

// samplePayload has what is easily changed on the way.
var samplePayload = map[string]any{
	"text": "é ü \"quoted\" \u2028", "nested": map[string]any{"list": []any{1.5, nil, true}}, "ms": float64(7),
}

// samePayload judges that a body is the sample, as JSON.
func samePayload(m *message) verdict {
	var got map[string]any
	if err := json.Unmarshal(m.body, &got); err != nil {
		return broken("its body is not JSON: %v", err)
	}
	for name, want := range samplePayload {
		if !reflect.DeepEqual(got[name], want) {
			return broken("in its body, %s is %#v, not %#v", name, got[name], want)
		}
	}
	if got["do"] != doSucceed {
		return broken("its body is %q, not the payload", m.body)
	}
	return kept()
}

func sendsMandatory(ctx context.Context, s *session) verdict {
	m, v := s.sends(ctx, sendCommand, nil)
	if v.state == Kept && !m.mandatory {
		return broken("it is not mandatory")
	}
	return v
}

func sendsPersistent(ctx context.Context, s *session) verdict {
	m, v := s.sends(ctx, sendCommand, nil)
	if v.state == Kept && m.DeliveryMode != amqp.Persistent {
		return broken("delivery_mode is %d", m.DeliveryMode)
	}
	return v
}

func sendsIDs(ctx context.Context, s *session) verdict {
	seen := make(map[string]bool)
	for range 5 {
		o := s.tell(sendCommand, nil)
		e, v := o.sent(ctx)
		if v.state != Kept {
			return v
		}
		t, err := o.done(ctx)
		switch id := e.message.MessageID; {
		case id == "":
			return broken("message_id is not set")
		case seen[id]:
			return broken("two messages have the message_id %q", id)
		case err == nil && t.Sent != nil && *t.Sent != id:
			return broken("it says that it sent the message %q, whose message_id is %q", *t.Sent, id)
		default:
			seen[id] = true
		}
	}
	return kept()
}

func sendsOwnHeaders(ctx context.Context, s *session) verdict {
	m, v := s.sends(ctx, sendCommand, nil)
	if v.state != Kept {
		return v
	}
	return ownHeaders(m)
}

// ownHeaders judges that a message does not have what is not its sender's to set.
func ownHeaders(m *message) verdict {
	if m.ContentType == problemType {
		return broken("its content_type is %q", m.ContentType)
	}
	for name := range m.Headers {
		if strings.EqualFold(name, "leveret-instance") || brokersHeader(name) {
			return broken("it sets the header %s", name)
		}
	}
	return kept()
}

// confirmWaits is for how long a confirm is held that a sender has to wait for.
const confirmWaits = 500 * time.Millisecond

func waitsForConfirm(ctx context.Context, s *session) verdict {
	e, v := s.tell(sendCommand, nil).sent(ctx)
	switch {
	case v.state != Kept:
		return v
	case e.tag == 0:
		return broken("its channel has no confirms")
	}
	s.proxy.decide(func(*message) fate { return waits })
	o := s.tell(sendCommand, nil)
	t, err := o.doneWithin(ctx, s.slowly(confirmWaits))
	s.proxy.decide(nil)
	s.proxy.release()
	if err == nil && t.Sent != nil {
		return broken("it reports success while the confirm is held")
	}
	_, v = o.sent(ctx)
	return v
}

// fated lets the first publish of an order fail, and judges that the client does not report success because of it.
func (s *session) fated(ctx context.Context, how fate, failed string) verdict {
	failing := true
	s.proxy.decide(func(*message) fate {
		if failing {
			failing = false
			return how
		}
		return passes
	})
	defer s.proxy.decide(nil)
	o := s.tell(sendCommand, nil)
	t, err := o.done(ctx)
	switch {
	case err != nil:
		return broken("it does not say what became of the message: %v", err)
	case t.Sent != nil && len(o.published()) < 2:
		return broken("the message %s, and it reports success", failed)
	}
	return kept()
}

func reportsNacks(ctx context.Context, s *session) verdict {
	return s.fated(ctx, refuses, "was nacked by the broker")
}

func reportsReturns(ctx context.Context, s *session) verdict {
	return s.fated(ctx, strays, "was returned")
}

func eventsNeedNobody(ctx context.Context, s *session) verdict {
	_, v := s.sends(ctx, publishEvent, nil)
	return v
}

func losesConfirm(ctx context.Context, s *session) verdict {
	first := true
	s.proxy.decide(func(*message) fate {
		if first {
			first = false
			return waits
		}
		return passes
	})
	defer s.proxy.decide(nil)
	o := s.tell(sendCommand, nil)
	if _, err := s.await(ctx, o.from, func(event) bool { return len(o.published()) > 0 }); err != nil {
		return broken("it publishes nothing: %v", err)
	}
	s.proxy.cut()
	t, err := o.done(ctx)
	all := o.published()
	switch {
	case err != nil:
		return broken("it does not say what became of the message: %v", err)
	case t.Sent != nil && len(all) < 2:
		return broken("it reports success, but has no confirm")
	}
	for _, e := range all[1:] {
		if e.message.MessageID != all[0].message.MessageID {
			return broken("it sent the message again under the message_id %q, which was %q", e.message.MessageID, all[0].message.MessageID)
		}
	}
	return kept()
}

func sendsAgain(ctx context.Context, s *session) verdict {
	if _, v := s.sends(ctx, sendCommand, nil); v.state != Kept { // so that there is a connection
		return v
	}
	s.proxy.cut()
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		t, err := s.tell(sendCommand, nil).done(ctx)
		switch {
		case err == nil && t.Sent != nil:
			return kept()
		case err != nil:
			return broken("%v", err)
		case t.Error != nil:
			last = fmt.Errorf("it reports %q", t.Error.Code)
		}
	}
	return broken("nothing is sent for %s: %v", s.Patience, last)
}
