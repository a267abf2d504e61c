package service

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// An httpConn is a connection of an HTTP server, below TLS. Over HTTP/1.1 the server does not close it silently while
// a request may be on its way: if no request has come in time, or the server leaves, it says 408 first. That is the
// answer to a request that crosses it, whose client then knows that the request was not handled.
type httpConn struct {
	net.Conn

	server *httpServer

	mu       sync.Mutex
	state    connState
	secure   *tls.Conn // around this one; nil where it is not encrypted
	deadline time.Time // for reading, as net/http wants it
	called   bool      // back from reading, by leave
}

type connState int

const (
	connNew       connState = iota // and nothing was read, except for a TLS handshake
	connShaking                    // hands, in TLS
	connReading                    // a request, or the beginning of HTTP/2
	connAnswering                  // a request
	connLast                       // like connAnswering, and the answer says that it is the last one
	connWaiting                    // for the next request, of which nothing was read
	connHTTP2                      // which has a goodbye of its own
	connLeft                       // the goodbye was said
)

// An httpListener makes the connections of an HTTP server.
type httpListener struct {
	*limited

	server    *httpServer
	encrypted bool
}

// Accept implements net.Listener.
func (l httpListener) Accept() (net.Conn, error) {
	conn, err := l.limited.Accept()
	if err != nil {
		return nil, err
	}
	c := &httpConn{Conn: conn, server: l.server}
	if l.encrypted {
		c.state = connShaking
	}
	l.server.add(c)
	return c, nil
}

// httpConnOf returns the httpConn of a connection as net/http has it, or nil.
func httpConnOf(conn net.Conn) *httpConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c, _ := conn.(*httpConn)
	return c
}

// observe takes note of what net/http reports.
func (c *httpConn) observe(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case state == http.StateNew:
		c.secure, _ = conn.(*tls.Conn)
	case state != http.StateIdle:
	case c.state == connAnswering:
		c.state = connWaiting
		if c.server.dismissing.Load() {
			c.call(time.Unix(1, 0))
		}
	default: // idle without an answer: only HTTP/2 begins like this
		c.state = connHTTP2
	}
}

// answering takes note of a request that is handled from now on. Last says that the answer will be the last one.
func (c *httpConn) answering(protocol int, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case protocol >= 2:
		c.state = connHTTP2
	case last:
		c.state = connLast
	default:
		c.state = connAnswering
	}
}

// leave says goodbye if the connection waits for a request. To a new one, whose client has just made it for a request,
// it gives a moment.
func (c *httpConn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case connWaiting:
		c.call(time.Unix(1, 0))
	case connNew:
		c.call(time.Now().Add(lingering))
	}
}

// call makes Read return by then.
func (c *httpConn) call(by time.Time) {
	c.called = true
	_ = c.Conn.SetReadDeadline(by) // it fails only where it is closed
}

// settled reports whether no further request can come that net/http would not answer when it shuts down.
func (c *httpConn) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == connLast || c.state == connHTTP2
}

// Read implements net.Conn.
func (c *httpConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.read(n, err) {
		c.sayGoodbye()
		return 0, io.EOF
	}
	return n, err
}

// read takes note of what was read, and reports whether to say goodbye instead.
func (c *httpConn) read(n int, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != connNew && c.state != connWaiting {
		return false
	}
	switch {
	case n > 0:
		c.state = connReading
		if c.called {
			c.called = false
			_ = c.Conn.SetReadDeadline(c.deadline) // it fails only where it is closed
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.state = connLeft
		return true
	}
	return false
}

// SetReadDeadline implements net.Conn.
func (c *httpConn) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadline = at; c.called {
		return nil
	}
	return c.Conn.SetReadDeadline(at)
}

// SetWriteDeadline implements net.Conn. It is how net/http ends a TLS handshake: it takes back the deadlines of that.
func (c *httpConn) SetWriteDeadline(at time.Time) error {
	if at.IsZero() && c.shaking() {
		protocol := c.secure.ConnectionState().NegotiatedProtocol
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.state = connNew; protocol == "h2" {
			c.state = connHTTP2
		} else if c.server.dismissing.Load() {
			c.call(time.Now().Add(lingering))
		}
	}
	return c.Conn.SetWriteDeadline(at)
}

func (c *httpConn) shaking() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == connShaking && c.secure != nil
}

// SetDeadline implements net.Conn.
func (c *httpConn) SetDeadline(at time.Time) error {
	return errors.Join(c.SetReadDeadline(at), c.SetWriteDeadline(at))
}

// CloseWrite closes the connection in one direction: the other side reads to the end.
func (c *httpConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn.
func (c *httpConn) Close() error {
	c.server.remove(c)
	return c.Conn.Close()
}

// lingering is how long a client has to send its first request, and to read the goodbye. What it sends during that must
// be read: unread, it would make the system reset the connection, and the goodbye could be lost.
const lingering = 500 * time.Millisecond

// sayGoodbye answers the request that may be on its way. Where it fails, nobody listens.
func (c *httpConn) sayGoodbye() {
	_ = c.Conn.SetDeadline(time.Now().Add(lingering))
	text := fmt.Sprintf(goodbye, time.Now().UTC().Format(http.TimeFormat), len(goodbyeBody), goodbyeBody)
	if c.secure != nil {
		_, _ = io.WriteString(c.secure, text)
		_ = c.secure.CloseWrite()
	} else {
		_, _ = io.WriteString(c.Conn, text)
	}
	_ = c.CloseWrite()
	_, _ = io.Copy(io.Discard, c.Conn)
}

const (
	goodbye = "HTTP/1.1 408 Request Timeout\r\nDate: %s\r\nConnection: close\r\nCache-Control: no-store\r\n" +
		"Content-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n%s"
	goodbyeBody = `{"type":"about:blank","title":"unavailable","status":408,"code":"unavailable","reason":"connection_closed",` +
		`"detail":"the connection was idle and is closed; a request that crossed this answer was not handled"}`
)
