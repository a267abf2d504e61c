package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func callerRules() []Rule {
	return []Rule{
		{
			ID: "C1", Link: "where-it-travels", check: requestsRight,
			Text: "It must publish a request to `requests`, with the contract's name as the routing key.",
		},
		{
			ID: "C2", Link: "where-it-travels", check: declaresExactly,
			Text: "It must declare nothing but a reply queue of its own, or exactly what this page says: anything else is refused with 406.",
		},
		{
			ID: "C3", Link: "the-body", needs: []string{"C1"}, check: requestsPayload,
			Text: "It must send the payload alone, as JSON in UTF-8, without a byte order mark.",
		},
		{
			ID: "C4", Link: "making-a-request", needs: []string{"C1"}, check: requestsMandatory,
			Text: "It must publish a request mandatory: where nobody serves it, the caller would wait for nothing.",
		},
		{
			ID: "C5", Link: "which-addresses-are-answered", needs: []string{"C1"}, check: ownAddress,
			Text: "It must set `reply_to` to `amq.rabbitmq.reply-to`, or to an exclusive queue of its own whose name is an address that is " +
				"answered: a queue that stays behind fills up.",
		},
		{
			ID: "C6", Link: "properties", needs: []string{"C1"}, check: unguessable,
			Text: "It must give each request a `correlation_id` of its own that nobody can guess, such as a UUID, of up to 255 bytes: it " +
				"is what tells replies apart, and what calls a request off.",
		},
		{
			ID: "C7", Link: "making-a-request", needs: []string{"C1"}, check: setsExpiration,
			Text: "It must set `expiration`, in milliseconds, to less than it waits: a request that nobody waits for any more would be handled.",
		},
		{
			ID: "C8", Link: "headers", needs: []string{"C1"}, check: requestsOwnHeaders,
			Text: "It must not make a request look like a reply (`leveret-instance`, `application/problem+json`), and not set `CC`, `BCC` and " +
				"headers that begin with `x-`.",
		},
		{
			ID: "C9", Link: "making-a-request", needs: []string{"C1", "C5"}, check: takesReplies,
			Text: "It must take an answer for the reply whatever its `content_type` is, if it has one, but `application/problem+json`; and " +
				"accept fields that it does not know.",
		},
		{
			ID: "C10", Link: "errors", needs: []string{"C1", "C5"}, check: takesErrors,
			Text: "It must take an answer whose `content_type` is `application/problem+json` for an error, with its `code` and its `reason`.",
		},
		{
			ID: "C11", Link: "errors", needs: []string{"C10"}, check: takesUnknown,
			Text: "It must take a `code` that is missing, or none of the table, for `unknown`, also where the error cannot be read.",
		},
		{
			ID: "C12", Link: "the-body", needs: []string{"C9"}, check: survivesBadReplies,
			Text: "It must report an error if it cannot read the reply, and survive it: empty, not JSON, or not UTF-8.",
		},
		{
			ID: "C13", Link: "making-a-request", needs: []string{"C4"}, check: hearsReturns,
			Text: "It must report `unavailable` at once if the request is returned: nobody serves it.",
		},
		{
			ID: "C14", Link: "making-a-request", needs: []string{"C9"}, check: givesUpInTime,
			Text: "It must report `deadline_exceeded` when the time is up, and not before: an answer that comes in time counts.",
		},
		{
			ID: "C15", Link: "making-a-request", needs: []string{"C6", "C9", "C14"}, check: ignoresOthers,
			Text: "It must ignore an answer whose `correlation_id` is missing, or none of a call that waits: it may belong to a call that was " +
				"given up.",
		},
		{
			ID: "C16", Link: "making-a-request", needs: []string{"C6", "C9"}, check: tellsApart,
			Text: "It must give each of several calls at once its own answer, in whichever order they come.",
		},
		{
			ID: "C17", Link: "the-body", needs: []string{"C9"}, check: keepsDigits, Should: true,
			Text: "It should keep all digits of integers beyond 2^53 in a reply.",
		},
		{
			ID: "C18", Link: "making-a-request", needs: []string{"C9"}, check: callsAgain,
			Text: "It must make calls again after a lost connection, without being started anew.",
		},
		{
			ID: "C19", Link: "errors", needs: []string{"C18"}, check: losesReply,
			Text: "It must report an error if the connection is lost before the answer, when its time is up at the latest, and must not " +
				"make the call again by itself: the request may have been handled, and its contract need not be idempotent.",
		},
	}
}

func requestsRight(ctx context.Context, s *session) verdict {
	a := s.call(nil, s.Patience)
	m, v := a.request(ctx)
	switch {
	case declaresExactly(ctx, s).state != Kept:
		return untested("the broker refused what the client declares")
	case v.state != Kept:
		return v
	case m.exchange != requests.Name || m.key != Ask:
		return broken("it published to the exchange %q with the routing key %q, not to %s with %s", m.exchange, m.key, requests.Name, Ask)
	}
	got, v := a.arrives(ctx)
	if v.state != Kept {
		return v
	}
	if err := s.publish(ctx, "", got.ReplyTo, replying(got)); err != nil {
		return untested("%v", err)
	}
	return kept()
}

// requests has the client make a call that gets its reply, and returns the request.
func (s *session) requests(ctx context.Context, more map[string]any) (*message, verdict) {
	a := s.call(more, s.Patience)
	m, v := a.request(ctx)
	if v.state != Kept {
		return nil, v
	}
	got, v := a.arrives(ctx)
	if v.state != Kept {
		return m, kept() // it has published the request, which is all that is judged
	}
	if err := s.publish(ctx, "", got.ReplyTo, replying(got)); err != nil {
		return nil, untested("%v", err)
	}
	return m, kept()
}

func requestsPayload(ctx context.Context, s *session) verdict {
	m, v := s.requests(ctx, samplePayload)
	if v.state != Kept {
		return v
	}
	return samePayload(m)
}

func requestsMandatory(ctx context.Context, s *session) verdict {
	m, v := s.requests(ctx, nil)
	if v.state == Kept && !m.mandatory {
		return broken("it is not mandatory")
	}
	return v
}

func ownAddress(ctx context.Context, s *session) verdict {
	m, v := s.requests(ctx, nil)
	to := ""
	switch {
	case v.state != Kept:
		return v
	case m.ReplyTo == directReply:
		return kept()
	case m.ReplyTo == "":
		return broken("reply_to is not set")
	case !strings.HasPrefix(m.ReplyTo, "amq.gen-") && !strings.HasPrefix(m.ReplyTo, names.ReplyPrefix()):
		return broken("reply_to is %q, which workers do not answer to", m.ReplyTo)
	default:
		to = m.ReplyTo
	}
	for _, e := range s.trace.since(s.client.from) {
		if (e.what == declared || e.what == exists) && e.queue == to && e.exclusive {
			return kept()
		}
	}
	return broken("the queue of its reply_to %q is not exclusive", to)
}

// What an id that nobody can guess is made of, at least: 64 random bits in hexadecimal digits are 16.
const (
	idLength = 16
	idRandom = 8 // characters that differ between any two
)

func unguessable(ctx context.Context, s *session) verdict {
	var seen []string
	for range 4 {
		m, v := s.requests(ctx, nil)
		if v.state != Kept {
			return v
		}
		id := m.CorrelationID
		switch {
		case id == "":
			return broken("correlation_id is not set")
		case len(id) < idLength:
			return broken("the correlation_id %q is short enough to be guessed", id)
		}
		for _, other := range seen {
			if id == other {
				return broken("two requests have the correlation_id %q", id)
			}
			if differing(id, other) < idRandom {
				return broken("the correlation_id %q can be guessed from %q", id, other)
			}
		}
		seen = append(seen, id)
	}
	return kept()
}

// differing counts the bytes by which two texts differ.
func differing(a, b string) int {
	if len(a) < len(b) {
		a, b = b, a
	}
	n := len(a) - len(b)
	for i := range len(b) {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func setsExpiration(ctx context.Context, s *session) verdict {
	m, v := s.requests(ctx, nil)
	if v.state != Kept {
		return v
	}
	switch ms, err := strconv.ParseInt(m.Expiration, 10, 64); {
	case m.Expiration == "":
		return broken("expiration is not set")
	case err != nil || ms <= 0:
		return broken("expiration is %q", m.Expiration)
	case ms >= s.Patience.Milliseconds():
		return broken("expiration is %d, and it waits for %d ms", ms, s.Patience.Milliseconds())
	}
	return kept()
}

func requestsOwnHeaders(ctx context.Context, s *session) verdict {
	m, v := s.requests(ctx, nil)
	if v.state != Kept {
		return v
	}
	return ownHeaders(m)
}

func takesReplies(ctx context.Context, s *session) verdict {
	for what, change := range map[string]func(*amqp.Publishing){
		"as Leveret sends it":                   func(*amqp.Publishing) {},
		"without content_type":                  func(p *amqp.Publishing) { p.ContentType, p.Headers = "", nil },
		"with the content_type text/plain":      func(p *amqp.Publishing) { p.ContentType = "text/plain" },
		"with a type and headers of its own":    func(p *amqp.Publishing) { p.Type, p.Headers["code"] = "other", "not_found" },
		"with fields that it does not know":     func(p *amqp.Publishing) { p.Body = withField(p.Body, "newer", `{"nested": [1, null]}`) },
		"with a field that is called like ours": func(p *amqp.Publishing) { p.Body = withField(p.Body, "code", `"not_found"`) },
	} {
		a, v := s.answers(ctx, func(to *message) amqp.Publishing {
			p := replying(to)
			change(&p)
			return p
		})
		if v.state == Kept {
			_, v = a.succeeds(ctx)
		}
		if v.state != Kept {
			return verdict{v.state, "of a reply " + what + ": " + v.why}
		}
	}
	return kept()
}

// withField puts a field in front of the others of an object.
func withField(body []byte, name, value string) []byte {
	return append(fmt.Appendf(nil, "{%q: %s, ", name, value), bytes.TrimPrefix(body, []byte("{"))...)
}

func takesErrors(ctx context.Context, s *session) verdict {
	for _, want := range []struct{ code, reason string }{{"failed_precondition", "card_declined"}, {"unavailable", ""}, {"not_found", ""}} {
		body := fmt.Sprintf(`{"type": "about:blank", "status": 400, "detail": "no", "code": %q, "reason": %q}`, want.code, want.reason)
		a, v := s.answers(ctx, func(to *message) amqp.Publishing { return failing(to, body) })
		if v.state != Kept {
			return v
		}
		o, v := a.fails(ctx, want.code)
		switch {
		case v.state != Kept:
			return v
		case o.Error.Reason != want.reason:
			return broken("it reports the reason %q, not %q", o.Error.Reason, want.reason)
		}
	}
	return kept()
}

func takesUnknown(ctx context.Context, s *session) verdict {
	for _, body := range []string{`{"code": "E1234"}`, `{"detail": "no"}`, `{"code": 5}`, `no JSON`, ``, `null`, `["not_found"]`} {
		a, v := s.answers(ctx, func(to *message) amqp.Publishing { return failing(to, body) })
		if v.state == Kept {
			_, v = a.fails(ctx, "unknown")
		}
		if v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of the error %q: %s", body, v.why)}
		}
	}
	return kept()
}

func survivesBadReplies(ctx context.Context, s *session) verdict {
	for _, body := range []string{"", "this is no JSON", `{"id":"x","do":"succ`, "{\"id\":\"x\xff\",\"do\":\"succeed\"}"} {
		a, v := s.answers(ctx, func(to *message) amqp.Publishing {
			p := replying(to)
			p.Body = []byte(body)
			return p
		})
		if v.state == Kept {
			_, v = a.fails(ctx, "")
		}
		if v.state != Kept {
			return verdict{v.state, fmt.Sprintf("of the reply %q: %s", body, v.why)}
		}
	}
	return kept()
}

// How long a client waits for an answer, in rules about time.
const (
	shortWait   = time.Second
	longWait    = 5 * time.Second
	answersLate = 500 * time.Millisecond
)

func hearsReturns(ctx context.Context, s *session) verdict {
	s.proxy.decide(func(*message) fate { return strays })
	defer s.proxy.decide(nil)
	_, v := s.call(nil, longWait).fails(ctx, "unavailable")
	if v.state == Broken {
		v.why = "of a request that was returned, " + v.why
	}
	return v
}

func givesUpInTime(ctx context.Context, s *session) verdict {
	if _, v := s.givenUp(ctx); v.state != Kept {
		return v
	}
	a := s.call(nil, longWait)
	m, v := a.arrives(ctx)
	if v.state != Kept {
		return v
	}
	select {
	case <-time.After(answersLate):
	case <-ctx.Done():
	}
	if err := s.publish(ctx, "", m.ReplyTo, replying(m)); err != nil {
		return untested("%v", err)
	}
	if _, v = a.succeeds(ctx); v.state != Kept {
		return broken("of an answer that came after %s, with %s to wait: %s", answersLate, longWait, v.why)
	}
	return kept()
}

// givenUp has the client make a call that is not answered, and returns the request.
func (s *session) givenUp(ctx context.Context) (*message, verdict) {
	a := s.call(nil, shortWait)
	m, v := a.arrives(ctx)
	if v.state != Kept {
		return nil, v
	}
	o, v := a.fails(ctx, "deadline_exceeded")
	if v.state != Kept {
		return nil, v
	}
	// Timers of whole milliseconds may run a little ahead.
	if took := o.at.Sub(a.at); took < shortWait-10*time.Millisecond {
		return nil, broken("it has %s to wait, and gave up after %s", shortWait, took.Round(time.Millisecond))
	}
	return m, kept()
}

func ignoresOthers(ctx context.Context, s *session) verdict {
	late, v := s.givenUp(ctx)
	if v.state != Kept {
		return v
	}
	a := s.call(nil, s.Patience)
	m, v := a.arrives(ctx)
	if v.state != Kept {
		return v
	}
	other, without := replying(m), replying(m)
	other.CorrelationId, other.Body = "of-another-call", []byte(`{"id": "another", "do": "succeed"}`)
	without.CorrelationId, without.Body = "", other.Body
	for _, p := range []amqp.Publishing{replying(late), other, without, replying(m), replying(m)} {
		if err := s.publish(ctx, "", m.ReplyTo, p); err != nil {
			return untested("%v", err)
		}
	}
	if _, v := a.succeeds(ctx); v.state != Kept {
		return v
	}
	next, v := s.answers(ctx, replying) // the second reply to the last call is no reply to this one
	if v.state == Kept {
		_, v = next.succeeds(ctx)
	}
	return v
}

func tellsApart(ctx context.Context, s *session) verdict {
	first, second := s.call(nil, s.Patience), s.call(nil, s.Patience)
	one, v := first.arrives(ctx)
	if v.state != Kept {
		return v
	}
	_, err := s.awaitFor(ctx, s.Patience/4, second.from, func(e event) bool { return e.what == arrived && second.is(e) })
	if errors.Is(err, errEnded) {
		return broken("%v", err)
	}
	if err != nil {
		if err := s.publish(ctx, "", one.ReplyTo, replying(one)); err != nil {
			return untested("%v", err)
		}
		return untested("it makes one call at a time")
	}
	two, v := second.arrives(ctx)
	if v.state != Kept {
		return v
	}
	if e, _ := s.await(ctx, first.from, func(e event) bool { return e.what == arrived }); second.is(e) {
		first, second, one, two = second, first, two, one
	}
	for _, m := range []*message{two, one} {
		if err := s.publish(ctx, "", m.ReplyTo, replying(m)); err != nil {
			return untested("%v", err)
		}
	}
	for _, a := range []callOrder{first, second} {
		if _, v := a.succeeds(ctx); v.state != Kept {
			return v
		}
	}
	return kept()
}

func keepsDigits(ctx context.Context, s *session) verdict {
	const big = "9007199254740993" // 2^53 + 1, the first one that a double changes
	a, v := s.answers(ctx, func(to *message) amqp.Publishing {
		p := replying(to)
		p.Body = withField(p.Body, "big", big)
		return p
	})
	if v.state != Kept {
		return v
	}
	o, v := a.succeeds(ctx)
	if v.state != Kept {
		return v
	}
	var got struct {
		Big json.RawMessage `json:"big"`
	}
	if err := json.Unmarshal(o.Reply, &got); err != nil || strings.Trim(string(got.Big), `"`) != big {
		return broken("%s became %s", big, got.Big)
	}
	return kept()
}

func callsAgain(ctx context.Context, s *session) verdict {
	s.proxy.cut()
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	last := ""
	for ctx.Err() == nil {
		a := s.call(nil, longWait)
		m, v := a.arrives(ctx)
		if v.state == Kept {
			if err := s.publish(ctx, "", m.ReplyTo, replying(m)); err != nil {
				return untested("%v", err)
			}
		}
		o, v := a.outcome(ctx)
		switch {
		case v.state != Kept:
			return v
		case o.Error == nil:
			return kept()
		}
		last = o.String()
	}
	return broken("no call succeeds for %s: it reports %s", s.Patience, last)
}

func losesReply(ctx context.Context, s *session) verdict {
	a := s.call(nil, longWait)
	if _, v := a.arrives(ctx); v.state != Kept {
		return v
	}
	s.proxy.cut()
	e, err := s.await(ctx, a.from, func(e event) bool { return a.ends(e) || e.what == arrived && a.arrivals() > 1 })
	switch o, over := outcomeOf(e); {
	case err != nil:
		return broken("it does not say how the call has ended: %v", err)
	case a.arrivals() > 1:
		return broken("it made the call again")
	case over && o.Error == nil:
		return broken("it reports %s, which it has not got", o)
	}
	return kept()
}
