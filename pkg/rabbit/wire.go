package rabbit

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// wireBuffer is how many bytes of messages may wait to be written before publishers are held back.
	wireBuffer = 1 << 20
	// messageOverhead is what a message counts for beside its body. It stands for headers and properties, which nobody
	// measures here; and so there is an end to messages without a body, too.
	messageOverhead = 1 << 10
	// writeTimeout is how long a write may make no progress at all before the connection is given up. While the
	// broker blocks the connection it does not run: then it is the broker's wish that nothing moves.
	writeTimeout = 30 * time.Second
	// closeTimeout is how long Close goes on writing what is pending, and how long what the broker has said may still be
	// read when it takes no more.
	closeTimeout = time.Second
)

// wire is the net.Conn below the driver. The driver writes once per frame group, under locks that its reader needs too,
// and without a deadline. So Write only appends to a buffer and never blocks; one goroutine writes the buffer out, many
// messages at a time when many goroutines send. Back-pressure is taken by reserve, before anything is locked; only
// messages take part in it, since acks, heartbeats and calls are few.
type wire struct {
	net.Conn
	blocked *atomic.Bool // the connection's

	room *semaphore.Weighted // wireBuffer, less what is reserved or pending

	mu      sync.Mutex
	pending []byte
	given   int64 // released while something was pending: goes back to room when flush takes what is pending
	err     error
	closing bool

	failed atomic.Bool // what is written from now on is lost
	wake   chan struct{}
	done   chan struct{} // the writing goroutine has ended
}

func newWire(c net.Conn, blocked *atomic.Bool) *wire {
	w := &wire{
		Conn: c, blocked: blocked, room: semaphore.NewWeighted(wireBuffer),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go w.flush()
	return w
}

// Write takes p and returns. Once a write to the network has failed, p is lost, as is what was still on its way then:
// only the driver's reader reports that, since it knows more about the reason.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closing:
		return 0, net.ErrClosed
	case w.err == nil:
		w.pending = append(w.pending, p...)
		w.signal()
	}
	return len(p), nil
}

// Read reads from the network. Where that ends because writing has failed, the error is that of writing.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		w.mu.Lock()
		err = cmp.Or(w.err, err)
		w.mu.Unlock()
	}
	return n, err
}

func (w *wire) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// share is what a message with a body of n bytes takes of the room. One that is larger than all of it takes all of it.
func share(n int) int64 { return int64(min(n+messageOverhead, wireBuffer)) }

// tryReserve makes room for a message with a body of n bytes, and reports whether there is any now and nobody waits for
// it. The caller that has reserved writes, and then calls release with the same n.
func (w *wire) tryReserve(n int) bool { return w.room.TryAcquire(share(n)) }

// reserve is tryReserve that waits while ctx lives. First come, first served. Nobody waits for long on a connection
// that has failed: what is written to it is lost, and never pending.
func (w *wire) reserve(ctx context.Context, n int) error {
	if w.tryReserve(n) { // though ctx has ended
		return nil
	}
	if w.room.Acquire(ctx, share(n)) != nil {
		return because(ErrBlocked, ended(ctx))
	}
	return nil
}

// release gives back what was reserved for a message that has been written, or never will be. While anything is
// pending, that may be the message, so the room is free only when the writing goroutine has taken it.
func (w *wire) release(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.given += share(n)
	if len(w.pending) == 0 {
		w.free()
	}
}

// free frees the room of what is not pending any more. The caller holds mu.
func (w *wire) free() {
	w.room.Release(w.given)
	w.given = 0
}

// SetDeadline sets the deadline for reading alone, and SetWriteDeadline does nothing: Write never blocks, and how long
// the writing goroutine waits is not for those above to say.
func (w *wire) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// Close writes what is pending, for closeTimeout at most, and closes the connection.
func (w *wire) Close() error {
	w.mu.Lock()
	if !w.closing {
		w.closing = true
		w.failed.Store(true)
		_ = w.Conn.SetWriteDeadline(time.Now().Add(closeTimeout))
	}
	w.mu.Unlock()
	w.signal()
	<-w.done
	return w.Conn.Close()
}

func (w *wire) flush() {
	defer close(w.done)
	var spare []byte
	for range w.wake {
		// Goroutines that are about to send get to add theirs: fewer and larger writes.
		runtime.Gosched()
		w.mu.Lock()
		out, last := w.pending, w.closing
		w.pending = spare[:0]
		w.free()
		w.mu.Unlock()
		if err := w.write(out); err != nil {
			w.fail(err)
			return
		}
		if last {
			return
		}
		if spare = out; cap(out) > 3*wireBuffer { // a large message left more than append keeps in hand
			spare = nil
		}
	}
}

// write writes p, for as long as something moves or the broker wants nothing to.
func (w *wire) write(p []byte) error {
	for len(p) > 0 {
		w.mu.Lock()
		last := w.closing // and Close has set the deadline
		if !last {
			_ = w.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		w.mu.Unlock()
		n, err := w.Conn.Write(p)
		p = p[n:]
		if err != nil && (last || !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 && !w.blocked.Load()) {
			return err
		}
	}
	return nil
}

// fail gives up. Closing the network connection ends the driver's reader, which closes all. But a broker that closes
// the connection has said why, and that may have arrived and not be read yet: unless it was silence that made writing
// fail, the reader comes to its end by itself, or in closeTimeout.
func (w *wire) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.pending = nil
	w.failed.Store(true)
	w.free()
	w.mu.Unlock()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = w.Conn.Close()
		return
	}
	time.AfterFunc(closeTimeout, func() { _ = w.Conn.Close() })
}
