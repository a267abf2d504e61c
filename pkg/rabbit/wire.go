package rabbit

import (
	"context"
	"errors"
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
)

// wire is the net.Conn below the driver. The driver writes once per frame group, under locks that its reader needs too,
// and without a deadline. So Write only appends to a buffer and never blocks; one goroutine writes the buffer out, many
// messages at a time when many goroutines send. Back-pressure is taken by ready, before anything is locked.
type wire struct {
	net.Conn
	blocked *atomic.Bool // the connection's

	mu      sync.Mutex
	pending []byte
	err     error
	closing bool
	space   chan struct{} // closed when pending has become small again

	size atomic.Int64
	wake chan struct{}
	done chan struct{} // the writing goroutine has ended
}

func newWire(c net.Conn, blocked *atomic.Bool) *wire {
	w := &wire{
		Conn: c, blocked: blocked,
		space: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go w.flush()
	return w
}

// Write takes p and returns. It fails once a write to the network has failed.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	if w.err != nil || w.closing {
		err := w.err
		w.mu.Unlock()
		if err == nil {
			err = net.ErrClosed
		}
		return 0, err
	}
	w.pending = append(w.pending, p...)
	w.size.Store(int64(len(w.pending)))
	w.mu.Unlock()
	w.signal()
	return len(p), nil
}

func (w *wire) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// ready waits until there is room for more. It returns nil as well when the connection has failed: then whoever writes
// will be told.
func (w *wire) ready(ctx context.Context) error {
	for w.size.Load() >= wireBuffer {
		w.mu.Lock()
		space, full := w.space, len(w.pending) >= wireBuffer && w.err == nil && !w.closing
		w.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-space:
		case <-ctx.Done():
			return because(ErrBlocked, ended(ctx))
		}
	}
	return nil
}

// Close writes what is pending, for a second at most, and closes the connection.
func (w *wire) Close() error {
	w.mu.Lock()
	first := !w.closing
	w.closing = true
	w.mu.Unlock()
	if first {
		_ = w.SetWriteDeadline(time.Now().Add(time.Second))
		w.signal()
		<-w.done
	}
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
			w.size.Store(0)
			close(w.space)
			w.space = make(chan struct{})
			w.mu.Unlock()

			if err := w.write(out, closing); err != nil {
				w.fail(err)
				return
			}
			if cap(out) <= wireBuffer {
				spare = out
			}
		}
	}
}

func (w *wire) write(p []byte, closing bool) error {
	for len(p) > 0 {
		if !closing {
			if err := w.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return err
			}
		}
		n, err := w.Conn.Write(p)
		p = p[n:]
		var timeout net.Error
		if err != nil && !closing && (n > 0 || w.blocked.Load()) && errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fail gives up: writers are told, and closing the network connection ends the driver's reader, which closes all.
func (w *wire) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.pending = nil
	w.size.Store(0)
	close(w.space)
	w.space = make(chan struct{})
	w.mu.Unlock()
	_ = w.Conn.Close()
}
