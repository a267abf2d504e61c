package conformance

import (
	"context"
	"strconv"
	"strings"
)

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
	if v.state != Kept {
		return v
	}
	switch to := m.ReplyTo; {
	case to == directReply:
		return kept()
	case to == "":
		return broken("reply_to is not set")
	case !strings.HasPrefix(to, "amq.gen-") && !strings.HasPrefix(to, names.ReplyPrefix()):
		return broken("reply_to is %q, which workers do not answer to", to)
	}
	for _, e := range s.trace.since(s.client.from) {
		if (e.what == declared || e.what == exists) && e.queue == m.ReplyTo && e.exclusive {
			return kept()
		}
	}
	return broken("the queue of its reply_to %q is not exclusive", m.ReplyTo)
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
