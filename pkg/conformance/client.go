package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A Client is the program that is judged. It returns when ctx ends, or when it cannot go on; whatever it has started has
// ended by then.
type Client func(ctx context.Context, s Streams) error

// Streams are what a client is given.
type Streams struct {
	// URL is that of the broker: amqp://user:password@host:port, without a path.
	URL      string
	In       io.Reader
	Out, Err io.Writer
}

// endWithin is how long a client has to end by itself, once it is asked to.
const endWithin = 2 * time.Second

// Exec returns the client that is a program of its own, in any language. It gets the URL in the environment variable
// AMQP_URL, and runs in a process group, which is ended with it. The program has to exist.
func Exec(name string, args ...string) (Client, error) {
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, fmt.Errorf("find the client: %w", err)
	}
	return func(ctx context.Context, s Streams) error {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = append(os.Environ(), "AMQP_URL="+s.URL)
		cmd.Stdout, cmd.Stderr = s.Out, s.Err
		cmd.SysProcAttr = ownGroup()
		cmd.Cancel = func() error { return terminate(cmd.Process) }
		cmd.WaitDelay = endWithin
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start %s: %w", strings.Join(append([]string{name}, args...), " "), err)
		}
		go func() { // until s.In ends, which it does when this function has returned
			defer in.Close()
			_, _ = io.Copy(in, s.In)
		}()
		err = cmd.Wait()
		killGroup(cmd.Process)
		return err
	}, nil
}
