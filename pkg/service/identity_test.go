package service

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
)

// A certificate that has expired is not served, at startup or later.
func TestExpiredCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.Identity{CertFile: filepath.Join(dir, "c.pem"), KeyFile: filepath.Join(dir, "k.pem")}
	write := func(end time.Time) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(t, err)
		secret, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(files.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
		require.NoError(t, os.WriteFile(files.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	}
	write(time.Now().Add(-time.Minute))
	_, _, err := tlsConfigs(files, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "tls.cert_file: "+files.CertFile+" expired at ")

	write(time.Now().Add(time.Hour))
	server, client, err := tlsConfigs(files, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Nil(t, server.ClientCAs)
	good, err := server.GetCertificate(nil)
	require.NoError(t, err)
	write(time.Now().Add(-time.Minute))
	kept, err := client.GetClientCertificate(nil)
	require.NoError(t, err)
	require.Same(t, good, kept)
	require.NoError(t, os.Remove(files.KeyFile))
	kept, err = client.GetClientCertificate(nil)
	require.NoError(t, err)
	require.Same(t, good, kept)
}

func TestTLSWithoutFiles(t *testing.T) {
	t.Parallel()
	server, client, err := tlsConfigs(config.Identity{}, slog.Default())
	require.NoError(t, err)
	require.Nil(t, server)
	require.Nil(t, client)
	server, client, err = tlsConfigs(config.Identity{CAFile: authorityFile(t)}, slog.Default())
	require.NoError(t, err)
	require.Nil(t, server)
	require.NotNil(t, client.RootCAs)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, _, err = tlsConfigs(config.Identity{CAFile: empty}, slog.Default())
	require.ErrorContains(t, err, "tls.ca_file: "+empty+" contains no PEM certificate")
}
