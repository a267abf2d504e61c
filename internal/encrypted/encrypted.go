// Package encrypted gives tests a broker that is reached by TLS, and sees what is not encrypted.
package encrypted

import (
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"sync"
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
}

// New makes one. It ends with the test. It needs Linux, where every address 127.x.y.z is this machine.
func New(tb testing.TB) *Broker {
	tb.Helper()
	node, plain := leverettest.Node(tb), leverettest.Broker(tb)
	n := make([]byte, 3)
	_, _ = rand.Read(n) // never fails
	host := net.IPv4(127, 1+n[0]%254, n[1], 1+n[2]%254).String()
	dir := tb.TempDir()
	set, err := devcerts.Config{Dir: dir, Services: []string{"rabbitmq"}, Hosts: []string{host}}.Make()
	require.NoError(tb, err)
	pair, err := tls.LoadX509KeyPair(set.Certificates[0].CertFile, set.Certificates[0].KeyFile)
	require.NoError(tb, err)
	secured := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	amqp, err := listen(tb, host, "0")
	require.NoError(tb, err)
	management, err := listen(tb, host, "15671")
	require.NoError(tb, err)
	target, err := url.Parse(plain)
	require.NoError(tb, err)
	api, err := url.Parse(node.ManagementURL())
	require.NoError(tb, err)
	relay(tb, tls.NewListener(amqp, secured), target.Host)
	relay(tb, tls.NewListener(management, secured), api.Host)
	observed, err := listen(tb, host, "15672")
	if err != nil { // a broker of the machine's own has this port at all addresses
		observed, err = listen(tb, host, "0")
		require.NoError(tb, err)
	}
	target.Scheme, target.Host = "amqps", amqp.Addr().String()
	return &Broker{
		URL: target.String(), VHost: leverettest.VHost(tb, plain), Management: "https://" + management.Addr().String(),
		CAFile: set.CAFile, Plain: "http://" + observed.Addr().String(), Dialed: relay(tb, observed, api.Host),
	}
}

func listen(tb testing.TB, host, port string) (net.Listener, error) {
	tb.Helper()
	return (&net.ListenConfig{}).Listen(tb.Context(), "tcp", net.JoinHostPort(host, port))
}

// relay connects everything that a listener accepts with the target, until the test ends. It returns a function that
// counts the connections.
func relay(tb testing.TB, l net.Listener, target string) (count func() int) {
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
	tb.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		closed = true
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return accepted
	}
}
