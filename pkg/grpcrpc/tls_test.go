package grpcrpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// identity returns a certificate of 127.0.0.1 that signs itself, and a pool that trusts it.
func identity(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// Both sides verify each other. A server or a client that is not trusted gets no request.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	mine, trusted := identity(t)
	_, others := identity(t)
	address := k.start(t, echo, grpcrpc.ServerConfig{TLS: &tls.Config{
		Certificates: []tls.Certificate{mine}, ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert,
	}})
	_, reply, err := k.call(t.Context(), k.callerOf(t, grpcrpc.CallerConfig{
		Addresses: []string{address}, TLS: &tls.Config{Certificates: []tls.Certificate{mine}, RootCAs: trusted},
	}), question{N: 1})
	require.NoError(t, err)
	require.EqualValues(t, 2, reply.N)

	for name, config := range map[string]*tls.Config{
		"another server": {Certificates: []tls.Certificate{mine}, RootCAs: others},
		"no certificate": {RootCAs: trusted},
		"another name":   {Certificates: []tls.Certificate{mine}, RootCAs: trusted, ServerName: "example.org"},
		"no TLS":         nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, _, err := k.call(ctx, k.callerOf(t, grpcrpc.CallerConfig{Addresses: []string{address}, TLS: config}), question{})
			requireLocal(t, err, false, leveret.DeadlineExceeded, leveret.ErrNotConnected)
		})
	}
}
