package measure

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// A Relay passes TCP connections on to another address and counts their bytes. It costs time: count in a pass of its
// own.
type Relay struct {
	target                      string
	listener                    net.Listener
	connections, sent, received atomic.Int64

	cancel context.CancelFunc
	all    sync.WaitGroup
}

// Traffic is what went through a [Relay].
type Traffic struct {
	// Connections is how many were accepted.
	Connections int64
	// Sent are bytes to the target, Received those from it.
	Sent, Received int64
}

// NewRelay listens on a free port of the loopback interface, and passes every connection on to target, until Close.
func NewRelay(ctx context.Context, target string) (*Relay, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &Relay{target: target, listener: listener, cancel: cancel}
	r.all.Go(func() { r.accept(ctx) })
	return r, nil
}

// Addr returns the address to connect to.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Traffic returns what has gone through so far.
func (r *Relay) Traffic() Traffic {
	return Traffic{Connections: r.connections.Load(), Sent: r.sent.Load(), Received: r.received.Load()}
}

// Close ends all connections, and returns when nothing of the relay runs any more.
func (r *Relay) Close() error {
	r.cancel()
	err := r.listener.Close()
	r.all.Wait()
	return err
}

func (r *Relay) accept(ctx context.Context) {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.connections.Add(1)
		r.all.Go(func() { r.relay(ctx, conn) })
	}
}

// relay passes one connection on. The end of one direction is passed on, so that a half-closed connection still works.
func (r *Relay) relay(ctx context.Context, from net.Conn) {
	defer from.Close()
	to, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.target)
	if err != nil {
		return
	}
	defer to.Close()
	defer context.AfterFunc(ctx, func() {
		from.Close()
		to.Close()
	})()
	var both sync.WaitGroup
	pass := func(into, outOf net.Conn, count *atomic.Int64) {
		_, err := io.Copy(counting{into, count}, outOf)
		if half, ok := into.(interface{ CloseWrite() error }); err == nil && ok {
			err = half.CloseWrite()
		}
		if err != nil && !errors.Is(err, net.ErrClosed) { // broken: so is the other direction
			into.Close()
			outOf.Close()
		}
	}
	both.Go(func() { pass(to, from, &r.sent) })
	both.Go(func() { pass(from, to, &r.received) })
	both.Wait()
}

// counting counts what is written.
type counting struct {
	io.Writer
	count *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.count.Add(int64(n))
	return n, err
}
