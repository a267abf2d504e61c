package rabbit

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"

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
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config = config.Clone(); config.ServerName == "" {
		config.ServerName = uri.Host
	}
	client := tls.Client(n, config)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return client, nil
}
