package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

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
	answersLate = 500 * time.Millisecond
)

// longWait is for calls that end before it is over.
func (s *session) longWait() time.Duration { return max(5*time.Second, s.Patience/4) }

func hearsReturns(ctx context.Context, s *session) verdict {
	s.proxy.decide(func(*message) fate { return strays })
	defer s.proxy.decide(nil)
	_, v := s.call(nil, s.longWait()).fails(ctx, "unavailable")
	if v.state == Broken {
		v.why = "of a request that was returned, " + v.why
	}
	return v
}

func givesUpInTime(ctx context.Context, s *session) verdict {
	if _, v := s.givenUp(ctx); v.state != Kept {
		return v
	}
	a := s.call(nil, s.longWait())
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
		return broken("of an answer that came after %s, with %s to wait: %s", answersLate, s.longWait(), v.why)
	}
	return kept()
}

// givenUp has the client make a call that is not answered, and returns the request.
func (s *session) givenUp(ctx context.Context) (*message, verdict) {
	wait := s.slowly(shortWait)
	a := s.call(nil, wait)
	m, v := a.arrives(ctx)
	if v.state != Kept {
		return nil, v
	}
	o, v := a.fails(ctx, "deadline_exceeded")
	if v.state != Kept {
		return nil, v
	}
	// Timers of whole milliseconds may run a little ahead.
	if took := o.at.Sub(a.at); took < wait-10*time.Millisecond {
		return nil, broken("it has %s to wait, and gave up after %s", wait, took.Round(time.Millisecond))
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
		a := s.call(nil, s.longWait())
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
	a := s.call(nil, s.longWait())
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
