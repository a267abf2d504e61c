package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

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
	{"UTF-32", "{\x00\x00\x00\"\x00\x00\x00d\x00\x00\x00o\x00\x00\x00\"\x00\x00\x00:\x00\x00\x00\"\x00\x00\x00x\x00\x00\x00\"\x00\x00\x00}\x00\x00\x00"},
	{"with NaN, which JSON does not have", `{"id":"x","do":"succeed","ms":NaN}`},
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
