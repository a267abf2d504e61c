package service

import (
	"net"
	"sync"
)

// limited is a listener with a limit of connections. Further clients wait in the system's queue until one has gone.
type limited struct {
	net.Listener

	slots chan struct{} // one for each connection
	done  chan struct{} // closed by Close
	end   func()
}

func limit(l net.Listener, n int) *limited {
	done := make(chan struct{})
	return &limited{Listener: l, slots: make(chan struct{}, n), done: done, end: sync.OnceFunc(func() { close(done) })}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
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
