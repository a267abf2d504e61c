package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A Progress is one line on a terminal that is drawn again and again. It has no goroutine of its own: who does the work
// calls Add or Set, from one goroutine at a time. All its methods may be called on nil.
type Progress struct {
	app   *App
	verb  string
	total int // 0: not known
	done  int
	begun time.Time
	drawn time.Time
	ended bool
}

const (
	progressEvery = 100 * time.Millisecond
	progressWidth = 24
)

// StartProgress begins a progress bar on standard error: "verb ━━━─── 3/9  1.2k/s". Total is 0 where nobody knows it.
// Where standard error is no terminal it returns nil, which shows nothing. What is written to standard error meanwhile
// goes above the bar.
func (a *App) StartProgress(verb string, total int) *Progress {
	if !a.IO.interactive() {
		return nil
	}
	now := time.Now()
	return &Progress{app: a, verb: verb, total: total, begun: now, drawn: now}
}

// Add tells that n more are done.
func (p *Progress) Add(n int) {
	if p != nil {
		p.Set(p.done + n)
	}
}

// Set tells how many are done.
func (p *Progress) Set(done int) {
	if p == nil || p.ended {
		return
	}
	p.done = done
	if now := time.Now(); now.Sub(p.drawn) >= progressEvery {
		p.drawn = now
		p.app.status.draw(p.line(now))
	}
}

// End takes the bar away. It may be called again.
func (p *Progress) End() {
	if p != nil && !p.ended {
		p.ended = true
		p.app.status.draw("")
	}
}

func (p *Progress) line(now time.Time) string {
	rate := count(float64(p.done) / now.Sub(p.begun).Seconds())
	if p.total <= 0 {
		return fmt.Sprintf("%s %d  %s/s", p.verb, p.done, rate)
	}
	filled := min(max(p.done, 0)*progressWidth/p.total, progressWidth)
	bar := p.app.err.green(strings.Repeat("━", filled)) + p.app.err.dim(strings.Repeat("─", progressWidth-filled))
	return fmt.Sprintf("%s %s %d/%d  %s/s", p.verb, bar, p.done, p.total, rate)
}

// status is standard error, for several goroutines: what is written to it, and below that a line that is drawn over.
type status struct {
	mu    sync.Mutex
	w     io.Writer
	drawn bool
}

const eraseLine = "\r\x1b[K"

// Write takes the drawn line away and writes.
func (s *status) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	return s.w.Write(p)
}

// draw replaces the drawn line; with "" it takes it away.
func (s *status) draw(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	if line != "" {
		_, _ = io.WriteString(s.w, line)
		s.drawn = true
	}
}

func (s *status) erase() {
	if s.drawn {
		_, _ = io.WriteString(s.w, eraseLine)
		s.drawn = false
	}
}

// count writes a number as people read it: 7, 1.2k, 35k.
func count(n float64) string {
	switch {
	case n >= 10_000:
		return fmt.Sprintf("%.0fk", n/1000)
	case n >= 1000:
		return fmt.Sprintf("%.1fk", n/1000)
	case n >= 10 || n == float64(int(n)):
		return fmt.Sprintf("%.0f", n)
	default:
		return fmt.Sprintf("%.1f", n)
	}
}
