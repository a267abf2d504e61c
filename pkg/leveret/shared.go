package leveret

import (
	"cmp"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Claims reports whether a message in the contract's queue is one of this contract, by the rule of [Address]: where the
// contract is alone in its queue, only the address's Headers are asked for. Of several contracts, the message belongs to the
// first that claims it.
func (s Spec) Claims(d *rabbit.Delivery, alone bool) bool {
	a := cmp.Or(s.Address, &Address{RoutingKey: s.Name})
	for name, value := range a.Headers {
		if wire.Text(d.Headers, name) != value {
			return false
		}
	}
	if alone {
		return true
	}
	if a.Type != "" && d.Type != s.messageType() {
		return false
	}
	key := d.RoutingKey
	if _, noted := d.Headers[wire.RoutingKey]; noted || key == a.Queue { // else a queue of theirs, where it waited, gave it this key
		key = wire.SentTo(d)
	}
	return a.Type != "" || len(a.Headers) > 0 || covers(strings.Split(a.RoutingKey, "."), strings.Split(key, "."))
}

// covers reports whether a pattern of a topic exchange covers a routing key, or all that another pattern does, in words.
func covers(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return covers(pattern[1:], key) || len(key) > 0 && covers(pattern, key[1:])
	case len(key) == 0:
		return false
	default:
		return (pattern[0] == "*" && key[0] != "#" || pattern[0] == key[0]) && covers(pattern[1:], key[1:])
	}
}

// apart reports whether the messages of two contracts can be told apart in one queue, where s is asked first.
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
	return plain(a) && plain(b) && !covers(strings.Split(a.RoutingKey, "."), strings.Split(b.RoutingKey, "."))
}

// of returns the endpoint of the contract that a message of the queue belongs to; if it belongs to none, nobody's.
func (e *endpoint) of(d *rabbit.Delivery) *endpoint {
	alone := len(e.mates) < 3 // two contracts have nobody's beside them
	return e.mates[slices.IndexFunc(e.mates, func(m *endpoint) bool { return m.nobodys() || m.spec.Claims(d, alone) })]
}

// nobody returns the endpoint of what belongs to none of the contracts of a queue. It takes the message as far as
// [endpoint.forbidden].
func (e *endpoint) nobody() *endpoint {
	spec, a := e.spec, *e.spec.Address
	spec.Name, spec.Address = "(none)", &a
	a.Queue, a.Type, a.Headers = e.queue, NoType, nil
	return newEndpoint(e.worker, &handler{handlers: e.handlers, use: use{e.use.role, &contractBase{spec: &spec}, ""}, spec: spec})
}

func (e *endpoint) nobodys() bool { return e.run == nil }

// putHeaders puts the headers of the address into a message.
func (s *Spec) putHeaders(h rabbit.Table) {
	if s.Address != nil {
		for name, value := range s.Address.Headers {
			h[name] = value
		}
	}
}
