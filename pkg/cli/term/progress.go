package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A Progress is a progress bar: one line that is drawn over. It starts no goroutine. Its methods must not be called
// concurrently; on a nil Progress they do nothing.
type Progress struct {
	status *Status
	style  Style
	verb   string
	total  int // 0: unknown
	done   int
	begun  time.Time
	drawn  time.Time
	ended  bool
}

const (
	progressEvery = 100 * time.Millisecond
	progressWidth = 24
)

// NewProgress starts a progress bar: "verb ━━━─── 3/9  1.2k/s". Total is 0 if it is unknown.
func NewProgress(s *Status, style Style, verb string, total int) *Progress {
	now := time.Now()
	return &Progress{status: s, style: style, verb: verb, total: total, begun: now, drawn: now}
}

// Add counts n more as done.
func (p *Progress) Add(n int) {
	if p != nil {
		p.Set(p.done + n)
	}
}

// Set sets how many are done.
func (p *Progress) Set(done int) {
	if p == nil || p.ended {
		return
	}
	p.done = done
	if now := time.Now(); now.Sub(p.drawn) >= progressEvery {
		p.drawn = now
		p.status.draw(p.line(now))
	}
}

// End removes the bar. Further calls do nothing.
func (p *Progress) End() {
	if p != nil && !p.ended {
		p.ended = true
		p.status.draw("")
	}
}

func (p *Progress) line(now time.Time) string {
	rate := Count(float64(p.done) / now.Sub(p.begun).Seconds())
	if p.total <= 0 {
		return fmt.Sprintf("%s %d  %s/s", p.verb, p.done, rate)
	}
	filled := min(max(p.done, 0)*progressWidth/p.total, progressWidth)
	bar := p.style.Paint(Green, strings.Repeat("━", filled)) + p.style.Paint(Dim, strings.Repeat("─", progressWidth-filled))
	return fmt.Sprintf("%s %s %d/%d  %s/s", p.verb, bar, p.done, p.total, rate)
}

// A Status is a stream with a status line below what is written to it. It is safe for concurrent use.
type Status struct {
	mu    sync.Mutex
	w     io.Writer
	erase string // the line
	drawn bool
}

// NewStatus returns a Status on the Err of s.
func NewStatus(s *Streams) *Status {
	return &Status{w: s.Err, erase: s.Control("[G") + s.Control("[K")} // the line, from its beginning
}

// Write removes the status line and writes.
func (s *Status) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	return s.w.Write(p)
}

// draw replaces the status line; "" removes it.
func (s *Status) draw(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	if line != "" {
		_, _ = io.WriteString(s.w, line)
		s.drawn = true
	}
}

func (s *Status) clear() {
	if s.drawn {
		_, _ = io.WriteString(s.w, s.erase)
		s.drawn = false
	}
}
