package shopcli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

// supervise runs the services until ctx ends and then shuts them down.
func supervise(ctx context.Context, app *cli.App, s *system) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var lines sync.Mutex
	var running sync.WaitGroup
	var unready atomic.Int32
	unready.Store(int32(len(programs.All())))
	width := 0
	for _, p := range programs.All() {
		width = max(width, len(p.Service.Name()))
	}
	for i, p := range programs.All() {
		name := p.Service.Name()
		out := &prefixed{out: app.IO.Out, lines: &lines, prefix: app.Paint(colours[i%len(colours)], fmt.Sprintf("%-*s | ", width, name))}
		out.onReady = func() {
			if unready.Add(-1) == 0 {
				lines.Lock()
				defer lines.Unlock()
				printREST(app, s, "now that all services are ready")
			}
		}
		running.Go(func() {
			if err := keepRunning(ctx, s, name, out); err != nil {
				cancel(err)
			}
		})
	}
	running.Go(func() {
		if err := keepNodeRunning(ctx, app, s); err != nil {
			cancel(err)
		}
	})
	running.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// keepNodeRunning restarts the node whenever it has ended, with the same data and ports, until ctx ends.
func keepNodeRunning(ctx context.Context, app *cli.App, s *system) error {
	for {
		if s.broker.AwaitEnd(ctx) != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		note := ""
		if log := s.broker.About().LogFile; log != "" {
			_ = os.Rename(log, log+".ended") // or the next start would overwrite it
			note = ". Its log is " + log + ".ended"
		}
		app.Warn("RabbitMQ has ended; restarting it%s", note)
		if err := s.broker.Start(ctx); err != nil {
			return cli.Fail(cli.ExitUnreachable, "", "%w", err)
		}
		app.Note("RabbitMQ answers again")
	}
}

// errRejected means that a service cannot run with its settings: an address may be taken by now.
var errRejected = errors.New("rejects its settings")

// keepRunning runs one service, restarting it after each crash, until ctx ends. It returns errRejected if
// restarting makes no sense, because the service rejects its settings.
func keepRunning(ctx context.Context, s *system, name string, out *prefixed) error {
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		p, err := startProcess(s, name, out)
		if err != nil {
			return err
		}
		begun := time.Now()
		select {
		case <-ctx.Done():
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			return p.stop(stopping)
		case <-p.ended:
		}
		exited, ok := errors.AsType[*exec.ExitError](p.err)
		if ok && exited.ExitCode() == int(cli.ExitUsage) && !out.ready.Load() { // a Go panic also exits with 2
			return fmt.Errorf("%sd %w", name, errRejected)
		}
		if time.Since(begun) > time.Minute {
			pause = time.Second
		}
		out.say(fmt.Sprintf("ended (%v); restarting it in %v", reasonOf(p.err), pause))
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
	}
}
