package service_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/leveretmq/leveret/pkg/devcerts"
	"github.com/leveretmq/leveret/pkg/service"
)

// as returns the settings with which a service uses its certificate.
func as(s *devcerts.Set, name string) map[string]string {
	return map[string]string{
		"tls.ca_file": s.CAFile, "tls.cert_file": filepath.Join(s.Dir, name+".pem"), "tls.key_file": filepath.Join(s.Dir, name+"-key.pem"),
	}
}

// authorities returns those that certified the certificates of a set.
func authorities(t *testing.T, certs *devcerts.Set) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(certs.CAFile)
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(pem))
	return pool
}

// httpsGet makes a request over a connection of its own, and returns what the server said and its certificate's number.
func httpsGet(t *testing.T, address string, config *tls.Config) (text string, serial *big.Int, err error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: time.Minute}
	response, err := client.Get("https://" + address)
	if err != nil {
		return "", nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body), response.TLS.PeerCertificates[0].SerialNumber, nil
}

// Servers and clients show each other their certificates, which are read again when they change.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	certs, err := devcerts.Make(t.TempDir(), "unit", "caller")
	require.NoError(t, err)
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	settings := at(nowhere)
	maps.Copy(settings, as(certs, "unit"))
	r := start(t, web(who), settings)
	var calls *tls.Config
	callerSettings := map[string]string{"broker.url": nowhere, "http.address": "127.0.0.1:0"}
	maps.Copy(callerSettings, as(certs, "caller"))
	caller := start(t, web(who, func(rt *service.Runtime) {
		calls = rt.ClientTLS
		require.NotNil(t, rt.ServerTLS)
	}), callerSettings)
	caller.address(t, "http") // after Setup

	address := r.address(t, "http")
	text, first, err := httpsGet(t, address, calls)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0 caller", text)
	require.NoError(t, isServing(t, r.address(t, "grpc"), credentials.NewTLS(calls)))

	nameless := &tls.Config{RootCAs: calls.RootCAs}
	_, _, err = httpsGet(t, address, nameless)
	require.Error(t, err)
	require.Error(t, isServing(t, r.address(t, "grpc"), credentials.NewTLS(nameless)))
	require.Error(t, isServing(t, r.address(t, "grpc"), insecure.NewCredentials()))
	foreign, err := devcerts.Make(t.TempDir(), "caller")
	require.NoError(t, err)
	pair, err := tls.LoadX509KeyPair(foreign.Certificates[0].CertFile, foreign.Certificates[0].KeyFile)
	require.NoError(t, err)
	_, _, err = httpsGet(t, address, &tls.Config{RootCAs: calls.RootCAs, Certificates: []tls.Certificate{pair}})
	require.Error(t, err)
	_, _, err = httpsGet(t, address, &tls.Config{RootCAs: x509.NewCertPool()})
	require.ErrorContains(t, err, "unknown authority")

	renewed, err := devcerts.Make(certs.Dir, "unit", "caller")
	require.NoError(t, err)
	text, second, err := httpsGet(t, address, calls)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0 caller", text)
	require.NotEqual(t, first, second)
	r.log.await(t, "certificate read again")
	caller.log.await(t, "certificate read again")

	require.NoError(t, os.WriteFile(renewed.Certificates[0].CertFile, []byte("half a fi"), 0o600))
	_, third, err := httpsGet(t, address, calls)
	require.NoError(t, err)
	require.Equal(t, second, third, "the one before is used")
	require.Contains(t, r.log.await(t, "cannot read the certificate again; using the one before")["error"], "tls.cert_file")
	_, _, err = httpsGet(t, address, calls)
	require.NoError(t, err)
	require.Len(t, r.log.records(t, "cannot read the certificate again; using the one before"), 1)
	require.Equal(t, 0, r.end(t))
	require.Equal(t, 0, caller.end(t))
}

func TestTLSModes(t *testing.T) {
	t.Parallel()
	certs, err := devcerts.Make(t.TempDir(), "unit")
	require.NoError(t, err)
	settings := at(nowhere, "http.tls", "server", "grpc.tls", "off")
	maps.Copy(settings, as(certs, "unit"))
	r := start(t, web(http.HandlerFunc(hello200)), settings)
	text, _, err := httpsGet(t, r.address(t, "http"), &tls.Config{RootCAs: authorities(t, certs)})
	require.NoError(t, err)
	require.Equal(t, "hello", text)
	require.NoError(t, isServing(t, r.address(t, "grpc"), insecure.NewCredentials()))
	require.Equal(t, 0, r.end(t))
}
