package rabbit

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// wireBuffer is how many bytes may wait to be written before publishers are held back.
	wireBuffer = 1 << 20
	// writeTimeout is how long a write may make no progress at all before the connection is given up. While the
	// broker blocks the connection it does not run: then it is the broker's wish that nothing moves.
	writeTimeout = 30 * time.Second
	// closeTimeout is how long Close goes on writing what is pending, and how long what the broker has said may still be
	// read when it takes no more.
	closeTimeout = time.Second
)

// wire is the net.Conn below the driver. The driver writes once per frame group, under locks that its reader needs too,
// and without a deadline. So Write only appends to a buffer and never blocks; one goroutine writes the buffer out, many
// messages at a time when many goroutines send. Back-pressure is taken by reserve, before anything is locked.
type wire struct {
	net.Conn
	blocked *atomic.Bool // the connection's

	mu       sync.Mutex
	pending  []byte
	reserved int // bytes that reserve has let in and that are not pending yet
	err      error
	closing  bool
	waiting  list.List // of room

	failed atomic.Bool // what is written from now on is lost
	wake   chan struct{}
	done   chan struct{} // the writing goroutine has ended
}

// room is what somebody waits for.
type room struct {
	bytes int
	made  chan struct{} // closed when they are reserved
}

func newWire(c net.Conn, blocked *atomic.Bool) *wire {
	w := &wire{Conn: c, blocked: blocked, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.flush()
	return w
}

// Write takes p and returns. Once a write to the network has failed, p is lost, as is what was still on its way then: the
// driver learns of it by its reader alone, which knows more of why.
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

// tryReserve makes room for n bytes more, and reports whether there is any now and nobody waits for it. The caller that has
// reserved writes, and then calls release with the same n. What is pending never exceeds wireBuffer by more than one
// message. A connection that has failed has room for everything, and what is written is lost.
func (w *wire) tryReserve(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.take(n)
}

// take is tryReserve for the holder of mu.
func (w *wire) take(n int) bool {
	if w.full() || w.waiting.Len() > 0 {
		return false
	}
	w.reserved += n
	return true
}

// reserve is tryReserve that waits while ctx lives. First come, first served.
func (w *wire) reserve(ctx context.Context, n int) error {
	w.mu.Lock()
	if w.take(n) {
		w.mu.Unlock()
		return nil
	}
	own := room{n, make(chan struct{})}
	place := w.waiting.PushBack(own)
	w.mu.Unlock()
	select {
	case <-own.made:
		return nil
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-own.made:
		return nil
	default:
		w.waiting.Remove(place)
		return because(ErrBlocked, ended(ctx))
	}
}

// release returns n reserved bytes, which are pending now or will never be.
func (w *wire) release(n int) {
	w.mu.Lock()
	w.reserved -= n
	w.makeRoom()
	w.mu.Unlock()
}

// full reports whether there is no room. The caller holds mu.
func (w *wire) full() bool {
	return len(w.pending)+w.reserved >= wireBuffer && w.err == nil && !w.closing
}

// makeRoom reserves for those who wait longest, and wakes them, while there is room. The caller holds mu.
func (w *wire) makeRoom() {
	for first := w.waiting.Front(); first != nil && !w.full(); first = w.waiting.Front() {
		r := w.waiting.Remove(first).(room) //nolint:forcetypeassert // there is nothing else in it
		w.reserved += r.bytes
		close(r.made)
	}
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
		w.makeRoom()
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
		for {
			w.mu.Lock()
			out, closing := w.pending, w.closing
			if len(out) == 0 {
				w.mu.Unlock()
				if closing {
					return
				}
				break
			}
			w.pending, spare = spare[:0], nil
			w.makeRoom()
			w.mu.Unlock()

			if err := w.write(out); err != nil {
				w.fail(err)
				return
			}
			if cap(out) <= 3*wireBuffer { // with what append keeps in hand; only larger messages leave more
				spare = out
			}
		}
	}
}

// write writes p, for as long as something moves or the broker wants nothing to.
func (w *wire) write(p []byte) error {
	for len(p) > 0 {
		last, err := w.extend()
		if err != nil {
			return err
		}
		n, err := w.Conn.Write(p)
		p = p[n:]
		if err == nil {
			continue
		}
		var e net.Error
		if last || !errors.As(err, &e) || !e.Timeout() || n == 0 && !w.blocked.Load() {
			return err
		}
	}
	return nil
}

// extend gives the next write its time, unless Close has set the last.
func (w *wire) extend() (last bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		return true, nil
	}
	return false, w.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
}

// fail gives up. Closing the network connection ends the driver's reader, which closes all. But a broker that closes the
// connection has said why, and that may have arrived and not be read yet: unless it was silence that made writing fail, the
// reader comes to its end by itself, or in closeTimeout.
func (w *wire) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.pending = nil
	w.failed.Store(true)
	w.makeRoom()
	w.mu.Unlock()
	var e net.Error
	if errors.As(err, &e) && e.Timeout() {
		_ = w.Conn.Close()
		return
	}
	time.AfterFunc(closeTimeout, func() { _ = w.Conn.Close() })
}
