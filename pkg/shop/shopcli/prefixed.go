package shopcli

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
)

// prefixed writes whole lines, each with a name in front. Several share one mutex, so that their lines do not mix.
type prefixed struct {
	out    io.Writer
	lines  *sync.Mutex
	prefix string

	ready atomic.Bool // a line has said that the service is
	rest  []byte      // a line that has not ended
}

// Write implements io.Writer. One goroutine at a time may call it.
func (w *prefixed) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ended := bytes.Cut(w.rest, []byte("\n"))
		if !ended {
			return len(p), nil
		}
		if bytes.Contains(line, []byte("msg=ready")) {
			w.ready.Store(true)
		}
		if err := w.write(line); err != nil {
			return 0, err
		}
		w.rest = rest
	}
}

// say writes a line of our own.
func (w *prefixed) say(text string) { _ = w.write([]byte(text)) } // nobody is there to be told

func (w *prefixed) write(line []byte) error {
	w.lines.Lock()
	defer w.lines.Unlock()
	_, err := w.out.Write(append(append([]byte(w.prefix), line...), '\n'))
	return err
}
