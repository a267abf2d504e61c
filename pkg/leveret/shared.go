package leveret

import (
	"context"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A queue can hold the messages of several contracts: see [Address].

// claims reports whether a message in a queue of several contracts is one of this contract.
func (s *Spec) claims(d *rabbit.Delivery) bool {
	a := s.Address
	if a.Type != "" && d.Type != s.messageType() {
		return false
	}
	for name, value := range a.Headers {
		if wire.Text(d.Headers, name) != value {
			return false
		}
	}
	return a.Type != "" || len(a.Headers) > 0 || covers(strings.Split(a.RoutingKey, "."), strings.Split(wire.SentTo(d), "."))
}

// covers reports whether a pattern of a topic exchange covers a routing key, both in words.
func covers(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return covers(pattern[1:], key) || len(key) > 0 && covers(pattern, key[1:])
	case len(key) == 0:
		return false
	default:
		return (pattern[0] == "*" || pattern[0] == key[0]) && covers(pattern[1:], key[1:])
	}
}

// apart reports whether the messages of two contracts can be told apart in one queue.
func (s *Spec) apart(other *Spec) bool {
	a, b := s.Address, other.Address
	if a == nil || b == nil || (s.Kind == KindRequest) != (other.Kind == KindRequest) {
		return false
	}
	if a.Type != "" && b.Type != "" && a.Type != b.Type {
		return true
	}
	for name, value := range a.Headers {
		if theirs, ok := b.Headers[name]; ok && theirs != value {
			return true
		}
	}
	plain := func(a *Address) bool { return a.Type == "" && len(a.Headers) == 0 && a.RoutingKey != "" }
	return plain(a) && plain(b) && a.RoutingKey != b.RoutingKey
}

// of returns the endpoint whose contract a message of the queue belongs to; nil if it belongs to none.
func (e *endpoint) of(d *rabbit.Delivery) *endpoint {
	if len(e.mates) == 0 {
		return e
	}
	if i := slices.IndexFunc(e.mates, func(m *endpoint) bool { return m.spec.claims(d) }); i >= 0 {
		return e.mates[i]
	}
	return nil
}

// unclaimed settles a message that belongs to none of the queue's contracts.
func (e *endpoint) unclaimed(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
	o := Outcome{Verdict: VerdictDeadLetter, Err: Errorf(Unimplemented,
		"none of the contracts of the queue %s claims a message of the type %.80q, with the routing key %.80q", e.queue, d.Type, wire.SentTo(&d.Delivery))}
	if e.spec.Kind == KindRequest {
		o.Verdict = VerdictAck
	}
	return e.conclude(ctx, d, received(&d.Delivery, e.use, e.spec, e.queue, d.At), o)
}
