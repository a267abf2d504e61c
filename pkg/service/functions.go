package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// functions are functions that run concurrently until they are stopped.
type functions struct {
	stop context.CancelFunc
	done chan struct{} // closed when all have returned

	mu      sync.Mutex
	running []string
	errs    []error
}

// start runs each function in its own goroutine. If one returns before it is stopped, start calls ended, which must not
// block.
func start(ctx context.Context, all []function, ended func(error)) *functions {
	ctx, stop := context.WithCancel(ctx)
	f := &functions{stop: stop, done: make(chan struct{})}
	for _, one := range all {
		f.running = append(f.running, one.name)
	}
	var running sync.WaitGroup
	for _, one := range all {
		running.Go(func() {
			err := one.call(ctx)
			asked := ctx.Err() != nil
			err = f.note(one.name, err, asked)
			if !asked {
				ended(err)
			}
		})
	}
	go func() {
		running.Wait()
		close(f.done)
	}()
	return f
}

// call runs the function and turns a panic into an error.
func (f function) call(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v)
		}
	}()
	return f.run(ctx)
}

// note removes a function from the list of running ones. It returns an error if the function failed or ended early.
func (f *functions) note(name string, err error, asked bool) error {
	switch {
	case asked && (errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed)):
		err = nil
	case err != nil:
		err = fmt.Errorf("%s: %w", name, err)
	case !asked:
		err = fmt.Errorf("%s ended unexpectedly", name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.running, name)
	f.running = slices.Delete(f.running, i, i+1)
	if err != nil {
		f.errs = append(f.errs, err)
	}
	return err
}

// end stops the functions, waits for them up to limit, and returns their errors.
func (f *functions) end(limit time.Duration) error {
	f.stop()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.running) > 0 {
		f.errs = append(f.errs, fmt.Errorf("%s did not end within %v and was abandoned", strings.Join(f.running, ", "), limit))
	}
	return errors.Join(f.errs...)
}

// panicError returns a recovered panic as an error with the stack.
func panicError(v any) *panicked {
	return &panicked{value: v, stack: debug.Stack()}
}

type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// once is an error whose text has no line twice.
type once struct {
	error
	text string
}

func (o once) Error() string { return o.text }
func (o once) Unwrap() error { return o.error }

// saidOnce leaves out the lines of an error that it has already had. The servers that Setup makes each say all that is
// wrong with the handlers, and Setup joins what they say.
func saidOnce(err error) error {
	if err == nil {
		return nil
	}
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return once{err, strings.Join(lines, "\n")}
}
