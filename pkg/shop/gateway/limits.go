package gateway

import (
	"cmp"
	"hash/maphash"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// Limits say how much one client, and all together, may ask of the API. A client is an IP address; of IPv6, a network
// of 64 bits. The zero value of a field is its default.
type Limits struct {
	// ClientAttempts is how many log-ins and registrations a client may try at once, after which one more is allowed every
	// ClientInterval. Default 100 and 500 ms.
	ClientAttempts int
	ClientInterval time.Duration
	// ClientRequests is how many requests of a client are handled at once, MaxRequests how many of all together. More are
	// refused, before their bodies are read. Default 256 and 4096.
	ClientRequests, MaxRequests int
	// TrustedProxies are the networks of the proxies in front of the gateway. What they say about the client, in
	// X-Forwarded-For, is believed; what anybody else says is not. Default: none.
	TrustedProxies []netip.Prefix
}

// What a request is refused with, whatever it asks for.
var (
	// ErrTooManyAttempts says that a client has tried too many log-ins and registrations.
	ErrTooManyAttempts = leveret.NewError(leveret.ResourceExhausted, "too_many_attempts", "too many attempts; try again later")
	// ErrTooManyRequests says that too many requests of the client are being handled.
	ErrTooManyRequests = leveret.NewError(leveret.ResourceExhausted, "too_many_requests",
		"too many of your requests are being handled; wait for some of the answers")
	// ErrBusy says that too many requests of all clients are being handled.
	ErrBusy = leveret.NewError(leveret.Unavailable, "busy", "too many requests are being handled; try again later")
)

// maxClients is how many clients are told apart.
const maxClients = 1 << 14

// limits counts what clients do. It is safe for concurrent use.
//
// Its memory does not grow with the number of clients: each has the place that the hash of its address says, and shares
// it with those that have the same. The hash cannot be foreseen, so that nobody can choose whom to share with.
type limits struct {
	config  Limits
	seed    maphash.Seed
	running atomic.Int64
	clients [maxClients]client
}

type client struct {
	attempts atomic.Pointer[rate.Limiter]
	running  atomic.Int64
}

func newLimits(config Limits) (*limits, error) {
	for _, n := range [...]struct {
		name  string
		value int64
	}{
		{"ClientAttempts", int64(config.ClientAttempts)},
		{"ClientInterval", int64(config.ClientInterval)},
		{"ClientRequests", int64(config.ClientRequests)},
		{"MaxRequests", int64(config.MaxRequests)},
	} {
		if n.value < 0 {
			return nil, leveret.Errorf(leveret.InvalidArgument, "gateway: Limits.%s is %d; it must be positive", n.name, n.value)
		}
	}
	config.ClientAttempts = cmp.Or(config.ClientAttempts, 100)
	config.ClientInterval = cmp.Or(config.ClientInterval, 500*time.Millisecond)
	config.ClientRequests = cmp.Or(config.ClientRequests, 256)
	config.MaxRequests = cmp.Or(config.MaxRequests, 4096)
	return &limits{config: config, seed: maphash.MakeSeed()}, nil
}

// of returns the client that makes a request.
func (l *limits) of(r *http.Request) *client {
	return &l.clients[maphash.Comparable(l.seed, l.address(r))%maxClients]
}

// begin counts a request until end is called, unless that is too many.
func (l *limits) begin(c *client) (end func(), err error) {
	end = func() {
		c.running.Add(-1)
		l.running.Add(-1)
	}
	switch all, own := l.running.Add(1), c.running.Add(1); {
	case own > int64(l.config.ClientRequests):
		err = ErrTooManyRequests
	case all > int64(l.config.MaxRequests):
		err = ErrBusy
	default:
		return end, nil
	}
	end()
	return nil, leveret.RetryAfter(time.Second, err)
}

// attempt counts a log-in or a registration at now, unless that is too many.
func (l *limits) attempt(c *client, now time.Time) error {
	attempts := c.attempts.Load()
	if attempts == nil {
		c.attempts.CompareAndSwap(nil, rate.NewLimiter(rate.Every(l.config.ClientInterval), l.config.ClientAttempts))
		attempts = c.attempts.Load()
	}
	if attempts.AllowN(now, 1) {
		return nil
	}
	wait := time.Duration((1 - attempts.TokensAt(now)) * float64(l.config.ClientInterval))
	return leveret.RetryAfter(max(wait, time.Millisecond), ErrTooManyAttempts)
}

// address returns the network that a request comes from: that of its sender or, if this is a trusted proxy, of the last
// address in X-Forwarded-For that is no trusted proxy's. Each proxy appends the address it was called from, so that what
// stands before was said by the client, and may be anything.
func (l *limits) address(r *http.Request) netip.Prefix {
	sender, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{} // no TCP
	}
	address := sender.Addr()
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(forwarded) {
		if !l.trusted(address) {
			break
		}
		before, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break
		}
		address = before
	}
	return network(address)
}

func (l *limits) trusted(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(l.config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// network returns the network whose addresses count as one client: whoever has one IPv6 address usually has 2^64.
func network(address netip.Addr) netip.Prefix {
	bits := 64
	if address = address.Unmap(); address.Is4() {
		bits = 32
	}
	p, _ := address.WithZone("").Prefix(bits) // the bits are right for the kind
	return p
}
