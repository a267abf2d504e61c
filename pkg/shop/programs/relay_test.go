package programs_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay is a way to a broker that can be cut.
type relay struct {
	url     string // of the broker, by way of the relay
	address string
	broker  string

	mu       sync.Mutex
	away     bool
	listener net.Listener
	conns    map[net.Conn]bool
	busy     sync.WaitGroup
}

func newRelay(t *testing.T, broker string) *relay {
	t.Helper()
	u, err := url.Parse(broker)
	require.NoError(t, err)
	r := &relay{broker: u.Host, address: "127.0.0.1:0", conns: make(map[net.Conn]bool)}
	r.join(t)
	r.address = r.listener.Addr().String()
	u.Host = r.address
	r.url = u.String()
	t.Cleanup(r.cut)
	return r
}

// join makes the broker reachable.
func (r *relay) join(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", r.address)
	require.NoError(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener, r.away = listener, false
	r.busy.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.busy.Go(func() { r.carry(conn) })
		}
	})
}

// carry carries bytes both ways until one side hangs up.
func (r *relay) carry(conn net.Conn) {
	defer conn.Close()
	broker, err := net.Dial("tcp", r.broker)
	if err != nil {
		return
	}
	defer broker.Close()
	r.mu.Lock()
	if r.away {
		r.mu.Unlock()
		return
	}
	r.conns[conn], r.conns[broker] = true, true
	r.mu.Unlock()
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(conn, broker)
		_ = conn.Close()
	}()
	_, _ = io.Copy(broker, conn)
	_ = broker.Close()
	<-back
	r.mu.Lock()
	delete(r.conns, conn)
	delete(r.conns, broker)
	r.mu.Unlock()
}

// cut takes the broker away.
func (r *relay) cut() {
	r.mu.Lock()
	r.away = true
	_ = r.listener.Close()
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.busy.Wait()
}
