package httprpc

import (
	"context"
	"net"
)

// NewCallerWithDial makes a caller whose connections are those of dial, counted as its own are.
func NewCallerWithDial(config CallerConfig, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*Caller, error) {
	c, err := NewCaller(config)
	if err != nil {
		return nil, err
	}
	t := newTransport(config)
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &countingConn{Conn: conn}, err
	}
	c.client = client{t.RoundTrip, t.CloseIdleConnections}
	return c, nil
}

// CloseIdle closes the caller's idle connections. Those that a server has closed may be idle for a moment yet.
func CloseIdle(c *Caller) { c.client.closeIdle() }
