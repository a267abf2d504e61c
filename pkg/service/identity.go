package service

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/trust"
)

// identity is the service's own certificate. It is read again when its files change. It is safe for concurrent use.
type identity struct {
	files config.Identity
	log   *slog.Logger

	mu   sync.Mutex
	pair *tls.Certificate
	seen [2]os.FileInfo // certificate and key as they were last read; nil if a file was not there
}

// current returns the certificate. If new files are unusable, it logs that and returns the one before: a rotation
// replaces two files, one after the other.
func (i *identity) current() (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := [2]os.FileInfo{stat(i.files.CertFile), stat(i.files.KeyFile)}
	if i.pair != nil && same(now[0], i.seen[0]) && same(now[1], i.seen[1]) {
		return i.pair, nil
	}
	i.seen = now
	pair, err := i.read()
	switch {
	case err == nil:
		if i.pair != nil {
			i.log.Info("certificate read again", "file", i.files.CertFile, "expires", pair.Leaf.NotAfter)
		}
		i.pair = pair
	case i.pair == nil:
		return nil, err
	default:
		i.log.Warn("cannot read the certificate again; using the one before", "expires", i.pair.Leaf.NotAfter, "error", err)
	}
	return i.pair, nil
}

// read reads the certificate and its key. An expired certificate is an error.
func (i *identity) read() (*tls.Certificate, error) {
	pair, err := trust.KeyPair(i.files.CertFile, i.files.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls.cert_file and tls.key_file: %w", err)
	}
	if end := pair.Leaf.NotAfter; time.Now().After(end) {
		return nil, fmt.Errorf("tls.cert_file: %s expired at %s", i.files.CertFile, end.Format(time.RFC3339))
	}
	return &pair, nil
}

func stat(path string) os.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}

// same reports whether a file has not changed.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// tlsConfigs returns the configurations for serving and for calling, which are nil if their files are not configured.
func tlsConfigs(files config.Identity, log *slog.Logger) (server, client *tls.Config, err error) {
	if files == (config.Identity{}) {
		return nil, nil, nil
	}
	client = &tls.Config{MinVersion: tls.VersionTLS12}
	if files.CAFile != "" {
		if client.RootCAs, err = authorities(files.CAFile); err != nil {
			return nil, nil, fmt.Errorf("tls.ca_file: %w", err)
		}
	}
	if files.CertFile == "" {
		return nil, client, nil
	}
	own := &identity{files: files, log: log}
	if _, err := own.current(); err != nil {
		return nil, nil, err
	}
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.current() }
	server = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.current() },
	}
	if client.RootCAs != nil {
		server.ClientCAs, server.ClientAuth = client.RootCAs, tls.RequireAndVerifyClientCert
	}
	return server, client, nil
}

func authorities(file string) (*x509.CertPool, error) {
	pem, err := trust.Read(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(file + " contains no PEM certificate")
	}
	return pool, nil
}

// secured returns what a server uses of the configuration for serving, with its http.tls or grpc.tls. Nil means plain.
func secured(server *tls.Config, want config.ServerTLS) *tls.Config {
	switch want {
	case config.TLSOff:
		return nil
	case config.TLSServer:
		open := server.Clone()
		open.ClientCAs, open.ClientAuth = nil, tls.NoClientCert
		return open
	default:
		return server.Clone()
	}
}
