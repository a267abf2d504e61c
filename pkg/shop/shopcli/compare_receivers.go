package shopcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/shop/internal/comparand"
)

// receiverCount is how many receivers share the work in every row.
const receiverCount = 2

func receiverName(i int) string { return "receiver-" + strconv.Itoa(i+1) }

// receivers are the processes that do the work.
type receivers struct {
	system  *system
	handler string
	broker  string // its URL, as the receivers reach it
	delay   time.Duration
	dir     string // for effects and the store
	all     []*receiver
}

// A receiver is one of them. It listens at the same addresses in each of its lives.
type receiver struct {
	name, http, grpc string

	mu      sync.Mutex
	process *process // nil before its first life
}

// startReceivers starts receivers and waits until they are ready.
func (c *comparison) startReceivers(
	ctx context.Context, handler, broker string, delay time.Duration,
) (*receivers, error) {
	dir, err := os.MkdirTemp(c.system.dir, handler+"-")
	if err != nil {
		return nil, err
	}
	r := &receivers{system: c.system, handler: handler, broker: broker, delay: delay, dir: dir}
	for i := range receiverCount {
		http, err := c.system.ports.choose()
		if err != nil {
			return nil, err
		}
		grpc, err := c.system.ports.choose()
		if err != nil {
			return nil, err
		}
		r.all = append(r.all, &receiver{name: receiverName(i), http: http, grpc: grpc})
	}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.stop(ctx))
	}
	return r, nil
}

// addresses are where callers reach the receivers.
func (r *receivers) addresses() receiverAddresses {
	a := receiverAddresses{broker: r.broker, layout: r.system.layout}
	for _, one := range r.all {
		a.http, a.grpc = append(a.http, one.http), append(a.grpc, one.grpc)
	}
	return a
}

// store is the file that the receivers share, if they store.
func (r *receivers) store() string { return filepath.Join(r.dir, "store.db") }

// start starts all receivers, and waits until they are ready.
func (r *receivers) start(ctx context.Context) error {
	return r.each(func(one *receiver) error { return r.startOne(ctx, one) })
}

// each does something with all receivers at once.
func (r *receivers) each(do func(*receiver) error) error {
	errs := make([]error, len(r.all))
	var all sync.WaitGroup
	for i, one := range r.all {
		all.Go(func() { errs[i] = do(one) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (r *receivers) startOne(ctx context.Context, one *receiver) error {
	file := filepath.Join(r.dir, one.name+".yaml")
	settings, err := yaml.Marshal(map[string]any{
		"broker":   map[string]any{"url": []string{r.broker}, "layout": string(r.system.layout)},
		"data":     map[string]any{"dir": r.dir},
		"database": map[string]any{"url": "sqlite:" + r.store()},
		"log":      map[string]any{"format": "json"},
		// HTTP and gRPC have no such limit.
		"worker": map[string]any{"drain_timeout": "10s", "concurrency": 64},
		"http":   map[string]any{"address": one.http},
		"grpc":   map[string]any{"address": one.grpc},
		"compare": map[string]any{
			"handler": r.handler, "delay": r.delay.String(), "effects": filepath.Join(r.dir, one.name+".effects"),
		},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, settings, 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(r.system.logFile(one.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if _, err := io.WriteString(log, startMark+"\n"); err != nil {
		return err
	}
	args := []string{
		"compare", "receiver", "--config", file, "--leash-dir", r.dir, "--leash-pid", strconv.Itoa(os.Getpid()),
	}
	p, err := launch(one.name, args, cleanEnvironment(), log)
	if err != nil {
		return err
	}
	one.set(p)
	return awaitReady(ctx, r.system, p)
}

func (one *receiver) set(p *process) {
	one.mu.Lock()
	defer one.mu.Unlock()
	one.process = p
}

// current returns the process of a receiver that runs, or nil.
func (one *receiver) current() *process {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.process == nil || !one.process.running() {
		return nil
	}
	return one.process
}

// kill ends all receivers as a crash would.
func (r *receivers) kill() error {
	return r.each(func(one *receiver) error {
		if p := one.current(); p != nil {
			p.kill()
		}
		return nil
	})
}

// stop lets a receiver drain. It does nothing if the receiver does not run.
func (one *receiver) stop(ctx context.Context) error {
	p := one.current()
	if p == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return p.stop(ctx)
}

// stop ends all receivers.
func (r *receivers) stop(ctx context.Context) error {
	if ctx.Err() != nil { // interrupted: nobody waits for what they do
		return r.kill()
	}
	return r.each(func(one *receiver) error { return one.stop(ctx) })
}

// restart restarts one receiver after the other, with a pause in which callers find the first one again.
func (r *receivers) restart(ctx context.Context, pause time.Duration) error {
	for i, one := range r.all {
		if i > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
		if err := one.stop(ctx); err != nil {
			return err
		}
		if err := r.startOne(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// pids returns the process ids of those that run.
func (r *receivers) pids() []int {
	var all []int
	for _, one := range r.all {
		if p := one.current(); p != nil {
			all = append(all, p.cmd.Process.Pid)
		}
	}
	return all
}

// setDelay sets how long the work takes.
func (r *receivers) setDelay(ctx context.Context, delay time.Duration) error {
	return r.each(func(one *receiver) error {
		caller, err := httprpc.NewCaller(httprpc.CallerConfig{
			Service: comparand.Caller, URLs: []string{"http://" + one.http},
		})
		if err != nil {
			return err
		}
		_, err = comparand.SetDelay.Call(ctx, caller, comparand.Delay{Milliseconds: delay.Milliseconds()})
		_ = caller.Close() // it returns nil
		if err != nil {
			return fmt.Errorf("set the delay of %s: %w", one.name, err)
		}
		return nil
	})
}
