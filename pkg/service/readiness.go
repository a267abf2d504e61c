package service

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// readiness is what /readyz says: nothing while all is well, else every reason why not. It is safe for concurrent use.
type readiness struct {
	mu       sync.Mutex
	waiting  string // what the way up waits for; empty when it is behind
	trouble  string // why that takes time, where it is known
	draining bool
	checks   []check
}

type check struct {
	name string // empty for what says itself what it is about
	ask  func() error
}

// wait says that the program is on its way up, and what it waits for.
func (r *readiness) wait(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.trouble = what, ""
}

// explain says why what the way up waits for has not come yet. What is not waited for any more is passed over.
func (r *readiness) explain(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == what {
		r.trouble = ": " + err.Error()
	}
}

// serve ends the way up: from here on the checks say how it is.
func (r *readiness) serve() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.trouble = "", ""
}

// drain begins the way down.
func (r *readiness) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
}

func (r *readiness) add(name string, ask func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, check{name, ask})
}

// reasons returns why the program is not ready, a line each; none if it is.
func (r *readiness) reasons() []string {
	r.mu.Lock()
	waiting, draining, checks := r.waiting+r.trouble, r.draining, slices.Clone(r.checks)
	r.mu.Unlock()
	switch {
	case draining:
		return []string{"draining"}
	case waiting != "":
		return []string{"starting: waiting for " + oneLine(waiting)}
	}
	var reasons []string
	for _, c := range checks {
		err := c.run()
		if err == nil {
			continue
		}
		for line := range strings.Lines(err.Error()) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			if c.name != "" {
				line = c.name + ": " + line
			}
			reasons = append(reasons, line)
		}
	}
	return reasons
}

// run asks, and takes a panic for a no.
func (c check) run() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the check panicked: %v", v)
		}
	}()
	if err := c.ask(); err != nil {
		if err.Error() == "" {
			return errors.New("not ready")
		}
		return err
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
