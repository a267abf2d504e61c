package service

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// limited is a listener with a limit of connections. Further clients wait in the system's queue until one has gone.
type limited struct {
	net.Listener

	slots    chan struct{} // one for each connection
	done     chan struct{} // closed by Close
	end      func()
	retiring chan struct{} // closed by retire
	retired  func()
}

func limit(l net.Listener, n int) *limited {
	done, retiring := make(chan struct{}), make(chan struct{})
	return &limited{
		Listener: l, slots: make(chan struct{}, n),
		done: done, end: sync.OnceFunc(func() { close(done) }),
		retiring: retiring, retired: sync.OnceFunc(func() { close(retiring) }),
	}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	release := func() { <-l.slots }
	select {
	case l.slots <- struct{}{}:
	case <-l.retiring: // those that wait for a slot are accepted, too
		release = func() {}
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) { // which retire has set
		if conn = queued(l.Listener); conn == nil {
			_ = l.Close()
			err = net.ErrClosed
		} else {
			err = nil
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return &limitedConn{Conn: conn, release: sync.OnceFunc(release)}, nil
}

// connecting is how long retire gives clients that have begun to connect.
const connecting = 20 * time.Millisecond

// retire closes the listener once Accept has returned every connection that the system has made, or ctx ends. Closing
// it at once would reset those in the system's queue, whose clients may have sent a request. Accept must be called
// until it fails.
func (l *limited) retire(ctx context.Context) {
	refuse(l.Listener)
	if t, ok := l.Listener.(interface{ SetDeadline(at time.Time) error }); ok {
		_ = t.SetDeadline(time.Now().Add(connecting)) // it fails only where it is closed
	}
	l.retired()
	select {
	case <-l.done:
	case <-ctx.Done():
		_ = l.Close()
	}
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.end()
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn

	release func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite closes the connection in one direction: the other side reads to the end.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
