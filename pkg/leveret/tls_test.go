package leveret_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestTLS: amqps, with the authority from the configuration, or from the address; and headers that the driver cannot
// read are no worse there.
func TestTLS(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	w := b.worker(b.connect(leveret.ConnConfig{}), b.service, leveret.WorkerConfig{})
	b.ask.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) { return answer{N: v.N}, nil })
	b.run(w)

	certificate, authority := certificates(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	u, err := url.Parse(b.url)
	require.NoError(t, err)
	target := u.Host
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer from.Close()
				to, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				defer to.Close()
				all.Go(func() { _, _ = io.Copy(to, from); to.Close() })
				_, _ = io.Copy(from, to)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); all.Wait() })
	u.Scheme, u.Host = "amqps", listener.Addr().String()

	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(authority))
	conn := b.connect(leveret.ConnConfig{URLs: []string{u.String()}, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}})
	client := b.client(conn, b.caller, leveret.ClientConfig{ReplyQueue: true})
	reply, err := b.ask.Call(b.ctx, client, thing{N: 7})
	require.NoError(t, err)
	require.Equal(t, 7, reply.N)

	do := leveret.NewCommand[thing]("s.do")
	service := leveret.NewService("s", leveret.Handles(do))
	texts := make(chan int, 9)
	secured := b.worker(conn, service, leveret.WorkerConfig{})
	do.Handle(secured.Handlers, func(_ context.Context, v thing) error { texts <- len(v.Text); return nil })
	r := b.run(secured)
	var deep any = "end"
	for range 50 {
		deep = amqp.Table{"d": deep}
	}
	foreign := b.peer()
	foreign.publish("commands", "s.do", amqp.Publishing{Headers: amqp.Table{"d": deep}, Body: []byte(`{"text":"` + strings.Repeat("x", 1<<20) + `"}`)})
	require.Equal(t, 1<<20, receive(t, texts))
	require.NoError(t, r.halt())
	_, err = leveret.Connect(b.ctx, leveret.ConnConfig{URLs: []string{u.String()}})
	require.ErrorIs(t, err, leveret.ErrRefused, "an authority that nobody trusts, at once")
	_, err = leveret.Connect(b.ctx, leveret.ConnConfig{URLs: []string{u.String()}, TLS: &tls.Config{RootCAs: pool, ServerName: "elsewhere", MinVersion: tls.VersionTLS12}})
	require.ErrorIs(t, err, leveret.ErrRefused, "another's certificate")
}

// certificates makes an authority and a certificate of it for 127.0.0.1.
func certificates(t *testing.T) (server tls.Certificate, authority []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
