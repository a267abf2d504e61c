package service

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sparing is the log of the library: of records with the same text it logs a burst, then one per every, with the number
// of those omitted before it. A sender of messages that a worker refuses or fails on can cause ten thousand of them a
// second. The program's own records do not pass through it.
type sparing struct {
	slog.Handler
	seen *seen
}

const (
	burst = 200
	every = 100 * time.Millisecond
)

// seen is what was logged lately, by its text. The library's texts are constants, so they are few.
type seen struct {
	now func() time.Time

	mu  sync.Mutex
	set map[string]*spell
}

type spell struct {
	next    time.Time // when the next record would be logged, if there had been no burst
	omitted int
}

func newSparing(h slog.Handler) sparing {
	return sparing{h, &seen{now: time.Now, set: make(map[string]*spell)}}
}

// Handle implements slog.Handler.
func (s sparing) Handle(ctx context.Context, r slog.Record) error {
	omitted, ok := s.seen.admit(r.Message)
	if !ok {
		return nil
	}
	if omitted > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("omitted", omitted))
	}
	return s.Handler.Handle(ctx, r)
}

// admit reports whether a record is logged, and how many like it were not since the last one that was.
func (s *seen) admit(text string) (omitted int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	like, now := s.set[text], s.now()
	if like == nil {
		like = &spell{}
		s.set[text] = like
	}
	if earliest := now.Add(-burst * every); like.next.Before(earliest) {
		like.next = earliest
	}
	if like.next = like.next.Add(every); like.next.After(now) {
		like.next = like.next.Add(-every)
		like.omitted++
		return 0, false
	}
	omitted, like.omitted = like.omitted, 0
	return omitted, true
}

// WithAttrs implements slog.Handler.
func (s sparing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return sparing{s.Handler.WithAttrs(attrs), s.seen}
}

// WithGroup implements slog.Handler.
func (s sparing) WithGroup(name string) slog.Handler {
	return sparing{s.Handler.WithGroup(name), s.seen}
}
