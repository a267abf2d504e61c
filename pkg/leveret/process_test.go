package leveret_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The environment that makes of this test binary a worker process: what it is, of roles, and the broker's address.
const (
	processRole = "LEVERET_TEST_PROCESS"
	processURL  = "LEVERET_TEST_PROCESS_URL"
)

// A role makes the worker of a process. From told come the lines that the test sends to the process.
type role func(conn *leveret.Conn, told <-chan string) (*leveret.Worker, error)

// roles are the processes that tests start: see [bench.launch].
var roles = map[string]role{
	"crashing":   crashingWorker,
	"suspended":  suspendedWorker,
	"hindered":   hinderedWorker,
	"unhindered": unhinderedWorker,
	"trying":     tryingWorker,
}

// say reports a fact to the test.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// play is the worker process: it serves until SIGTERM.
func play(r role) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	told := make(chan string)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			told <- lines.Text()
		}
		os.Exit(1) // the test is gone
	}()
	err := func() error {
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{os.Getenv(processURL)}, Logger: log})
		if err != nil {
			return err
		}
		w, err := r(conn, told)
		if err != nil {
			return err
		}
		return errors.Join(w.Run(ctx), conn.Close(context.WithoutCancel(ctx)))
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a worker in its own process. It reports what happens, a line for each fact, and takes lines from the test.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Writer
	lines chan string
	said  map[string]int // lines that nobody has waited for yet
}

// launch starts this test binary again as a worker process. It is killed when the test ends.
func (b *bench) launch(role, url string, env ...string) *process {
	b.t.Helper()
	p := &process{t: b.t, cmd: exec.CommandContext(b.ctx, os.Args[0], "-test.run=^$"), lines: make(chan string), said: map[string]int{}}
	p.cmd.Env = append(append(os.Environ(), processRole+"="+role, processURL+"="+url), env...)
	errs := &output{to: b.t.Output()}
	b.t.Cleanup(errs.end)
	p.cmd.Stderr = errs
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(b.t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(b.t, err)
	require.NoError(b.t, p.cmd.Start())
	go func() {
		defer close(p.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	b.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		p.wait()
	})
	return p
}

// await waits until the process has said all of these lines, in any order. Each line is taken: the next await waits for
// another one.
func (p *process) await(lines ...string) {
	p.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for _, line := range lines {
		for p.said[line] == 0 {
			select {
			case said, ok := <-p.lines:
				if !ok {
					require.FailNow(p.t, "the process has ended", "it has said %v, but not %q", p.said, line)
				}
				p.said[said]++
			case <-late.C:
				require.FailNow(p.t, "the process is silent", "it has said %v, but not %q", p.said, line)
			}
		}
		if p.said[line]--; p.said[line] == 0 {
			delete(p.said, line)
		}
	}
}

// tell sends the process a line.
func (p *process) tell(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.stdin, line+"\n")
	require.NoError(p.t, err)
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// killOwnProcess ends this process at once, as a crash would.
func killOwnProcess() {
	if own, err := os.FindProcess(os.Getpid()); err == nil {
		_ = own.Kill()
	}
}

// wait waits until the process has ended, and returns its exit code; -1 if a signal has ended it.
func (p *process) wait() int {
	for line := range p.lines { // all of them, before the pipe is closed
		p.said[line]++
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// ledger returns how often each number stands in a file, a line for each effect of a process.
func ledger(t *testing.T, file string) map[int]int {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	seen := map[int]int{}
	for line := range bytes.Lines(text) {
		i, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		require.NoError(t, err)
		seen[i]++
	}
	return seen
}
