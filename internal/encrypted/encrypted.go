// Package encrypted gives tests a broker that is reached by TLS, and sees what is not encrypted.
package encrypted

import (
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devcerts"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// A Broker is the tests' node behind TLS, at an address of its own: AMQP at any port, and the management API at its
// usual port for https, 15671.
type Broker struct {
	// URL is the amqps URL of a virtual host of the test's own, and VHost its name. Management is the https URL.
	URL, VHost, Management string
	// CAFile holds the authority to trust.
	CAFile string
	// Plain is the http URL at which the management API is as well, usually at its port 15672. Dialed counts the
	// connections that were made to it.
	Plain  string
	Dialed func() int
	// Cut ends all connections to it, as a restart does.
	Cut func()

	host string
	pair atomic.Pointer[tls.Certificate]
}

// Renew gives the broker the certificate of a new authority, and returns the authority's file. Connections stay.
func (b *Broker) Renew(tb testing.TB) (caFile string) {
	tb.Helper()
	set, err := devcerts.Config{Dir: tb.TempDir(), Services: []string{"rabbitmq"}, Hosts: []string{b.host}}.Make()
	require.NoError(tb, err)
	pair, err := tls.LoadX509KeyPair(set.Certificates[0].CertFile, set.Certificates[0].KeyFile)
	require.NoError(tb, err)
	b.pair.Store(&pair)
	return set.CAFile
}

// New makes one. It ends with the test. It needs Linux, where every address 127.x.y.z is this machine.
func New(tb testing.TB) *Broker {
	tb.Helper()
	node, plain := leverettest.Node(tb), leverettest.Broker(tb)
	n := make([]byte, 3)
	_, _ = rand.Read(n) // never fails
	host := net.IPv4(127, 1+n[0]%254, n[1], 1+n[2]%254).String()
	b := &Broker{host: host, VHost: leverettest.VHost(tb, plain)}
	b.CAFile = b.Renew(tb)
	secured := &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return b.pair.Load(), nil }, MinVersion: tls.VersionTLS12,
	}
	amqp, err := listen(tb, host, "0")
	require.NoError(tb, err)
	management, err := listen(tb, host, "15671")
	require.NoError(tb, err)
	target, err := url.Parse(plain)
	require.NoError(tb, err)
	api, err := url.Parse(node.ManagementURL())
	require.NoError(tb, err)
	_, b.Cut = relay(tb, tls.NewListener(amqp, secured), target.Host)
	relay(tb, tls.NewListener(management, secured), api.Host)
	observed, err := listen(tb, host, "15672")
	if err != nil { // a broker of the machine's own has this port at all addresses
		observed, err = listen(tb, host, "0")
		require.NoError(tb, err)
	}
	target.Scheme, target.Host = "amqps", amqp.Addr().String()
	b.URL, b.Management, b.Plain = target.String(), "https://"+management.Addr().String(), "http://"+observed.Addr().String()
	b.Dialed, _ = relay(tb, observed, api.Host)
	return b
}

func listen(tb testing.TB, host, port string) (net.Listener, error) {
	tb.Helper()
	return (&net.ListenConfig{}).Listen(tb.Context(), "tcp", net.JoinHostPort(host, port))
}

// relay connects everything that a listener accepts with the target, until the test ends. It returns functions that
// count the connections, and that end those there are.
func relay(tb testing.TB, l net.Listener, target string) (count func() int, cut func()) {
	tb.Helper()
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	accepted, closed := 0, false
	pipe := func(from, to net.Conn) {
		_, _ = io.Copy(to, from) // until one side closes
		_, _ = to.Close(), from.Close()
	}
	running.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", target)
			if err != nil {
				_ = from.Close()
				continue
			}
			mu.Lock()
			accepted++
			open = append(open, from, to)
			if closed {
				_, _ = from.Close(), to.Close()
			}
			mu.Unlock()
			running.Go(func() { pipe(from, to) })
			running.Go(func() { pipe(to, from) })
		}
	})
	cut = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			_ = c.Close()
		}
		open = nil
	}
	tb.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		closed = true
		mu.Unlock()
		cut()
		running.Wait()
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return accepted
	}, cut
}
