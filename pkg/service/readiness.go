package service

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// readiness collects the states of the program's parts, for /readyz. It is safe for concurrent use.
type readiness struct {
	mu       sync.Mutex
	waiting  string // what startup is waiting for; empty after startup
	trouble  string // why it is waiting, if known
	draining bool
	checks   []part // the program's own: it cannot work without any of them
	parts    []part
	notes    []part // they are reported, and do not count
}

// part is a part of the program, or a check of its own.
type part struct {
	name     string
	ask      func() error // returns nil, or why the part cannot work
	entrance bool         // the part brings work in
}

// partBroker is the part for RabbitMQ: the worker, or only the connection. The other parts are "http" and "grpc".
const partBroker = "broker"

// report is an answer of /readyz.
type report struct {
	ready bool
	lines []string
}

// wait records that the program is starting up, and what it is waiting for.
func (r *readiness) wait(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.trouble = what, ""
}

// explain records why the program is still waiting for what. If it no longer is, explain does nothing.
func (r *readiness) explain(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == what {
		r.trouble = ": " + err.Error()
	}
}

// serve ends startup. From here on, readiness is determined by the parts and the checks.
func (r *readiness) serve() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.trouble = "", ""
}

// drain begins shutdown.
func (r *readiness) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
}

// add adds a check of the program's own.
func (r *readiness) add(name string, ask func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, part{name: name, ask: ask})
}

// part adds a part.
func (r *readiness) part(p part) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = append(r.parts, p)
}

// note adds a line to the report that does not count.
func (r *readiness) note(p part) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, p)
}

// noted returns the lines that do not count.
func (r *readiness) noted() []string {
	r.mu.Lock()
	notes := slices.Clone(r.notes)
	r.mu.Unlock()
	var lines []string
	for _, n := range notes {
		reasons := n.reasons()
		if len(reasons) == 0 {
			reasons = []string{"ready"}
		}
		lines = append(lines, n.name+": "+strings.Join(reasons, "; "))
	}
	return lines
}

// snapshot returns what there is to ask, or why the program is not ready whatever its parts say.
func (r *readiness) snapshot() (checks, parts []part, notReady string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining:
		notReady = "draining"
	case r.waiting != "":
		notReady = "starting: waiting for " + oneLine(r.waiting+r.trouble)
	}
	return slices.Clone(r.checks), slices.Clone(r.parts), notReady
}

// report says whether the program is ready. With servers, it is while at least one part brings work in, and there is a
// line for each part. Without, it needs the broker; then there are only reasons, one per line. Notes come last.
func (r *readiness) report() report {
	checks, parts, notReady := r.snapshot()
	if notReady != "" {
		return report{lines: []string{notReady}}
	}
	var lines []string
	for _, c := range checks {
		for _, reason := range c.reasons() {
			lines = append(lines, c.name+": "+reason)
		}
	}
	ready := len(lines) == 0
	if len(parts) == 1 {
		lines = append(lines, parts[0].reasons()...)
		if len(lines) == 0 {
			return report{ready: true, lines: append([]string{"ready"}, r.noted()...)}
		}
		return report{lines: append(lines, r.noted()...)}
	}
	open := false
	for _, p := range parts {
		reasons := p.reasons()
		if len(reasons) == 0 {
			open = open || p.entrance
			reasons = []string{"ready"}
		}
		lines = append(lines, p.name+": "+strings.Join(reasons, "; "))
	}
	return report{ready: ready && open, lines: append(lines, r.noted()...)}
}

// reportOf says whether one part can work. It returns false if there is no such part.
func (r *readiness) reportOf(name string) (report, bool) {
	_, parts, notReady := r.snapshot()
	i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
	switch {
	case i < 0 && (notReady == "" || !slices.Contains([]string{"http", "grpc", partBroker}, name)):
		return report{}, false
	case notReady != "":
		return report{lines: []string{notReady}}, true
	}
	if reasons := parts[i].reasons(); len(reasons) > 0 {
		return report{lines: reasons}, true
	}
	return report{ready: true, lines: []string{"ready"}}, true
}

// complete reports whether every part and every check is ready.
func (r *readiness) complete() bool {
	checks, parts, notReady := r.snapshot()
	return notReady == "" && !slices.ContainsFunc(append(checks, parts...), func(p part) bool { return len(p.reasons()) > 0 })
}

// reasons returns why the part cannot work, one line per reason. It returns none if it can.
func (p part) reasons() []string {
	err := p.run()
	if err == nil {
		return nil
	}
	var reasons []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			reasons = append(reasons, line)
		}
	}
	if len(reasons) == 0 {
		reasons = []string{"not ready"}
	}
	return reasons
}

// run asks the part and turns a panic into an error.
func (p part) run() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the check panicked: %v", v)
		}
	}()
	return p.ask()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
