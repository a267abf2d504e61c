package shopcli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

type devOptions struct{ data string }

// Dev makes the command that runs everything here.
func Dev(app *cli.App) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:     "dev",
		GroupID: "run",
		Short:   "Run everything here: RabbitMQ and all services, until Ctrl-C",
		Long: `Run everything here, until Ctrl-C.

Starts a private RabbitMQ, on its usual ports where those are free, or uses the one that is configured, and all services
as processes of their own. Their logs go to standard output, with their names in front; what the command itself tells goes
to standard error. A service that crashes is started again, and so is the RabbitMQ that was started here. Ctrl-C lets the
services finish what they do, and ends the broker; a second one ends everything at once. Nothing is kept, unless --data
says where.`,
		Args:    cli.Arguments(0, 0),
		Example: fmt.Sprintf("  %[1]s dev\n  %[1]s dev --data ./dev-data\n  %[1]s dev --broker-url amqp://localhost:5672/", app.Name),
		RunE:    func(cmd *cobra.Command, _ []string) error { return dev(cmd.Context(), app, o) },
	}
	cmd.Flags().StringVar(&o.data, "data", "", "keep queues and stores in this `folder`, for the next time")
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

func dev(ctx context.Context, app *cli.App, o devOptions) (err error) {
	node := devbroker.Config{DefaultPorts: true, Output: app.IO.Err}
	if o.data != "" {
		if o.data, err = filepath.Abs(o.data); err != nil {
			return err
		}
		node.Dir, node.KeepData = o.data, true
	}
	s, err := openSystem(ctx, app, node, false, o.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	s.logFormat, s.health = "text", healthAddresses()
	if v, ok := app.Config().Value("log.level"); ok && v.Origin.Source != config.FromDefault {
		s.logLevel = v.String()
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	tellDev(app, s)
	return supervise(ctx, app, s)
}

func tellDev(app *cli.App, s *system) {
	app.Note(`
  management UI   %s   user %s, password %s
  AMQP            %s
  try, in another terminal:`, s.broker.ManagementURL(), s.broker.Username(), shownPassword(s), hostOf(s.url))
	name := invocation(app)
	if s.url != "amqp://guest:guest@localhost:5672/" && s.url != "amqp://guest:guest@127.0.0.1:5672/" {
		name += " --config " + s.configFile()
	}
	app.Note("  %[1]s contracts show order.place --example | %[1]s send order.place -f -\n  %[1]s queues --watch\n", name)
}

// colours tell the services' lines apart.
var colours = []term.Paint{term.Green, term.Yellow, term.Bold}

// healthAddresses are the services' usual ones, where those are free.
func healthAddresses() map[string]string {
	addresses := make(map[string]string)
	for _, p := range programs.All() {
		usual := p.Defaults["health.address"]
		if l, err := net.Listen("tcp", usual); err == nil { //nolint:noctx // it does not block
			_ = l.Close()
			addresses[p.Service.Name()] = usual
		}
	}
	return addresses
}

// supervise runs the services until ctx ends, and ends them in order then.
func supervise(ctx context.Context, app *cli.App, s *system) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var lines sync.Mutex
	var running sync.WaitGroup
	width := 0
	for _, p := range programs.All() {
		width = max(width, len(p.Service.Name()))
	}
	for i, p := range programs.All() {
		name := p.Service.Name()
		out := &prefixed{out: app.IO.Out, lines: &lines, prefix: app.Paint(colours[i%len(colours)], fmt.Sprintf("%-*s | ", width, name))}
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

// keepNodeRunning starts the node again whenever it has ended, until ctx ends. Its data and its ports are as they were.
func keepNodeRunning(ctx context.Context, app *cli.App, s *system) error {
	for {
		if s.broker.AwaitEnd(ctx) != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		note := ""
		if log := s.broker.About().LogFile; log != "" {
			_ = os.Rename(log, log+".ended") // the next start begins another
			note = ". Its log is " + log + ".ended"
		}
		app.Warn("RabbitMQ has ended; starting it again%s", note)
		if err := s.broker.Start(ctx); err != nil {
			return cli.Fail(cli.ExitUnreachable, "", "%w", err)
		}
		app.Note("RabbitMQ answers again")
	}
}

// keepRunning runs one service, again after each crash, until ctx ends. It returns an error where that makes no sense:
// the service does not take its settings.
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
		if ok && exited.ExitCode() == int(cli.ExitUsage) && !out.ready.Load() { // a crash of Go's ends with the same
			if !s.anyHealthAddress(name) {
				return fmt.Errorf("%sd does not take its settings", name)
			}
			out.say("its health address may have been taken meanwhile; starting it again with a free one")
			continue
		}
		if time.Since(begun) > time.Minute {
			pause = time.Second
		}
		out.say(fmt.Sprintf("ended (%v); starting it again in %v", reasonOf(p.err), pause))
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
	}
}
