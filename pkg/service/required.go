package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

const (
	// checkEvery is how often the required checks are made, and recheckEvery how often while one of them fails.
	checkEvery   = 5 * time.Second
	recheckEvery = time.Second
	// checkLimit is when a check's context ends, and hungAfter when a check that does not return counts as failed.
	checkLimit = 15 * time.Second
	hungAfter  = checkLimit + time.Second
)

// required makes the checks of [Runtime.Required], and pauses the worker while one of them fails.
type required struct {
	log    *slog.Logger
	worker *leveret.Worker // nil where the service consumes nothing
	checks []*requirement  // not changed after Setup

	mu     sync.Mutex // held during a round of checks
	began  time.Time  // the last round
	failed error      // what it found
}

// requirement is one check. The last round has left its result in err.
type requirement struct {
	name  string
	check func(context.Context) error
	err   atomic.Pointer[error]

	running chan error // gets the result of a call that has not returned; nil if there is none
	hung    bool       // the call is late
}

// run makes the checks until ctx ends.
func (r *required) run(ctx context.Context) error {
	for failing := false; ; {
		wait := checkEvery
		if failing {
			wait = recheckEvery
		}
		select {
		case <-time.After(wait):
			failing = r.look(ctx) != nil
		case <-ctx.Done():
			return nil
		}
	}
}

// watch is middleware that makes the checks after a handler has failed in a way that they may explain. So the worker is
// paused before it decides what becomes of the message, and leaves it in its queue.
func (r *required) watch(next leveret.Handler) leveret.Handler {
	return func(ctx context.Context, m *leveret.Message) error {
		err := next(ctx, m)
		switch leveret.CodeOf(err) {
		case leveret.Unknown, leveret.Internal, leveret.Unavailable, leveret.DeadlineExceeded, leveret.ResourceExhausted, leveret.Aborted:
			_ = r.look(context.WithoutCancel(ctx)) // the handler's error says more
		default: // the message or the caller is to blame
		}
		return err
	}
}

// look makes the checks once, and returns what they found. Callers share a round that begins after they have asked.
func (r *required) look(ctx context.Context) error {
	if len(r.checks) == 0 {
		return nil
	}
	asked := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.began.After(asked) {
		return r.failed
	}
	r.began = time.Now()
	for _, c := range r.checks {
		c.start(ctx)
	}
	late, cancel := context.WithDeadline(ctx, r.began.Add(hungAfter))
	defer cancel()
	var errs []error
	for _, c := range r.checks {
		err := c.wait(late)
		if ctx.Err() != nil {
			return r.failed
		}
		c.err.Store(&err)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	r.found(ctx, errors.Join(errs...))
	return r.failed
}

// found pauses or resumes the worker.
func (r *required) found(ctx context.Context, failed error) {
	before := r.failed
	r.failed = failed
	switch {
	case failed != nil:
		if r.worker != nil {
			r.worker.Pause(failed)
		}
		if before == nil { // after the pause, so that the log is right
			r.log.ErrorContext(ctx, "a required check fails; taking no messages until it succeeds", "error", failed)
		}
	case before != nil:
		if r.worker != nil {
			r.worker.Resume()
		}
		r.log.InfoContext(ctx, "the required checks succeed again; taking messages")
	}
}

// start calls the check, unless its last call has not returned.
func (c *requirement) start(ctx context.Context) {
	if c.running != nil {
		return
	}
	running := make(chan error, 1)
	c.running = running
	go func() {
		ctx, cancel := context.WithTimeout(ctx, checkLimit)
		defer cancel()
		running <- function{run: c.check}.call(ctx)
	}()
}

// wait returns the result of the check, or an error when it is late. It does not wait again for one that was late before.
func (c *requirement) wait(late context.Context) error {
	ended := func(err error) error {
		c.running, c.hung = nil, false
		return err
	}
	if !c.hung {
		select {
		case err := <-c.running:
			return ended(err)
		case <-late.Done():
		}
	}
	select {
	case err := <-c.running:
		return ended(err)
	default:
		c.hung = true
		return errHung
	}
}

var errHung = fmt.Errorf("the check has not returned within %v", hungAfter)

// last returns what the last round found.
func (c *requirement) last() error {
	if err := c.err.Load(); err != nil {
		return *err
	}
	return nil
}
