package cli

import (
	"context"
	"io"
	"sync"
)

// stdin is standard input that stops to be read when ctx ends: a read of a terminal, or of a pipe in which nothing comes,
// cannot be interrupted. A goroutine that reads on its behalf then lives until something comes, or the process ends.
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

// Read implements io.Reader. It fails with the cause of ctx when that has ended.
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
