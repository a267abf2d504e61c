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
	for empty := false; ; {
		conn, err := l.Listener.Accept()
		switch {
		case err == nil:
			return &limitedConn{Conn: conn, release: sync.OnceFunc(release)}, nil
		case !errors.Is(err, os.ErrDeadlineExceeded): // which retire sets
			release()
			return nil, err
		case empty:
			release()
			_ = l.Close()
			return nil, net.ErrClosed
		}
		empty = true
		l.wait(again)
	}
}

// How long retire waits for clients that are connecting, and for more of them after the last one.
const (
	connecting = 20 * time.Millisecond
	again      = 5 * time.Millisecond
)

// retire closes the listener once Accept has returned every connection that the system has made, or ctx ends. Closing
// it at once would reset those in the system's queue, whose clients may have sent a request. Accept must be called
// until it fails.
func (l *limited) retire(ctx context.Context) {
	refuse(l.Listener)
	l.wait(connecting)
	l.retired()
	select {
	case <-l.done:
	case <-ctx.Done():
		_ = l.Close()
	}
}

// wait lets Accept fail if there is no client for a while.
func (l *limited) wait(d time.Duration) {
	if t, ok := l.Listener.(interface{ SetDeadline(at time.Time) error }); ok {
		_ = t.SetDeadline(time.Now().Add(d)) // it fails only where it is closed
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
