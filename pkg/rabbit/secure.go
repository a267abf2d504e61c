package rabbit

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
)

// secure returns n, or TLS over n where the address asks for it, after the handshake.
func (a address) secure(ctx context.Context, n net.Conn, config *tls.Config) (net.Conn, error) {
	if a.host == "" {
		return n, nil
	}
	config = cmp.Or(config, &tls.Config{MinVersion: tls.VersionTLS12}).Clone()
	config.ServerName = cmp.Or(config.ServerName, a.host)
	client := tls.Client(n, config)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return client, nil
}
