package shopcli

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// A leash ends a service that was started by another command, so that none is left running.
type leash struct {
	dir string
	pid int
}

// flags adds the hidden flags by which a leash is set, to a command and those below it.
func (l *leash) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&l.dir, "leash-dir", "", "end when this folder no longer exists")
	f.IntVar(&l.pid, "leash-pid", 0, "end when this is no longer the parent process")
	_ = f.MarkHidden("leash-dir")
	_ = f.MarkHidden("leash-pid")
}

// hold lets a command that runs a service end with its leash, and gives its error the exit code of a service.
func (l *leash) hold(cmd *cobra.Command) {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := l.context(cmd.Context())
		defer cancel()
		cmd.SetContext(ctx)
		return exit(run(cmd, args))
	}
}

// context returns a context that ends when dir no longer exists, or when pid is no longer the parent of this process. An
// empty dir and a pid of 0 are ignored.
func (l *leash) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if l.dir == "" && l.pid == 0 {
		return ctx, cancel
	}
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if _, err := os.Stat(l.dir); l.dir != "" && err != nil || l.pid != 0 && os.Getppid() != l.pid {
				cancel()
				return
			}
		}
	}()
	return ctx, cancel
}
