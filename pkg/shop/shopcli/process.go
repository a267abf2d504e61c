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
	"unicode"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
)

// A process is a service running in its own process. It runs this very binary as `serve NAME`, which does the same as
// the service's own binary.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // from cmd.Wait; set before ended is closed
}

// startProcess starts a service that writes its output to out. Besides being stopped, it ends when the system's folder
// is removed and, unless the system is to outlive this process, when this process ends for whatever reason.
func startProcess(s *system, name string, out io.Writer) (*process, error) {
	args := []string{"serve", name, "--config", s.configFile(), "--leash-dir", s.dir}
	if !s.outlive {
		args = append(args, "--leash-pid", strconv.Itoa(os.Getpid()))
	}
	return launch(name, args, s.environment(name), out)
}

// launch runs this very binary in a process of its own.
func launch(name string, args, env []string, out io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	// Not exec.CommandContext, which kills: a service is ended by SIGTERM, so that it drains.
	cmd := exec.Command(self, args...) //nolint:noctx // see above
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = ownGroup() // Ctrl-C reaches only this process, which then shuts the services down
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

// kill ends the process with SIGKILL, as a crash would, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error means that it is already gone
	<-p.ended
}

// stop ends the process with SIGTERM and waits until it has drained. If ctx ends first, stop kills it and returns an
// error.
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

// running reports whether the process is still running.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// invocation returns how to call this program. A binary built by `go run` is gone when it has ended.
func invocation(app *cli.App) string {
	if self, err := os.Executable(); err == nil && strings.Contains(filepath.ToSlash(self), "/go-build") && strings.Contains(self, "exe") {
		return "go run ./cmd/" + app.Name
	}
	return app.Name
}

// shellWord quotes a path for the shell if it needs that.
func shellWord(path string) string {
	if !strings.ContainsFunc(path, func(r rune) bool {
		return !strings.ContainsRune("/._-+,@%", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// cleanEnvironment returns this process's environment without Leveret's settings, which the services read from their
// file. Whose file they trust cannot be in the file.
func cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, config.EnvPrefix) && !strings.HasPrefix(entry, config.EnvOwner+"=")
	})
}
