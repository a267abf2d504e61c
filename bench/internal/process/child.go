// Package process runs measurements in child processes, which are instances of this same binary.
package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/leveretmq/leveret/bench/internal/measure"
)

// Argument is the argument with which the binary runs as a child.
const Argument = "child"

// A Child is a process that performs one task.
type Child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr *tail
	ready  chan struct{}
	done   chan struct{} // the process has ended; result and err are set
	result measure.Result
	err    error
}

// Start starts a child with its task. When ctx ends, it is killed.
func Start(ctx context.Context, task any) (*Child, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	c := &Child{
		cmd:    exec.CommandContext(ctx, path, Argument),
		stderr: &tail{limit: 4 << 10},
		ready:  make(chan struct{}), done: make(chan struct{}),
	}
	c.cmd.Stderr = c.stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go c.follow(stdout)
	if _, err := c.stdin.Write(append(line, '\n')); err != nil {
		c.Kill()
		return nil, fmt.Errorf("send the task: %w", errors.Join(err, c.err))
	}
	return c, nil
}

// follow reads what the child reports until it has ended.
func (c *Child) follow(stdout io.Reader) {
	defer close(c.done)
	told := false
	becomeReady := sync.OnceFunc(func() { close(c.ready) })
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var report measure.Report
		if json.Unmarshal(lines.Bytes(), &report) != nil {
			continue // a library that prints
		}
		switch {
		case report.Ready:
			becomeReady()
		case report.Result != nil:
			c.result, told = *report.Result, true
		case report.Err != "":
			c.err, told = errors.New(report.Err), true
		}
	}
	err := c.cmd.Wait()
	if !told {
		c.err = fmt.Errorf("the child process reported no result (%v): %s", err, strings.TrimSpace(c.stderr.String()))
	}
}

// Ready waits until the child consumes. It returns an error if the child ends before that.
func (c *Child) Ready(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-c.done:
		if c.err != nil {
			return c.err
		}
		return errors.New("the child ended before it was ready")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop asks the child to end.
func (c *Child) Stop() { _ = c.stdin.Close() }

// Mark makes the child measure from now on.
func (c *Child) Mark() error {
	_, err := c.stdin.Write([]byte("\n"))
	return err
}

// Kill ends the child with SIGKILL and waits until it is gone.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// Wait waits for the child's result. A child that takes longer is killed.
func (c *Child) Wait(limit time.Duration) (measure.Result, error) {
	select {
	case <-c.done:
		return c.result, c.err
	case <-time.After(limit):
		c.Kill()
		return c.result, fmt.Errorf("not done within %v: %s", limit, c.stderr.last())
	}
}

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// tail keeps the last bytes written to it.
type tail struct {
	limit int
	mu    sync.Mutex
	bytes []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - t.limit; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
	return len(p), nil
}

// last returns the last line.
func (t *tail) last() string {
	text := strings.TrimSpace(t.String())
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.bytes)
}
