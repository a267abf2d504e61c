package rabbit_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// authority signs certificates, and keeps all in a folder as PEM files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "authority", nil)
	return a
}

// issue makes a certificate with the name, signed by signer; nil makes one that signs others.
func (a *authority) issue(t *testing.T, name string, signer *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, parentKey := template, key
	if signer == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature, nil
	} else {
		parent, parentKey = signer.cert, signer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	for file, block := range map[string]*pem.Block{a.file(name, "crt"): {Type: "CERTIFICATE", Bytes: der}, a.file(name, "key"): {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}

func (a *authority) file(name, kind string) string { return filepath.Join(a.dir, name+"."+kind) }

func (a *authority) config(t *testing.T, client string) *tls.Config {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	config.RootCAs.AddCert(a.cert)
	if client != "" {
		pair, err := tls.LoadX509KeyPair(a.file(client, "crt"), a.file(client, "key"))
		require.NoError(t, err)
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// strictNode is a node that takes TLS with client certificates, and messages of 100 kB at most. It returns the address
// of the TLS listener.
func strictNode(t *testing.T, a *authority) (*devbroker.Broker, string) {
	t.Helper()
	a.issue(t, "broker", a)
	for tries := 0; ; tries++ {
		port, err := rand.Int(rand.Reader, big.NewInt(4000))
		require.NoError(t, err)
		listener := fmt.Sprintf("127.0.0.1:%d", 16000+port.Int64())
		node, err := devbroker.Start(within(t), devbroker.Config{
			Private: true, Schedulers: 1, Plugins: []string{"rabbitmq_auth_mechanism_ssl"},
			Conf: strings.NewReplacer("LISTENER", listener, "DIR", a.dir).Replace(`
listeners.ssl.default = LISTENER
ssl_options.cacertfile = DIR/authority.crt
ssl_options.certfile = DIR/broker.crt
ssl_options.keyfile = DIR/broker.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
ssl_cert_login_from = common_name
max_message_size = 100000
`),
		})
		if err != nil && tries < 3 {
			continue // the port may be somebody's
		}
		require.NoError(t, err)
		t.Cleanup(func() { closing(t, node) })
		u, err := url.Parse(node.URL())
		require.NoError(t, err)
		return node, "amqps://" + u.User.String() + "@" + listener
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "guest", a)
	node, address := strictNode(t, a)

	// What is sent arrives, many frames at a time.
	roundTrip := func(t *testing.T, config rabbit.Config) {
		t.Helper()
		conn, ctx := dial(t, config), within(t)
		q := strings.ReplaceAll(t.Name(), "/", ".")
		declare(t, conn, queue(q, "quorum"))
		p := publishing(t, conn, rabbit.PublisherConfig{})
		bodies := make(chan []byte, 20)
		handle, _ := handler(func(_ int64, d *rabbit.Incoming) rabbit.Settlement { bodies <- d.Body; return rabbit.Ack })
		running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: q, Handle: handle}))
		for i := range 20 {
			m := to(q, "x")
			m.Body = bytes.Repeat([]byte{byte(i)}, 90_000)
			require.NoError(t, p.Publish(ctx, m))
			require.Equal(t, m.Body, <-bodies)
		}
	}
	t.Run("certificate and password", func(t *testing.T) {
		t.Parallel()
		roundTrip(t, rabbit.Config{URLs: []string{address}, TLS: a.config(t, "guest")})
	})
	t.Run("certificate alone", func(t *testing.T) {
		t.Parallel()
		u, err := url.Parse(address)
		require.NoError(t, err)
		u.User = nil
		roundTrip(t, rabbit.Config{URLs: []string{u.String() + "/?auth_mechanism=external"}, TLS: a.config(t, "guest")})
	})
	t.Run("a lost connection", func(t *testing.T) {
		t.Parallel()
		network, through := proxied(t, address)
		conn, ctx := dial(t, rabbit.Config{URLs: []string{through}, TLS: a.config(t, "guest")}), within(t)
		declare(t, conn, queue("lost", "quorum"))
		p := publishing(t, conn, rabbit.PublisherConfig{})
		for life := 1; life <= 3; life++ {
			require.NoError(t, p.Publish(ctx, to("lost", "x")))
			network.cut()
			require.Eventually(t, func() bool { return conn.State().Lost == life }, 30*time.Second, time.Millisecond)
		}
		require.NoError(t, p.Publish(ctx, to("lost", "x")))
	})
	for name, spoil := range map[string]func(*tls.Config){
		"an authority that is not trusted": func(c *tls.Config) { c.RootCAs = x509.NewCertPool() },
		"another host's certificate":       func(c *tls.Config) { c.ServerName = "elsewhere" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := a.config(t, "guest")
			spoil(config)
			_, err := rabbit.Dial(within(t), rabbit.Config{URLs: []string{address}, TLS: config})
			require.ErrorIs(t, err, rabbit.ErrRefused)
			require.ErrorContains(t, err, "certificate")
		})
	}
	t.Run("no certificate of our own", func(t *testing.T) {
		t.Parallel()
		_ = requireTriedAgain(t, rabbit.Config{URLs: []string{address}, TLS: a.config(t, "")}, "tls: certificate required")
	})
	t.Run("TLS where there is none", func(t *testing.T) {
		t.Parallel()
		plain := strings.Replace(node.URL(), "amqp://", "amqps://", 1)
		_ = requireTriedAgain(t, rabbit.Config{URLs: []string{plain}, TLS: a.config(t, "guest")}, "TLS")
	})
	t.Run("larger than the broker takes", func(t *testing.T) {
		t.Parallel()
		conn, ctx := dial(t, rabbit.Config{URLs: []string{node.URL()}}), within(t)
		declare(t, conn, queue("sizes", "quorum"))
		p := publishing(t, conn, rabbit.PublisherConfig{})
		var all sync.WaitGroup
		var wrong atomic.Int64
		for g := range 10 {
			all.Go(func() {
				for range 20 {
					m, want := to("sizes", "x"), error(nil)
					if g == 3 {
						m.Body, want = make([]byte, 100_001), rabbit.ErrTooLarge
					}
					if err := p.Publish(ctx, m); !errors.Is(err, want) {
						wrong.Add(1)
						t.Log(err)
					}
				}
			})
		}
		all.Wait()
		require.Zero(t, wrong.Load())
	})
}

// requireTriedAgain dials until an attempt has failed for a reason, which is then the last that Dial reports.
func requireTriedAgain(t *testing.T, config rabbit.Config, reason string) error {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	config.OnFailure = func(err error) {
		if strings.Contains(err.Error(), reason) {
			cancel()
		}
	}
	_, err := rabbit.Dial(ctx, config)
	require.ErrorIs(t, err, rabbit.ErrNotConnected)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, reason)
	return err
}

// The authority, the broker's certificate and the client's are all replaced on a node that runs, in the order that
// docs/operations.md gives.
func TestRotationOnTheBroker(t *testing.T) {
	t.Parallel()
	before := newAuthority(t)
	before.issue(t, "guest", before)
	node, address := strictNode(t, before)
	after := newAuthority(t)
	after.issue(t, "broker", after)
	after.issue(t, "guest", after)

	network, through := proxied(t, address)
	var now atomic.Pointer[tls.Config]
	now.Store(before.config(t, "guest"))
	conn := dial(t, rabbit.Config{
		Access:    func() ([]string, *tls.Config) { return []string{through}, now.Load() },
		OnFailure: func(err error) { t.Log(err) },
	})
	again := func(life int) {
		t.Helper()
		network.cut()
		require.Eventually(t, func() bool { s := conn.State(); return s.Phase == rabbit.Connected && s.Lost == life }, 90*time.Second, time.Millisecond)
	}
	both := func(client *authority) *tls.Config {
		config := client.config(t, "guest")
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AddCert(before.cert)
		config.RootCAs.AddCert(after.cert)
		return config
	}
	read := func(file string) []byte {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		return content
	}
	replace := func(kind, name string, content []byte) {
		require.NoError(t, os.WriteFile(before.file(name, kind), content, 0o600))
	}
	forget := func() {
		said, err := node.Ctl(within(t), "eval", "ssl:clear_pem_cache().")
		require.NoError(t, err, string(said))
	}

	now.Store(both(before))
	again(1)
	replace("crt", "authority", append(read(before.file("authority", "crt")), read(after.file("authority", "crt"))...))
	replace("crt", "broker", read(after.file("broker", "crt")))
	replace("key", "broker", read(after.file("broker", "key")))
	forget()
	again(2)
	now.Store(both(after))
	again(3)
	replace("crt", "authority", read(after.file("authority", "crt")))
	forget()
	now.Store(after.config(t, "guest"))
	again(4)
}
