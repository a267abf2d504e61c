package service

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// readiness collects the reasons why the program is not ready, for /readyz. It is safe for concurrent use.
type readiness struct {
	mu       sync.Mutex
	waiting  string // what startup is waiting for; empty after startup
	trouble  string // why it is waiting, if known
	draining bool
	checks   []check
}

type check struct {
	name string // empty if the check's errors name their subject themselves
	ask  func() error
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

// serve ends startup. From here on, readiness is determined by the checks.
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

func (r *readiness) add(name string, ask func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, check{name, ask})
}

// reasons returns why the program is not ready, one line per reason. It returns none if the program is ready.
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

// run runs the check and turns a panic into an error.
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
