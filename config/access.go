package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"

	"github.com/leveretmq/leveret/internal/trust"
)

// Access is what opens the broker to a program: its URLs with user and password, and the TLS configuration. What comes
// from files is read again when they change. It is safe for concurrent use.
type Access struct {
	broker    Broker
	authority *trust.Fresh[*x509.CertPool]  // nil where the system's are trusted
	pair      *trust.Fresh[tls.Certificate] // nil where there is none
}

// Access reads the certificate files; [Schema.Load] has read the password.
func (b Broker) Access() (*Access, error) {
	a := &Access{broker: b}
	var err error
	if b.TLS.CAFile != "" {
		if a.authority, err = trust.NewFresh("broker's authority", b.TLS.authority, b.TLS.CAFile); err != nil {
			return nil, err
		}
	}
	if b.TLS.CertFile != "" {
		a.pair, err = trust.NewFresh("certificate for the broker", b.TLS.pair, b.TLS.CertFile, b.TLS.KeyFile)
	}
	return a, err
}

// Current returns the URLs and the TLS configuration of this moment. A file that has changed and cannot be used, since it
// is in the middle of its replacement for example, changes nothing; that is logged once, and so is a change. The URLs
// contain secrets: use [RedactURL] before showing them. The TLS configuration is nil if no TLS setting is set; an amqps
// URL needs none.
func (a *Access) Current(log *slog.Logger) ([]string, *tls.Config) {
	b := a.broker
	if b.password != nil {
		b.Password = b.password.Get(log)
	}
	if b.TLS == (TLS{}) {
		return b.Addresses(), nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: b.TLS.ServerName, InsecureSkipVerify: b.TLS.Insecure} //nolint:gosec // requested by the user
	if a.authority != nil {
		c.RootCAs = a.authority.Get(log)
	}
	if a.pair != nil {
		c.Certificates = []tls.Certificate{a.pair.Get(log)}
	}
	return b.Addresses(), c
}

// ClientConfig reads the certificate files and returns the TLS configuration, as [Access.Current] does.
func (t TLS) ClientConfig() (*tls.Config, error) {
	a, err := Broker{TLS: t}.Access()
	if err != nil {
		return nil, err
	}
	_, c := a.Current(slog.New(slog.DiscardHandler))
	return c, nil
}

func (t TLS) authority() (*x509.CertPool, slog.Attr, error) {
	pool := x509.NewCertPool()
	pem, err := trust.Read(t.CAFile)
	if err == nil && !pool.AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%s contains no PEM certificate", t.CAFile)
	}
	if err != nil {
		return nil, slog.Attr{}, fmt.Errorf("broker.tls.ca_file: %w", err)
	}
	return pool, slog.Attr{}, nil
}

func (t TLS) pair() (tls.Certificate, slog.Attr, error) {
	pair, err := trust.KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return pair, slog.Attr{}, fmt.Errorf("broker.tls.cert_file and broker.tls.key_file: %w", err)
	}
	return pair, slog.Time("expires", pair.Leaf.NotAfter), nil
}
