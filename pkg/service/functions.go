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

// functions run together, until they are told to end.
type functions struct {
	stop context.CancelFunc
	done chan struct{} // closed when all have returned

	mu      sync.Mutex
	running []string
	errs    []error
}

// start runs functions in goroutines of their own. What ends by itself is told to ended, which must not block.
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

// call runs the function, and takes a panic for an error.
func (f function) call(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v)
		}
	}()
	return f.run(ctx)
}

// note takes a function off the list, and returns what was wrong with its end.
func (f *functions) note(name string, err error, asked bool) error {
	switch {
	case asked && (errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed)):
		err = nil
	case err != nil:
		err = fmt.Errorf("%s: %w", name, err)
	case !asked:
		err = fmt.Errorf("%s ended, though nothing told it to", name)
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

// end tells the functions to end, waits until they have, for a limited time, and returns what went wrong with them.
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
		f.errs = append(f.errs, fmt.Errorf("%s did not end within %v and was left behind", strings.Join(f.running, ", "), limit))
	}
	return errors.Join(f.errs...)
}

// panicError is a panic as an error that tells where it came from.
func panicError(v any) error {
	return &panicked{value: v, stack: debug.Stack()}
}

type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }
