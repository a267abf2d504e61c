package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// attempts is how often a contract's messages are handled, by default.
const attempts = 5

func workerRules() []Rule {
	return []Rule{
		{
			ID: "W1", Link: "where-it-travels", early: true, check: declaresExactly,
			Text: "It must declare nothing, or exactly what this page says: anything else is refused with 406.",
		},
		{
			ID: "W2", Link: "being-a-worker", needs: []string{"W1"}, early: true, check: manualAcks,
			Text: "It must consume the queue of its command with manual acks: what is acked on delivery is lost with the worker.",
		},
		{
			ID: "W3", Link: "being-a-worker", needs: []string{"W2"}, check: boundPrefetch,
			Text: "It must set a prefetch count before it consumes: without one it is sent the whole queue.",
		},
		{
			ID: "W4", Link: "being-a-worker", needs: []string{"W2"}, check: acksAfterWork,
			Text: "It must ack a message when the work is done, and not before.",
		},
		{
			ID: "W5", Link: "the-body", needs: []string{"W4"}, check: unknownFields,
			Text: "It must accept fields that it does not know: a sender may be newer.",
		},
		{
			ID: "W6", Link: "the-body", needs: []string{"W4"}, check: byteOrderMark,
			Text: "It must skip a byte order mark in front of the body.",
		},
		{
			ID: "W7", Link: "properties", needs: []string{"W4"}, check: noProperties,
			Text: "It must handle a message without any property and header.",
		},
		{
			ID: "W8", Link: "properties", needs: []string{"W4"}, check: otherProperties,
			Text: "It must not look at `type`, `content_type` and `content_encoding`: the queue says what a message is. " +
				"Only `application/problem+json` matters, see W11.",
		},
		{
			ID: "W9", Link: "headers", needs: []string{"W4"}, check: oddHeaders,
			Text: "It must ignore a header that is not what it should be, and survive it.",
		},
		{
			ID: "W10", deadLetters: true, Link: "the-body", needs: []string{"W4"}, check: badBodies,
			Text: "It must make a message whose body it cannot read a dead letter at once: " +
				"empty, `null`, not JSON, not UTF-8, of another type, or followed by something else.",
		},
		{
			ID: "W11", deadLetters: true, Link: "what-is-a-reply", needs: []string{"W4"}, check: deadLettersReplies,
			Text: "It must make a reply a dead letter at once: what has the header `leveret-instance`, or the `content_type` " +
				"`application/problem+json`.",
		},
		{
			ID: "W12", Link: "being-a-worker", needs: []string{"W4"}, check: retries,
			Text: "It must publish a copy of what failed for now to a retry tier, with the name of its queue as the routing key, and " +
				"ack the message then; giving it back to its queue is a hot loop.",
		},
		{
			ID: "W13", Link: "headers", needs: []string{"W12"}, check: countsAttempts,
			Text: "It must set `leveret-attempt` in that copy to one more than the message has; a message without it has 1.",
		},
		{
			ID: "W14", Link: "headers", needs: []string{"W13"}, check: readsNumbers,
			Text: "It must read `leveret-attempt` as an integer of any width, and as digits in a string.",
		},
		{
			ID: "W15", Link: "being-a-worker", needs: []string{"W12"}, check: confirmedCopies,
			Text: "It must ack a message only after the broker has confirmed its copy: until then, the copy may not exist.",
		},
		{
			ID: "W16", Link: "being-a-worker", needs: []string{"W15"}, check: mandatoryCopies,
			Text: "It must publish copies mandatory, and must not ack a message whose copy has come back: its tier is not there.",
		},
		{
			ID: "W17", Link: "being-a-worker", needs: []string{"W7", "W12"}, check: persistentCopies,
			Text: "It must publish copies persistent (`delivery_mode` 2), whatever the message was.",
		},
		{
			ID: "W18", Link: "the-body", needs: []string{"W5", "W6", "W12"}, check: keepsBody,
			Text: "It must keep the body in copies, byte for byte.",
		},
		{
			ID: "W19", Link: "properties", needs: []string{"W8", "W12"}, check: keepsProperties,
			Text: "It must keep `message_id`, `correlation_id`, `type`, `content_type`, `content_encoding`, `timestamp`, `app_id` and " +
				"`priority` in copies.",
		},
		{
			ID: "W20", Link: "headers", needs: []string{"W12"}, check: keepsHeaders,
			Text: "It must keep the sender's headers in copies, and those that name the trace and the conversation.",
		},
		{
			ID: "W21", Link: "headers", needs: []string{"W12"}, check: dropsHeaders,
			Text: "It must drop `CC`, `BCC`, `x-death`, `x-delivery-count`, `x-acquired-count`, `x-first-death-*` and `x-last-death-*` in " +
				"copies, and `user_id` and `expiration`: a copy with `CC` arrives several times, one with `expiration` is lost.",
		},
		{
			ID: "W22", deadLetters: true, Link: "errors", needs: []string{"W13"}, check: givesUp,
			Text: "It must make a message a dead letter when its attempts are used up, which are five by default.",
		},
		{
			ID: "W23", deadLetters: true, Link: "errors", needs: []string{"W4"}, check: deadLettersAtOnce,
			Text: "It must make a message that failed for good a dead letter at once.",
		},
		{
			ID: "W24", Link: "being-a-worker", needs: []string{"W23"}, check: sureDeadLetters,
			Text: "It must reject a message without requeue to make it a dead letter, or publish a copy to `dead-letters`, with the name " +
				"of its queue as the routing key, mandatory, persistent, and confirmed before it acks.",
		},
		{
			ID: "W25", Link: "headers", needs: []string{"W23"}, check: explainsDeadLetters,
			Text: "It must say in such a copy what has happened: `leveret-failed-queue`, `leveret-failed-at`, `leveret-attempts`, " +
				"`leveret-error-code`, `leveret-error-message`, `leveret-service` and `leveret-host`.",
		},
		{
			ID: "W26", Link: "headers", needs: []string{"W12"}, check: waitsUntil,
			Text: "It must not handle a message whose `leveret-not-before` is still to come: a copy goes to a retry tier, " +
				"with its headers as they are.",
		},
		{
			ID: "W27", Link: "properties", needs: []string{"W4"}, check: duplicates, Should: true,
			Text: "It should do the work once if a message comes twice under one `message_id`.",
		},
		{
			ID: "W28", Link: "being-a-worker", needs: []string{"W4"}, check: reconnects,
			Text: "It must go on after a lost connection: connect again, and ack on the channel that delivered. What it had is delivered again.",
		},
	}
}

func manualAcks(ctx context.Context, s *session) verdict {
	consumer, err := s.await(ctx, s.client.from, func(e event) bool { return e.what == consumed && e.queue == s.role.queue })
	for _, e := range s.trace.since(s.client.from) {
		switch {
		case e.what == polled:
			return broken("it polls with basic.get, which takes one message for each turn to the broker and back")
		case e.what == consumed && e.queue != s.role.queue:
			return broken("it consumes %q, not %q", e.queue, s.role.queue)
		}
	}
	if err != nil {
		return broken("it does not consume %q: %v", s.role.queue, err)
	}
	if consumer.noAck {
		return broken("it consumes with no-ack")
	}
	return kept()
}

func boundPrefetch(_ context.Context, s *session) verdict {
	bounds := make(map[[2]int]uint16)
	for _, e := range s.trace.since(s.client.from) {
		at := [2]int{e.conn, int(e.channel)}
		switch {
		case e.what == bounded:
			bounds[at] = e.prefetch
		case e.what == consumed && bounds[at] == 0:
			return broken("it consumes %s without a prefetch count", e.queue)
		}
	}
	return kept()
}

// preconditionFailed is how the broker answers to a declaration that differs from what exists.
const preconditionFailed = 406

func (e event) refusesDeclaration() bool {
	return e.what == closed && e.code == preconditionFailed && strings.Contains(e.text, "inequivalent")
}

func declaresExactly(_ context.Context, s *session) verdict {
	for _, e := range s.trace.since(s.client.from) {
		if e.refusesDeclaration() {
			return broken("the broker says: %s", e.text)
		}
	}
	return kept()
}

// workTakes is how long the work takes that shows whether a worker acks before it.
const workTakes = 500 * time.Millisecond

func acksAfterWork(ctx context.Context, s *session) verdict {
	c, err := s.ask(ctx, doSucceed, usual(s.id()))
	if err != nil {
		return untested("%v", err)
	}
	if v := c.handled(ctx); v.state != Kept {
		return v
	}
	if c, err = s.sendWait(ctx, workTakes); err != nil {
		return untested("%v", err)
	}
	e, err := c.settled(ctx)
	if err != nil {
		return broken("%v", err)
	}
	// A delivery is recorded before the client has it, and an ack after: so the time between them is never too short.
	if took := e.at.Sub(c.deliveries()[0].at); took < workTakes {
		return broken("the work takes %s, but the ack came %s after the delivery", workTakes, took.Round(time.Millisecond))
	}
	return c.handled(ctx)
}

// sendWait sends a message that takes a while.
func (s *session) sendWait(ctx context.Context, d time.Duration) (*course, error) {
	id := s.id()
	return s.send(ctx, id, waiting(id, d), usual(id))
}

func waiting(id string, d time.Duration) []byte {
	return fmt.Appendf(nil, `{"id":%q,"do":%q,"ms":%d}`, id, doWait, d.Milliseconds())
}

func unknownFields(ctx context.Context, s *session) verdict {
	id := s.id()
	return s.takes(ctx, id, fmt.Sprintf(`{"new": {"nested": [1, null]}, "id": %q, "do": "succeed", "newer": 1.5}`, id), usual(id))
}

// takes sends a message that has to be handled as any other.
func (s *session) takes(ctx context.Context, id, body string, p amqp.Publishing) verdict {
	c, err := s.send(ctx, id, []byte(body), p)
	if err != nil {
		return untested("%v", err)
	}
	return c.handled(ctx)
}

func succeed(id string) string { return fmt.Sprintf(`{"id":%q,"do":"succeed"}`, id) }

func byteOrderMark(ctx context.Context, s *session) verdict {
	id := s.id()
	return s.takes(ctx, id, "\ufeff"+succeed(id), usual(id))
}

func noProperties(ctx context.Context, s *session) verdict {
	id := s.id()
	return s.takes(ctx, id, succeed(id), amqp.Publishing{})
}

func otherProperties(ctx context.Context, s *session) verdict {
	for what, change := range map[string]func(*amqp.Publishing){
		"type":             func(p *amqp.Publishing) { p.Type = "another.contract" },
		"content_type":     func(p *amqp.Publishing) { p.ContentType = "text/plain" },
		"content_encoding": func(p *amqp.Publishing) { p.ContentEncoding = "gzip" },
	} {
		id := s.id()
		p := usual(id)
		change(&p)
		if v := s.takes(ctx, id, succeed(id), p); v.state != Kept {
			return verdict{v.state, "of a message with another " + what + ": " + v.why}
		}
	}
	return kept()
}

// odd are headers that are not what they should be.
var odd = []amqp.Table{
	{"leveret-attempt": "many"},
	{"leveret-attempt": int32(-3)},
	{"leveret-attempt": true},
	{"leveret-attempt": 1e300},
	{"leveret-attempt": amqp.Table{"n": int32(1)}},
	{"leveret-attempt": nil},
	{"leveret-attempt": "\xff\xfe"},
	{"leveret-not-before": "soon"},
	{"leveret-not-before": int64(7)},
	{"leveret-not-before": []any{"2030-01-01T00:00:00Z"}},
	{"leveret-not-before": "2001-01-01T00:00:00Z"},
	{"leveret-not-before": "9999-01-01T00:00:00Z"},
	{"leveret-deadline": "2001-01-01T00:00:00Z"},
	{"leveret-sent-at": false, "leveret-conversation-id": []any{}, "leveret-causation-id": int64(1)},
	{"leveret-conversation-id": strings.Repeat("c", 300)},
	{"traceparent": "00-nothing", "tracestate": int32(4), "baggage": "\x00"},
	{"leveret-unknown": amqp.Table{"a": []any{amqp.Table{"b": nil}, int64(1), "\xff", 1.5}}, "": "no name"},
	{"large": strings.Repeat("x", 60<<10)},
}

func oddHeaders(ctx context.Context, s *session) verdict {
	for _, headers := range odd {
		id := s.id()
		if v := s.takes(ctx, id, succeed(id), with(usual(id), headers)); v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of a message with %s: %s", described(headers), v.why)}
		}
	}
	for _, attempt := range []any{"many", int32(-3), amqp.Table{}} {
		c, err := s.ask(ctx, doFailNow, with(usual(s.id()), amqp.Table{"leveret-attempt": attempt}))
		if err != nil {
			return untested("%v", err)
		}
		if _, err := c.settled(ctx); err != nil {
			return broken("of a message with leveret-attempt %v, which fails for now: %v", attempt, err)
		}
	}
	return kept()
}

// described names headers, and shows their values where those are short.
func described(headers amqp.Table) string {
	var all []string
	for name, value := range headers {
		text := fmt.Sprintf("%q", fmt.Sprint(value))
		if len(text) > 40 {
			text = fmt.Sprintf("%d bytes", len(text))
		}
		all = append(all, fmt.Sprintf("%s %s", name, text))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// bad are bodies that nobody can read.
var bad = []struct{ what, body string }{
	{"empty", ""},
	{"null", "null"},
	{"no JSON", "this is no JSON"},
	{"cut off", `{"id":"x","do":"succ`},
	{"followed by something", `{"id":"x","do":"succeed"} {"id":"y"}`},
	{"not UTF-8", "{\"id\":\"x\xff\",\"do\":\"succeed\"}"},
	{"UTF-16", "\xff\xfe{\x00\"\x00i\x00d\x00\"\x00:\x00\"\x00x\x00\"\x00,\x00\"\x00d\x00o\x00\"\x00:\x00\"\x00s\x00u\x00c\x00c\x00e\x00e\x00d\x00\"\x00}\x00"},
	{"an array", `["succeed"]`},
	{"a number", `7`},
}

func badBodies(ctx context.Context, s *session) verdict {
	for _, b := range bad {
		c, err := s.send(ctx, s.id(), []byte(b.body), usual(s.id()))
		if err != nil {
			return untested("%v", err)
		}
		if v := c.deadLettered(ctx); v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of a body that is %s: %s", b.what, v.why)}
		}
	}
	return kept()
}

func deadLettersReplies(ctx context.Context, s *session) verdict {
	problem := usual(s.id())
	problem.ContentType = "application/problem+json"
	for what, p := range map[string]amqp.Publishing{
		"the header leveret-instance":           with(usual(s.id()), amqp.Table{"leveret-instance": "host/7"}),
		"the content type of problem documents": problem,
	} {
		c, err := s.ask(ctx, doSucceed, p)
		if err != nil {
			return untested("%v", err)
		}
		if v := c.deadLettered(ctx); v.state != Kept {
			return verdict{v.state, "of a message with " + what + ": " + v.why}
		}
	}
	return kept()
}

// retry sends a message that fails for now, and returns the copy.
func (s *session) retry(ctx context.Context, p amqp.Publishing) (event, verdict) {
	c, err := s.ask(ctx, doFailNow, p)
	if err != nil {
		return event{}, untested("%v", err)
	}
	return c.retried(ctx)
}

func retries(ctx context.Context, s *session) verdict {
	copied, v := s.retry(ctx, usual(s.id()))
	if v.state == Kept && copied.message.key != s.role.queue {
		return broken("its copy has the routing key %q, not %q", copied.message.key, s.role.queue)
	}
	return v
}

func countsAttempts(ctx context.Context, s *session) verdict {
	for _, had := range []int64{0, 1, 3} {
		p := usual(s.id())
		if had > 0 {
			p = with(p, amqp.Table{"leveret-attempt": had})
		}
		copied, v := s.retry(ctx, p)
		if v.state != Kept {
			return v
		}
		if got, want := copied.message.Headers["leveret-attempt"], max(had, 1)+1; got != want {
			return broken("the copy of a message of attempt %d has leveret-attempt %#v, not %d", max(had, 1), got, want)
		}
	}
	return kept()
}

func readsNumbers(ctx context.Context, s *session) verdict {
	for _, four := range []any{"4", int8(4), uint8(4), int16(4), uint16(4), int32(4), uint32(4), int64(4)} {
		copied, v := s.retry(ctx, with(usual(s.id()), amqp.Table{"leveret-attempt": four}))
		if v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of leveret-attempt as %T: %s", four, v.why)}
		}
		if got := copied.message.Headers["leveret-attempt"]; got != int64(5) {
			return broken("the copy of a message of attempt 4, written as %T, has leveret-attempt %#v, not 5", four, got)
		}
	}
	return kept()
}

func mandatoryCopies(ctx context.Context, s *session) verdict {
	copied, v := s.retry(ctx, usual(s.id()))
	if v.state != Kept {
		return v
	}
	if !copied.message.mandatory {
		return broken("its copy is not mandatory")
	}
	return s.failedCopy(ctx, doFailNow, strays, "came back")
}

func confirmedCopies(ctx context.Context, s *session) verdict {
	copied, v := s.retry(ctx, usual(s.id()))
	switch {
	case v.state != Kept:
		return v
	case copied.tag == 0:
		return broken("its channel has no confirms")
	}
	return s.failedCopy(ctx, doFailNow, refuses, "was nacked by the broker")
}

// failedCopy lets the first copy of a message fail, and judges that the message is not acked because of it.
func (s *session) failedCopy(ctx context.Context, do string, how fate, failed string) verdict {
	id := s.id()
	failing := true
	s.proxy.decide(func(m *message) fate {
		if failing && bytes.Contains(m.body, []byte(id)) {
			failing = false
			return how
		}
		return passes
	})
	defer s.proxy.decide(nil)
	c, err := s.send(ctx, id, asking(id, do), usual(id))
	if err != nil {
		return untested("%v", err)
	}
	e, err := s.await(ctx, c.from, func(e event) bool { return c.settles(e) || e.what == lost || e.what == closed })
	switch {
	case errors.Is(err, errEnded), err != nil && ctx.Err() == nil && len(c.copies()) > 0:
		return kept() // it keeps the message, or leaves it to the next
	case err != nil:
		return broken("%v", err)
	}
	if copies := c.copies(); e.what == acked && len(copies) < 2 {
		return broken("its copy %s, and it acked the message", failed)
	}
	return kept()
}

func persistentCopies(ctx context.Context, s *session) verdict {
	transient := usual(s.id())
	transient.DeliveryMode = amqp.Transient
	for _, p := range []amqp.Publishing{usual(s.id()), transient, {}} {
		copied, v := s.retry(ctx, p)
		if v.state != Kept {
			return v
		}
		if copied.message.DeliveryMode != amqp.Persistent {
			return broken("the copy of a message of delivery_mode %d has delivery_mode %d, not 2", p.DeliveryMode, copied.message.DeliveryMode)
		}
	}
	return kept()
}

func keepsBody(ctx context.Context, s *session) verdict {
	id := s.id()
	body := fmt.Sprintf("\ufeff {\"do\" : \"fail_temporarily\",\t\"big\": 9007199254740993, \"n\": 1.50, \"text\": \"\\u00e9é/\\/\",\r\n \"id\":%q } \n", id)
	c, err := s.send(ctx, id, []byte(body), usual(id))
	if err != nil {
		return untested("%v", err)
	}
	copied, v := c.retried(ctx)
	if v.state == Kept && string(copied.message.body) != body {
		return broken("the body %q became %q", body, copied.message.body)
	}
	return v
}

func keepsProperties(ctx context.Context, s *session) verdict {
	id := s.id()
	p := usual(id)
	p.CorrelationId, p.Type, p.ContentType, p.ContentEncoding = "correlation-of-"+id, "their.type", "text/json", "identity"
	p.AppId, p.Priority, p.Timestamp = "their-app", 3, time.Unix(1_700_000_000, 0)
	copied, v := s.retry(ctx, p)
	if v.state != Kept {
		return v
	}
	got := copied.message.properties
	for _, one := range []struct {
		name      string
		got, want any
	}{
		{"message_id", got.MessageID, p.MessageId},
		{"correlation_id", got.CorrelationID, p.CorrelationId},
		{"type", got.Type, p.Type},
		{"content_type", got.ContentType, p.ContentType},
		{"content_encoding", got.ContentEncoding, p.ContentEncoding},
		{"timestamp", got.Timestamp, p.Timestamp.Unix()},
		{"app_id", got.AppID, p.AppId},
		{"priority", got.Priority, p.Priority},
	} {
		if one.got != one.want {
			return broken("in its copy, %s is %#v, not %#v", one.name, one.got, one.want)
		}
	}
	return kept()
}

func keepsHeaders(ctx context.Context, s *session) verdict {
	want := map[string]any{
		"traceparent":             "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"leveret-conversation-id": "the-conversation",
		"leveret-causation-id":    "the-cause",
		"leveret-sent-at":         "2026-01-02T03:04:05.000000006Z",
		"tenant":                  "theirs",
		"count":                   int64(7),
		"sure":                    true,
		"list":                    []any{"a", int64(2)},
		"table":                   map[string]any{"deep": "er"},
	}
	sent := amqp.Table{}
	maps.Copy(sent, want)
	sent["table"] = amqp.Table{"deep": "er"}
	copied, v := s.retry(ctx, with(usual(s.id()), sent))
	if v.state != Kept {
		return v
	}
	for name, value := range want {
		if got := copied.message.Headers[name]; !reflect.DeepEqual(got, value) {
			return broken("in its copy, the header %s is %#v, not %#v", name, got, value)
		}
	}
	return kept()
}

func dropsHeaders(ctx context.Context, s *session) verdict {
	p := with(usual(s.id()), amqp.Table{
		"CC": []any{"conformance.elsewhere"}, "x-death": []any{amqp.Table{"count": int64(1), "queue": "q", "reason": "expired"}},
		"x-first-death-queue": "q", "x-first-death-reason": "expired", "x-first-death-exchange": "e",
		"x-last-death-queue": "q", "x-last-death-reason": "expired", "x-last-death-exchange": "e",
		"x-acquired-count": int64(1), "x-delivery-count": int64(1),
	})
	p.Expiration, p.UserId = "3600000", s.login.Username()
	copied, v := s.retry(ctx, p)
	if v.state != Kept {
		return v
	}
	for name := range copied.message.Headers {
		lower := strings.ToLower(name)
		if lower == "cc" || lower == "bcc" || lower == "x-death" || strings.HasPrefix(lower, "x-first-death-") ||
			strings.HasPrefix(lower, "x-last-death-") || lower == "x-delivery-count" || lower == "x-acquired-count" {
			return broken("its copy has the header %s", name)
		}
	}
	switch got := copied.message; {
	case got.Expiration != "":
		return broken("its copy has the expiration %q", got.Expiration)
	case got.UserID != "":
		return broken("its copy has the user_id %q", got.UserID)
	}
	return kept()
}

func givesUp(ctx context.Context, s *session) verdict {
	for _, attempt := range []int64{attempts, attempts + 1, 1_000_000} {
		c, err := s.ask(ctx, doFailNow, with(usual(s.id()), amqp.Table{"leveret-attempt": attempt}))
		if err != nil {
			return untested("%v", err)
		}
		if v := c.deadLettered(ctx); v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of attempt %d, which fails for now: %s", attempt, v.why)}
		}
	}
	return kept()
}

func deadLettersAtOnce(ctx context.Context, s *session) verdict {
	c, err := s.ask(ctx, doFail, usual(s.id()))
	if err != nil {
		return untested("%v", err)
	}
	return c.deadLettered(ctx)
}

// deadLetter sends a message that fails for good, and returns the copy that the client publishes, if it does.
func (s *session) deadLetter(ctx context.Context, p amqp.Publishing) (copied *event, v verdict) {
	c, err := s.ask(ctx, doFail, p)
	if err != nil {
		return nil, untested("%v", err)
	}
	if v := c.deadLettered(ctx); v.state != Kept {
		return nil, v
	}
	if all := c.copies(); len(all) > 0 {
		return &all[0], kept()
	}
	return nil, kept()
}

func sureDeadLetters(ctx context.Context, s *session) verdict {
	transient := usual(s.id())
	transient.DeliveryMode = amqp.Transient
	copied, v := s.deadLetter(ctx, transient)
	if v.state != Kept || copied == nil {
		return v
	}
	switch m := copied.message; {
	case m.key != s.role.queue:
		return broken("its copy has the routing key %q, not %q", m.key, s.role.queue)
	case !m.mandatory:
		return broken("its copy is not mandatory")
	case m.DeliveryMode != amqp.Persistent:
		return broken("its copy has delivery_mode %d, not 2", m.DeliveryMode)
	case copied.tag == 0:
		return broken("its channel has no confirms")
	}
	return s.failedCopy(ctx, doFail, refuses, "was nacked by the broker")
}

func explainsDeadLetters(ctx context.Context, s *session) verdict {
	copied, v := s.deadLetter(ctx, with(usual(s.id()), amqp.Table{"leveret-attempt": int64(3)}))
	switch {
	case v.state != Kept:
		return v
	case copied == nil:
		return untested("it rejects: the broker makes the dead letter")
	}
	h := copied.message.Headers
	if h["leveret-failed-queue"] != s.role.queue {
		return broken("leveret-failed-queue is %#v, not %q", h["leveret-failed-queue"], s.role.queue)
	}
	if h["leveret-attempts"] != int64(3) {
		return broken("leveret-attempts is %#v, not 3, as leveret-attempt was", h["leveret-attempts"])
	}
	if text, _ := h["leveret-error-code"].(string); !isCode(text) {
		return broken("leveret-error-code is %#v, which is none of the codes", h["leveret-error-code"])
	}
	if !isTime(h["leveret-failed-at"]) {
		return broken("leveret-failed-at is %#v, not a time of RFC 3339 in UTC", h["leveret-failed-at"])
	}
	for _, name := range []string{"leveret-error-message", "leveret-service", "leveret-host"} {
		if text, _ := h[name].(string); text == "" {
			return broken("%s is %#v, not a text", name, h[name])
		}
	}
	return kept()
}

// isCode reports whether a text is one of the codes, as they are written.
func isCode(text string) bool {
	var code leveret.Code
	return code.UnmarshalText([]byte(text)) == nil && code.String() == text
}

func isTime(value any) bool {
	if _, ok := value.(time.Time); ok {
		return true
	}
	text, _ := value.(string)
	t, err := time.Parse(time.RFC3339Nano, text)
	_, offset := t.Zone()
	return err == nil && offset == 0
}

func waitsUntil(ctx context.Context, s *session) verdict {
	later := time.Now().UTC().Add(time.Hour)
	for _, value := range []any{later.Format(time.RFC3339Nano), later} {
		c, err := s.ask(ctx, doSucceed, with(usual(s.id()), amqp.Table{"leveret-not-before": value, "leveret-attempt": int64(2)}))
		if err != nil {
			return untested("%v", err)
		}
		copied, v := c.retried(ctx)
		if v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of a message that is for an hour from now, as %T: %s", value, v.why)}
		}
		if got := copied.message.Headers["leveret-attempt"]; got != int64(2) {
			return broken("the copy of what came too early has leveret-attempt %#v, not 2 as before", got)
		}
		if !sameTime(copied.message.Headers["leveret-not-before"], later) {
			return broken("the copy of what came too early has leveret-not-before %#v, not %s as before",
				copied.message.Headers["leveret-not-before"], later.Format(time.RFC3339))
		}
		if v := s.marker(ctx); v.state != Kept {
			return v
		}
		if c.effects() > 0 {
			return broken("it worked on a message that is for an hour from now")
		}
	}
	return kept()
}

func sameTime(value any, want time.Time) bool {
	switch v := value.(type) {
	case time.Time:
		return v.Unix() == want.Unix()
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		return err == nil && t.Unix() == want.Unix()
	default:
		return false
	}
}

// marker has a message handled: what the client said before it, the kit has read by then.
func (s *session) marker(ctx context.Context) verdict {
	id := s.id()
	v := s.takes(ctx, id, succeed(id), usual(id))
	if v.state != Kept {
		v.why = "of the message that came next: " + v.why
	}
	return v
}

func duplicates(ctx context.Context, s *session) verdict {
	id := s.id()
	first, err := s.send(ctx, id, []byte(succeed(id)), usual(id))
	if err != nil {
		return untested("%v", err)
	}
	if v := first.handled(ctx); v.state != Kept {
		return v
	}
	second, err := s.send(ctx, id, []byte(succeed(id)), usual(id))
	if err != nil {
		return untested("%v", err)
	}
	e, err := second.settled(ctx)
	if err != nil {
		return broken("%v", err)
	}
	if e.what != acked || len(second.copies()) > 0 {
		return broken("of the second: %s", second.ending(e))
	}
	if v := s.marker(ctx); v.state != Kept {
		return v
	}
	if n := first.effects(); n > 1 {
		return broken("the work was done %d times", n)
	}
	return kept()
}

func reconnects(ctx context.Context, s *session) verdict {
	c, err := s.sendWait(ctx, workTakes)
	if err != nil {
		return untested("%v", err)
	}
	if _, err := s.await(ctx, c.from, func(event) bool { return len(c.deliveries()) > 0 }); err != nil {
		return broken("it does not take the next message: %v", err)
	}
	from := s.trace.now()
	s.proxy.cut()
	if _, err := s.await(ctx, from, func(e event) bool { return e.what == consuming }); err != nil {
		return broken("it does not consume again: %v", err)
	}
	if _, err := c.settled(ctx); err != nil {
		return broken("what it had when the connection was lost: %v", err)
	}
	if v := s.marker(ctx); v.state != Kept {
		return v
	}
	for _, e := range s.trace.since(from) {
		if e.what == closed {
			return broken("after the connection was lost, the broker says: %s", e.text)
		}
	}
	return kept()
}
