package service

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/trust"
)

// readIdentity reads the service's own certificate and its key. An expired certificate is an error.
func readIdentity(files config.Identity) (*tls.Certificate, slog.Attr, error) {
	pair, err := trust.KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		return nil, slog.Attr{}, fmt.Errorf("tls.cert_file and tls.key_file: %w", err)
	}
	end := pair.Leaf.NotAfter
	if time.Now().After(end) {
		return nil, slog.Attr{}, fmt.Errorf("tls.cert_file: %s expired at %s", files.CertFile, end.Format(time.RFC3339))
	}
	return &pair, slog.Time("expires", end), nil
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
	own, err := trust.NewFresh("certificate", func() (*tls.Certificate, slog.Attr, error) { return readIdentity(files) }, files.CertFile, files.KeyFile)
	if err != nil {
		return nil, nil, err
	}
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.Get(log), nil }
	server = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.Get(log), nil },
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
