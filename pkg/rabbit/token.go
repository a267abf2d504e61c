package rabbit

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// tokenPrefix begins the reply-to of a request whose caller consumes directReplyTo. The rest is a token that the broker
// has made: the base64 of an Erlang pid, a dot, and a key.
//
// A request may carry any text there. Before 4.3, RabbitMQ closes the connection on which it is asked to deliver to a
// token that it cannot read. It can read those whose node it knows, if they are well formed; whether they lead to
// somebody does not matter then. So a session learns which node it is connected to, and the first reply to any other node
// goes over another connection. See docs/decisions/0025.
const tokenPrefix = directReplyTo + "."

// strict reads base64 of one form only.
var strict = base64.StdEncoding.Strict()

// tokenNode decodes into space the part of a well-formed token that names its node.
func tokenNode(space []byte, token string) (node []byte, ok bool) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=."
	pid, _, found := strings.Cut(token, ".")
	if !found || strings.Trim(token, alphabet) != "" || len(pid) > base64.StdEncoding.EncodedLen(len(space)) {
		return nil, false
	}
	n, err := strict.Decode(space, []byte(pid))
	const numbers = 12 // id, serial and creation
	if err != nil || n < numbers+3 {
		return nil, false
	}
	node, id, serial := space[:n-numbers], space[n-numbers:], space[n-numbers+4:]
	if binary.BigEndian.Uint32(id) >= 1<<15 || binary.BigEndian.Uint32(serial) >= 1<<13 {
		return nil, false // more than a pid of Erlang 25 may have
	}
	return node, namesNode(node)
}

// namesNode reports whether b is the beginning of a pid in Erlang's external format, up to its node's name, which is
// reply@ and a number. A node that could be written in many ways would have to be proven as often.
func namesNode(b []byte) bool {
	const version, newPid, atom, atomUTF8, smallAtomUTF8 = 131, 88, 100, 118, 119
	if b[0] != version || b[1] != newPid {
		return false
	}
	var name []byte
	switch {
	case b[2] == smallAtomUTF8 && len(b) > 4 && int(b[3]) == len(b)-4:
		name = b[4:]
	case (b[2] == atom || b[2] == atomUTF8) && len(b) > 5 && int(binary.BigEndian.Uint16(b[3:])) == len(b)-5:
		name = b[5:]
	}
	digits := name[min(len("reply@"), len(name)):]
	return string(name[:len(name)-len(digits)]) == "reply@" && len(digits) > 0 && len(digits) <= 10 && digits[0] != '0' &&
		!slices.ContainsFunc(digits, func(c byte) bool { return c < '0' || c > '9' })
}

// hardened reports whether a version of RabbitMQ reads any token, or drops what is sent there: 4.3 and later.
func hardened(version string) bool {
	var major, minor int
	_, _ = fmt.Sscanf(version, "%d.%d", &major, &minor)
	return major > 4 || major == 4 && minor >= 3
}

// proofs are the nodes, and the addresses of unknown form, to which replies have been sent over a connection that the
// broker has not closed over it. They outlast that connection. It is safe for concurrent use.
type proofs struct {
	mu               sync.RWMutex
	nodes, addresses map[string]bool
}

// maxProven bounds what is remembered of each. A node is known under three names at most.
const maxProven = 1024

// add notes that a reply to a node, or to an address of unknown form, did no harm.
func (p *proofs) add(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nodes == nil {
		p.nodes, p.addresses = make(map[string]bool), make(map[string]bool)
	}
	switch {
	case strings.HasPrefix(what, tokenPrefix):
		if len(p.addresses) == maxProven {
			clear(p.addresses)
		}
		p.addresses[what] = true
	case len(p.nodes) < maxProven:
		p.nodes[what] = true
	}
}

func (p *proofs) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.nodes)
	clear(p.addresses)
}

// proven reports whether a reply may go to an address on this session, and else what would be proven by one that has
// gone there: its node, or only the address where that is of no known form.
func (s *session) proven(address string) (what string, ok bool) {
	token, direct := strings.CutPrefix(address, tokenPrefix)
	if !direct || s.hardened {
		return "", true
	}
	var space [96]byte
	node, known := tokenNode(space[:], token)
	p := &s.conn.proofs
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch {
	case p.nodes[string(node)] && known, p.addresses[address]:
		return "", true
	case known:
		return string(node), false
	default:
		return address, false
	}
}

// proveOwn proves the node of this session, without a reply: a message that the broker returns to its sender shows the
// token that the broker has made for the sender. So callers on this node need not wait behind forged tokens.
func (s *session) proveOwn() {
	defer close(s.learned)
	ch, err := s.Channel()
	if err != nil {
		return
	}
	defer ch.Close() //nolint:errcheck // nothing depends on it
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	if _, err = ch.Consume(directReplyTo, "", true, true, false, false, nil); err == nil {
		err = ch.PublishWithContext(context.Background(), "", rand.Text(), true, false, Publishing{ReplyTo: directReplyTo})
	}
	if err != nil {
		return
	}
	var space [96]byte
	if r, returned := <-returns; returned {
		if node, ok := tokenNode(space[:], strings.TrimPrefix(r.ReplyTo, tokenPrefix)); ok {
			s.conn.proofs.add(string(node))
		}
	}
}
