package rabbit

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// tokenPrefix begins the reply-to of a request whose caller consumes directReplyTo. The rest is a token that the broker
// has made: the base64 of an Erlang pid, a dot, and a key.
//
// A request may carry any text there. Before 4.3, RabbitMQ closes the connection on which it is asked to deliver to a
// token that it cannot read. It can read those whose node it knows, if they are well formed; whether they lead to
// somebody does not matter then. So the first reply to each node goes over another connection. See
// docs/decisions/0025.
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

// proven reports whether a reply may go to an address on this session. If not, it returns what the address has in
// common with others that stand or fall with it.
func (s *session) proven(address string) (common string, ok bool) {
	token, direct := strings.CutPrefix(address, tokenPrefix)
	if !direct || s.hardened {
		return "", true
	}
	var space [96]byte
	node, ok := tokenNode(space[:], token)
	if !ok {
		return address, false
	}
	s.provenMu.RLock()
	defer s.provenMu.RUnlock()
	if s.provenNodes[string(node)] {
		return "", true
	}
	return string(node), false
}

// prove notes what an address that the broker has taken has in common with others.
func (s *session) prove(common string) {
	s.provenMu.Lock()
	defer s.provenMu.Unlock()
	if !strings.HasPrefix(common, tokenPrefix) && len(s.provenNodes) < maxProven {
		s.provenNodes[common] = true
	}
}

const (
	// maxProven bounds the nodes that a session remembers. A node is known under three names at most.
	maxProven = 1024
	// maxUnproven bounds the nodes and tokens to which replies wait to be sent apart, and maxUnprovenSize the replies to all
	// of them, in bytes.
	maxUnproven, maxUnprovenSize = 256, 64 << 20
)

// unproven sends replies that may cost the connection that they are sent on, over one that nothing else uses. That
// exists only while there are such replies, and is made again for the next one when it was lost.
type unproven struct {
	conn *Conn
	life context.Context //nolint:containedctx // the connection's

	mu      sync.Mutex
	waiting []*unprovenReplies // in the order in which they came
	size    int                // of what waits
	working bool
	closed  bool
	work    sync.WaitGroup
}

// unprovenReplies are replies whose addresses have something in common, so that one attempt decides for all of them.
type unprovenReplies struct {
	common  string
	session *session
	size    int
	replies []*Publication
}

var errUnproven = errors.New("too many replies wait already for which the broker may close the connection")

// add takes over a reply. It does not block.
func (u *unproven) add(s *session, common string, m *Publication) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.IndexFunc(u.waiting, func(w *unprovenReplies) bool { return w.common == common })
	switch {
	case u.closed:
		return fmt.Errorf("the connection is %w", ErrClosed)
	case i < 0 && len(u.waiting) == maxUnproven, u.size+len(m.Body) > maxUnprovenSize:
		return errUnproven
	case i < 0:
		i = len(u.waiting)
		u.waiting = append(u.waiting, &unprovenReplies{common: common, session: s})
	}
	u.waiting[i].replies = append(u.waiting[i].replies, m)
	u.waiting[i].size += len(m.Body) + 1<<10
	u.size += len(m.Body) + 1<<10
	if !u.working {
		u.working = true
		u.work.Go(u.send)
	}
	return nil
}

// send sends what waits, one reply at a time, until nothing does.
func (u *unproven) send() {
	var apart *Conn
	var channel *Channel
	leave := func() {
		if apart != nil {
			_ = apart.Close(u.life)
			apart = nil
		}
	}
	defer leave()
	publish := func(m *Publication) (err error) {
		ctx, cancel := context.WithTimeout(u.life, answerTimeout)
		defer cancel()
		if apart == nil {
			if apart, err = u.conn.apart(ctx); err != nil {
				return err
			}
			if channel, err = apart.Channel(ctx); err != nil {
				return err
			}
			if err = doOn(ctx, channel, func() error { return channel.Confirm(false) }); err != nil {
				return err
			}
		}
		confirm, err := channel.write(ctx, m)
		if err != nil {
			return err
		}
		if taken, err := confirm.WaitContext(ctx); err != nil || !taken {
			return cmp.Or(err, context.Cause(channel.life), ErrNacked)
		}
		return nil
	}
	for w, first := u.next(); w != nil; w, first = u.next() {
		err := publish(first)
		if err == nil {
			w.session.prove(w.common)
		}
		u.take(w)
		sent := 1
		for ; err == nil && sent < len(w.replies); sent++ {
			err = publish(w.replies[sent])
		}
		if err != nil {
			u.conn.config.Logger.Warn("replies to a direct reply-to were not sent", "replies", len(w.replies)-sent+1,
				"reply_to", fmt.Sprintf("%.60q", first.RoutingKey), "error", err)
			leave()
		}
	}
}

// next returns the replies of which most wait for the same thing, since nobody is likely to have made that up, and the
// first of them. It returns nil, for the goroutine to end, if nothing waits.
func (u *unproven) next() (*unprovenReplies, *Publication) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.working = len(u.waiting) > 0; !u.working {
		return nil, nil
	}
	w := slices.MaxFunc(u.waiting, func(a, b *unprovenReplies) int { return cmp.Compare(len(a.replies), len(b.replies)) })
	return w, w.replies[0]
}

// take takes replies out of those that wait, so that no others join them.
func (u *unproven) take(w *unprovenReplies) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiting = slices.DeleteFunc(u.waiting, func(other *unprovenReplies) bool { return other == w })
	u.size -= w.size
}

// close takes no more replies, and waits until those here are sent, while ctx lives.
func (u *unproven) close(ctx context.Context) {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	_, _ = await(ctx, func() (struct{}, error) { u.work.Wait(); return struct{}{}, nil }, func(struct{}) {})
}
