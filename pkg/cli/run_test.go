package cli_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// command is one run of the program inside the test's process: with a context that ends, on what looks like a terminal.
type command struct {
	args     []string
	stdin    io.Reader
	terminal bool
	env      map[string]string
	stdout   io.Writer // default: out
	width    int
	height   int
	catalog  *leveret.Catalog // default: the kitchen's

	out, err output
}

// output is what a program wrote so far.
type output struct{ testmain.Output }

func (o *output) lines() []string { return strings.Split(strings.TrimSuffix(o.String(), "\n"), "\n") }

// undisturbed leaves out what a command says while a busy machine keeps it waiting for the broker.
type undisturbed struct{ io.Writer }

func (w undisturbed) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("still waiting for the broker")) {
		return len(p), nil
	}
	return w.Writer.Write(p)
}

// kitchenAt makes a run on a broker. The tests' URLs hold a password, which no flag takes, so it is in a file.
func kitchenAt(tb testing.TB, address string, args ...string) *command {
	tb.Helper()
	u, err := url.Parse(address)
	require.NoError(tb, err)
	if password, _ := u.User.Password(); !slices.Contains(args, "--broker-password-file") { // of another user
		file := filepath.Join(tb.TempDir(), "password")
		require.NoError(tb, os.WriteFile(file, []byte(password), 0o600))
		args = append(args, "--broker-password-file", file)
	}
	u.User = nil
	if !slices.Contains(args, "--broker-connect-timeout") {
		args = append(args, "--broker-connect-timeout", patience.String())
	}
	return &command{args: append(args, "--broker-url", u.String())}
}

func (c *command) run(ctx context.Context) cli.ExitCode {
	var stdout io.Writer = &c.out
	if c.stdout != nil {
		stdout = c.stdout
	}
	return cli.Run(ctx, cli.Config{Catalog: cmp.Or(c.catalog, catalog), Name: "kitchen", Args: c.args, Extra: []cli.Extra{cleanCommand}, Streams: &term.Streams{
		In: c.stdin, Out: stdout, Err: undisturbed{&c.err}, InTerminal: c.terminal, OutTerminal: c.terminal, ErrTerminal: c.terminal,
		Size: func() (width, height int) { return c.width, c.height },
		Env:  func(name string) string { return c.env[name] },
	}})
}

const aPie = `{"dish_id":"{{uuid}}","dish":"pie","minutes":30}`

func TestInterruptedSendTellsWhatIsConfirmed(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	in, typed := io.Pipe()
	t.Cleanup(func() { _ = typed.Close() })
	c := kitchenAt(t, url, "send", "oven.bake", "-f", "-", "--lines")
	c.stdin = in
	ctx, ctrlC := context.WithCancel(t.Context())
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(ctx) }()
	for range 5 {
		_, err := io.WriteString(typed, aPie+"\n")
		require.NoError(t, err)
	}
	onBroker(t, url, func(bctx context.Context, tb testing.TB, conn *rabbitConn) { // and then nothing is typed any more
		tb.Helper()
		declareAll(bctx, tb, conn)
		requireReady(bctx, tb, conn, "oven.bake", 5)
	})
	ctrlC()
	require.Equal(t, cli.ExitInterrupted, <-ended)
	require.Contains(t, c.out.String(), "sent 5 oven.bake confirmed in")
	require.Equal(t, "error: interrupted: 5 sent and confirmed\n", c.err.String())
}

func TestInterruptedCall(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	ctx, ctrlC := context.WithCancel(t.Context())
	t.Cleanup(serveAnd(t, url, ctrlC))
	c := kitchenAt(t, url, "call", "oven.price", `{"dish":"slow"}`, "-o", "json", "--timeout", "1m")
	require.Equal(t, cli.ExitInterrupted, c.run(ctx))
	require.Empty(t, c.out.String())
	var f struct {
		Error struct {
			Exit int    `json:"exit"`
			Kind string `json:"kind"`
		} `json:"error"`
	}
	require.NoError(t, json.Unmarshal([]byte(c.err.String()), &f))
	require.Equal(t, 130, f.Error.Exit)
	require.Equal(t, "interrupted", f.Error.Kind)
}

func TestInterruptedWhileConnecting(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	ctx, ctrlC := context.WithCancel(t.Context())
	c := &command{args: []string{"dlq", "ls", "--broker-url", "amqp://" + l.Addr().String() + "/", "--broker-connect-timeout", "1h"}}
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(ctx) }()
	conn, err := l.Accept()
	require.NoError(t, err)
	ctrlC()
	require.Equal(t, cli.ExitInterrupted, <-ended)
	require.NoError(t, conn.Close())
	require.Regexp(t, "^error: interrupted", c.err.String())
	require.NotContains(t, c.err.String(), "context canceled")
}

// A long wait says what it is waiting for.
func TestWaitingForTheBroker(t *testing.T) {
	t.Parallel()
	c := &command{args: []string{"dlq", "ls", "--broker-url", "amqp://127.0.0.1:1/", "--broker-connect-timeout", "6s"}}
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
	require.Regexp(t, `^warning: still trying to reach the broker: .*connection refused\n(.*\n)?error: the broker cannot be reached`, c.err.String())
}

// A broker that takes the connection and says nothing is as good as none.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	c := &command{args: []string{"send", "oven.bake", aPie, "--broker-url", "amqp://" + l.Addr().String() + "/", "--broker-connect-timeout", "300ms"}}
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
	require.Contains(t, c.err.String(), "error: the broker cannot be reached: ")
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	commands := []*command{
		kitchenAt(t, url, "send", "oven.bake", aPie, "-n", "200", "-o", "json"), kitchenAt(t, url, "send", "oven.bake", aPie, "-n", "200", "-o", "json"),
	}
	var both sync.WaitGroup
	for _, c := range commands {
		both.Go(func() { require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String()) })
	}
	both.Wait()
	ids := map[string]bool{}
	for _, c := range commands {
		var sent struct {
			IDs []string `json:"ids"`
		}
		require.NoError(t, json.Unmarshal([]byte(c.out.String()), &sent))
		for _, id := range sent.IDs {
			ids[id] = true
		}
	}
	require.Len(t, ids, 400)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		requireReady(ctx, tb, conn, "oven.bake", 400)
	})
}

func TestWrongCatalog(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	wrong := leveret.NewCatalog(leveret.NewService("a b", leveret.Sends(ovenBake)))
	code := cli.Run(t.Context(), cli.Config{Catalog: wrong, Name: "x", Args: []string{"contracts"}, Streams: &term.Streams{Out: io.Discard, Err: &stderr}})
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, stderr.String(), "error: the catalog is invalid:\n")
	require.Contains(t, stderr.String(), `no service handles the command "oven.bake"`)
	require.Contains(t, stderr.String(), `next:  fix the contracts`)
}

// brokenPipe is standard output whose reader has gone.
type brokenPipe struct{ after int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.after--; b.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestClosedPipe(t *testing.T) {
	t.Parallel()
	c := &command{args: []string{"contracts", "-o", "jsonl"}, stdout: &brokenPipe{1}}
	require.Equal(t, cli.ExitError, c.run(t.Context()))
	require.JSONEq(t, `{"error":{"exit":1,"kind":"error","message":"io: read/write on closed pipe"}}`, c.err.String())

	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	bury(t, url, "oven.bake", 20, "not_found", `{"n":%d}`)
	c = kitchenAt(t, url, "dlq", "replay", "oven.bake", "--yes", "-o", "jsonl")
	c.stdout = &brokenPipe{1}
	require.Equal(t, cli.ExitError, c.run(t.Context()))
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) { // nothing is lost
		tb.Helper()
		requireReady(ctx, tb, conn, "oven.bake", 20)
		requireReady(ctx, tb, conn, "oven.bake.dlq", 0)
	})
}
