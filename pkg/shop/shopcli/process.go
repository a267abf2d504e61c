package shopcli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
)

// A process is one service as a process of its own: this very binary, as `serve NAME`, which is the main of the
// service's own binary.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of the process's end; set before ended is closed
}

// startProcess starts a service. It ends when it is told to, when dir is no longer there, or, unless it is to outlive
// this process, when this process has ended, however that came about. Its output goes to out.
func startProcess(s *system, name string, out io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	args := []string{"serve", name, "--config", s.configFile(), "--leash-dir", s.dir}
	if !s.outlive {
		args = append(args, "--leash-pid", strconv.Itoa(os.Getpid()))
	}
	// Not exec.CommandContext: a service is ended by SIGTERM, and drains.
	cmd := exec.Command(self, args...) //nolint:noctx // see above
	cmd.Env = s.environment(name)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = ownGroup() // a Ctrl-C reaches this process alone, which then ends the services in order
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// kill ends the process with SIGKILL, as a crash would, and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error says that it is gone already
	<-p.ended
}

// stop ends the process with SIGTERM, and waits until it has drained. When ctx ends before that, it is killed.
func (p *process) stop(ctx context.Context) error {
	terminate(p.cmd.Process)
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("%s: %w", p.name, p.err)
		}
		return nil
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("%s did not drain in time and was killed: %w", p.name, ctx.Err())
	}
}

// running tells whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// leash returns a context that ends when dir is no longer there, or when the process pid is no longer the parent of
// this one. An empty dir and a pid of 0 are not looked at.
func leash(ctx context.Context, dir string, pid int) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if dir == "" && pid == 0 {
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
			if _, err := os.Stat(dir); dir != "" && err != nil || pid != 0 && os.Getppid() != pid {
				cancel()
				return
			}
		}
	}()
	return ctx, cancel
}

// invocation is how a person calls this program: what `go run` has built is gone when it has ended.
func invocation(app *cli.App) string {
	if self, err := os.Executable(); err == nil && strings.Contains(filepath.ToSlash(self), "/go-build") && strings.Contains(self, "exe") {
		return "go run ./cmd/" + app.Name
	}
	return app.Name
}

// cleanEnvironment is this process's environment without Leveret's settings: the services' come from their file.
func cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, config.EnvPrefix)
	})
}
