package term

import (
	"context"
	"io"
	"sync"
)

// stdin reads from r until ctx ends. A blocked read of a terminal or a pipe cannot be interrupted, so a goroutine reads
// ahead; it ends when its read does, or with the process.
type stdin struct {
	ctx    context.Context //nolint:containedctx // of one run of the program, as stdin is
	r      io.Reader
	start  sync.Once
	chunks chan chunk
	rest   chunk
}

type chunk struct {
	bytes []byte
	err   error
}

// Interruptible returns a reader of r whose Read fails with the cause of ctx once that has ended. A nil r is empty. The
// first Read starts a goroutine that reads ahead; it may outlive ctx by one blocked read of r.
func Interruptible(ctx context.Context, r io.Reader) io.Reader {
	if r == nil {
		return eof{}
	}
	return &stdin{ctx: ctx, r: r, chunks: make(chan chunk)}
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

func (s *stdin) Read(p []byte) (int, error) {
	s.start.Do(func() { go s.copy() })
	if len(s.rest.bytes) == 0 && s.rest.err == nil {
		select {
		case s.rest = <-s.chunks:
		case <-s.ctx.Done():
			return 0, context.Cause(s.ctx)
		}
	}
	n := copy(p, s.rest.bytes)
	s.rest.bytes = s.rest.bytes[n:]
	if len(s.rest.bytes) == 0 && s.rest.err != nil {
		return n, s.rest.err
	}
	return n, nil
}

func (s *stdin) copy() {
	for {
		b := make([]byte, 32<<10)
		n, err := s.r.Read(b)
		select {
		case s.chunks <- chunk{b[:n], err}:
		case <-s.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}
