package rabbit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

// plainURL is the address as the driver is to see it: TLS is made here, below the look at the frames, which the driver
// would put above it.
func (a address) plainURL() (string, error) {
	u, err := url.Parse(a.url)
	if err != nil {
		return "", fmt.Errorf("%w: not a URL", ErrInvalid)
	}
	u.Scheme, u.Host = "amqp", a.host
	return u.String(), nil
}

// secure returns n, or TLS over n where the address asks for it, after the handshake.
func (a address) secure(ctx context.Context, n net.Conn, config *tls.Config) (net.Conn, error) {
	uri, err := amqp.ParseURI(a.url)
	if err != nil || uri.Scheme != "amqps" {
		return n, err
	}
	if config == nil {
		if config, err = tlsOf(uri); err != nil {
			return nil, err
		}
	} else {
		config = config.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = uri.Host
	}
	client := tls.Client(n, config)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return client, nil
}

// tlsOf is the configuration that an address asks for itself: cacertfile, certfile, keyfile and server_name_indication
// in its query. Default: the system's authorities and no certificate.
func tlsOf(uri amqp.URI) (*tls.Config, error) {
	config := &tls.Config{ServerName: uri.ServerName, MinVersion: tls.VersionTLS12}
	if uri.CACertFile != "" {
		pem, err := os.ReadFile(uri.CACertFile)
		if err != nil {
			return nil, fmt.Errorf("read the authorities' certificates: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", uri.CACertFile)
		}
	}
	if uri.CertFile != "" && uri.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(uri.CertFile, uri.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load the client's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
