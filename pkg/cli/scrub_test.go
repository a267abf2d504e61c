package cli_test

import (
	"bytes"
	"io"
	"regexp"
	"sync"

	"github.com/leveretmq/leveret/pkg/cli/term"
)

// What differs from run to run is replaced in the output of the program, so that scripts can compare the rest.
var scrubs = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "<id>"},
	{regexp.MustCompile(`"(elapsed_ms)": ?[0-9.]+`), `"$1": <ms>`},
	{regexp.MustCompile(`(confirmed|reply|error after|confirmed in) [0-9.]+[mµ]?s\b`), "$1 <time>"},
	{regexp.MustCompile(`<time>, [0-9.k]+/s`), "<time>, <rate>/s"},
	{regexp.MustCompile(`(oven|waiter)@[^ "]+/[0-9]+`), "$1@<host>"},
	{regexp.MustCompile(`test-[a-z0-9]{26}`), "<vhost>"},
	{regexp.MustCompile(`\b127\.0\.0\.1:[0-9]{5}\b`), "<broker>"},
	{regexp.MustCompile(`"fingerprint": ?"[0-9a-f]{12}"`), `"fingerprint": "<fingerprint>"`},
	{regexp.MustCompile(`(?m)^(fingerprint +)[0-9a-f]{12}$`), "$1<fingerprint>"},
	{regexp.MustCompile(`"(failed_at|first_failed_at|sent_at|oldest|newest|at)": ?"[^"]+"`), `"$1": "<time>"`},
	{regexp.MustCompile(`"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"`), `"<time>"`},
	{regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z`), "<time>"},
}

const exampleID = "01938c3e-8a41-7000-8000-000000000001"

func scrub(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte(exampleID), []byte("<example>")) // is the same in every run
	for _, s := range scrubs {
		text = s.pattern.ReplaceAll(text, []byte(s.with))
	}
	return bytes.ReplaceAll(text, []byte("<example>"), []byte(exampleID))
}

// scrubbed returns streams whose output is scrubbed line by line. flush writes what is no whole line.
func scrubbed(s *term.Streams) (streams *term.Streams, flush func()) {
	out, err := &scrubber{w: s.Out}, &scrubber{w: s.Err}
	s.Out, s.Err = out, err
	return s, func() {
		out.flush()
		err.flush()
	}
}

type scrubber struct {
	mu   sync.Mutex
	w    io.Writer
	held []byte
}

func (s *scrubber) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = append(s.held, p...)
	i := bytes.LastIndexByte(s.held, '\n') + 1
	if i == 0 {
		return len(p), nil
	}
	_, err := s.w.Write(scrub(s.held[:i]))
	s.held = append([]byte(nil), s.held[i:]...)
	return len(p), err
}

func (s *scrubber) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.w.Write(scrub(s.held))
	s.held = nil
}
