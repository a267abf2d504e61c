package shopcli

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
)

// prefixed writes whole lines, each with a prefix. Several writers share one mutex, so that their lines do not mix.
type prefixed struct {
	out    io.Writer
	lines  *sync.Mutex
	prefix string

	ready   atomic.Bool // the service has logged that it is ready
	onReady func()      // is called when it does so for the first time; may be nil
	rest    []byte      // an unfinished line
}

// Write implements io.Writer. It is not safe for concurrent use.
func (w *prefixed) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ended := bytes.Cut(w.rest, []byte("\n"))
		if !ended {
			return len(p), nil
		}
		if err := w.write(line); err != nil {
			return 0, err
		}
		if bytes.Contains(line, []byte("msg=ready ")) && !w.ready.Swap(true) && w.onReady != nil {
			w.onReady()
		}
		w.rest = rest
	}
}

// say writes a message of the supervisor.
func (w *prefixed) say(text string) { _ = w.write([]byte(text)) } // there is nowhere else to report an error

func (w *prefixed) write(line []byte) error {
	w.lines.Lock()
	defer w.lines.Unlock()
	_, err := w.out.Write(append(append([]byte(w.prefix), line...), '\n'))
	return err
}
