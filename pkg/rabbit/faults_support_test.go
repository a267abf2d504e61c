package rabbit_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/management"
)

// manage makes one call to the management API of a node, and returns the answer. Deleting what is gone is no error.
func manage(t *testing.T, node *devbroker.Broker, method string, body any, path ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	api, err := node.Management()
	require.NoError(t, err)
	var answer json.RawMessage
	var out any
	if method == http.MethodGet {
		out = &answer
	}
	if err := api.Call(ctx, method, body, out, path...); !errors.Is(err, management.ErrNotFound) {
		require.NoError(t, err)
	}
	return answer
}

// user makes a user with the given permissions (configure, write, read) on the virtual host of an address, and returns
// the address with that user in it.
func user(t *testing.T, address, configure, write, read string) string {
	t.Helper()
	node := leverettest.Node(t)
	name := strings.ToLower(rand.Text())
	vhost := leverettest.VHost(t, address)
	manage(t, node, http.MethodPut, map[string]string{"password": "pw", "tags": ""}, "users", name)
	t.Cleanup(func() { manage(t, node, http.MethodDelete, nil, "users", name) })
	manage(t, node, http.MethodPut, map[string]string{"configure": configure, "write": write, "read": read}, "permissions", vhost, name)
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.User = url.UserPassword(name, "pw")
	return u.String()
}

// closeConnections closes, as an operator does, all connections to a virtual host that the management API knows, and
// returns how many.
func closeConnections(t *testing.T, vhost string) int {
	t.Helper()
	node := leverettest.Node(t)
	var open []struct{ Name string }
	said := manage(t, node, http.MethodGet, nil, "vhosts", vhost, "connections")
	require.NoError(t, json.Unmarshal(said, &open))
	for _, c := range open {
		manage(t, node, http.MethodDelete, nil, "connections", c.Name)
	}
	return len(open)
}

// proxy stands between client and broker, and behaves as networks do.
type proxy struct {
	listener net.Listener
	upstream string
	ended    sync.WaitGroup

	mu      sync.Mutex
	pairs   map[net.Conn]net.Conn
	methods map[method]int // that clients have sent
	refuses bool
	gate    chan struct{} // closed while bytes pass
	open    bool
}

// proxied returns a proxy for the broker of an address, and the address through it.
func proxied(t *testing.T, address string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, upstream: u.Host, pairs: map[net.Conn]net.Conn{}, methods: map[method]int{}, gate: make(chan struct{}), open: true}
	close(p.gate)
	p.ended.Go(p.accept)
	t.Cleanup(func() {
		p.stall(false)
		listener.Close()
		p.cut()
		p.ended.Wait()
	})
	u.Host = listener.Addr().String()
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuses := p.refuses
		p.mu.Unlock()
		far, err := net.Dial("tcp", p.upstream)
		if err != nil || refuses {
			near.Close()
			if err == nil {
				far.Close()
			}
			continue
		}
		p.mu.Lock()
		p.pairs[near] = far
		p.mu.Unlock()
		p.ended.Go(func() { p.pass(&counting{Conn: far, proxy: p, skip: len("AMQP0091")}, near) })
		p.ended.Go(func() { p.pass(near, far) })
	}
}

func (p *proxy) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		<-gate
		if _, e := to.Write(buffer[:n]); err != nil || e != nil {
			return
		}
	}
}

// method is a method of AMQP, by the numbers of its class and its own.
type method [2]uint16

var (
	openChannel     = method{20, 10}
	declareExchange = method{40, 10}
	declareQueue    = method{50, 10}
	bindQueue       = method{50, 20}
)

// sent returns how many methods of these kinds clients have sent.
func (p *proxy) sent(kinds ...method) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range kinds {
		n += p.methods[m]
	}
	return n
}

// counting counts the methods that pass.
type counting struct {
	net.Conn
	proxy *proxy
	skip  int    // bytes until the next frame begins
	begun []byte // of that frame
}

func (c *counting) Write(b []byte) (int, error) {
	for _, octet := range b {
		if c.skip > 0 {
			c.skip--
			continue
		}
		c.begun = append(c.begun, octet)
		if len(c.begun) < 8 {
			continue
		}
		size := int(binary.BigEndian.Uint32(c.begun[3:]))
		switch isMethod := c.begun[0] == 1; {
		case isMethod && len(c.begun) < 11:
			continue
		case isMethod:
			c.proxy.mu.Lock()
			c.proxy.methods[method{binary.BigEndian.Uint16(c.begun[7:]), binary.BigEndian.Uint16(c.begun[9:])}]++
			c.proxy.mu.Unlock()
		}
		c.skip, c.begun = 7+size+1-len(c.begun), c.begun[:0]
	}
	return c.Conn.Write(b)
}

// cut resets all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for near, far := range p.pairs {
		_ = near.(*net.TCPConn).SetLinger(0)
		near.Close()
		far.Close()
		delete(p.pairs, near)
	}
}

// stall lets nothing pass, on connections that stay open; or all again.
func (p *proxy) stall(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case yes && p.open:
		p.gate, p.open = make(chan struct{}), false
	case !yes && !p.open:
		close(p.gate)
		p.open = true
	}
}

// refuse closes new connections as soon as they are made; or takes them again.
func (p *proxy) refuse(yes bool) {
	p.mu.Lock()
	p.refuses = yes
	p.mu.Unlock()
}

// book keeps account of messages by their ids.
type book struct {
	mu                  sync.Mutex
	confirmed, received map[string]int
}

func newBook() *book { return &book{confirmed: map[string]int{}, received: map[string]int{}} }

func (b *book) confirm(id string) {
	b.mu.Lock()
	b.confirmed[id]++
	b.mu.Unlock()
}

func (b *book) receive(id string) {
	b.mu.Lock()
	b.received[id]++
	b.mu.Unlock()
}

// missing are confirmed messages that nobody has received.
func (b *book) missing() (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.confirmed {
		if b.received[id] == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// counts returns how many messages were confirmed, received, and received more than once.
func (b *book) counts() (confirmed, received, twice int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.received {
		if n > 1 {
			twice++
		}
	}
	return len(b.confirmed), len(b.received), twice
}

func (b *book) requireBalanced(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return len(b.missing()) == 0 }, 60*time.Second, 20*time.Millisecond, "confirmed messages are missing")
	confirmed, received, twice := b.counts()
	t.Logf("confirmed %d, received %d, twice %d", confirmed, received, twice)
}
