package cli_test

import (
	"context"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

type rabbitConn = rabbit.Conn

const escape = "\x1b"

func TestColourOnATerminalOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		terminal bool
		env      string
		args     []string
		coloured bool
	}{
		{name: "a pipe"},
		{name: "a terminal", terminal: true, coloured: true},
		{name: "NO_COLOR", terminal: true, env: "NO_COLOR=1"},
		{name: "a dumb terminal", terminal: true, env: "TERM=dumb"},
		{name: "never", terminal: true, args: []string{"--color", "never"}},
		{name: "always", args: []string{"--color=always"}, env: "NO_COLOR=1", coloured: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name, value, _ := strings.Cut(c.env, "=")
			run := command{args: append([]string{"contracts"}, c.args...), terminal: c.terminal, env: map[string]string{name: value}}
			require.Equal(t, cli.ExitOK, run.run(t.Context()))
			require.Equal(t, c.coloured, strings.Contains(run.out.String(), escape), "%q", run.out.String())
		})
	}
}

func TestTableIsCutToTheTerminal(t *testing.T) {
	t.Parallel()
	c := &command{args: []string{"contracts", "--color", "never"}, terminal: true, width: 60}
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Contains(t, c.out.String(), "oven.price  request  oven   cli_test.priceQuery -> cli_test.price  oven")
	c = &command{args: []string{"contracts", "show", "oven.bkae"}, terminal: true, width: 20}
	require.Equal(t, cli.ExitNotFound, c.run(t.Context()))
	require.Contains(t, c.err.String(), escape+"[31merror:"+escape+"[0m there is no contract")
}

// A table of queues drops columns where there is no room for them; to a pipe it has all.
func TestQueuesFitTheTerminal(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	c := kitchenAt(t, url, "queues", "--color", "never")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Regexp(t, `^QUEUE +READY +UNACKED +CONSUMERS +IN/s +OUT/s +OLDEST +CLEARS IN\n`, c.out.String())
	c = kitchenAt(t, url, "queues", "--color", "never")
	c.terminal, c.width = true, 80
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Regexp(t, `^QUEUE +READY .*CLEARS IN\n`, c.out.String())
	for line := range strings.Lines(c.out.String()) {
		require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 80, line)
	}
}

func TestProgressOnATerminalOnly(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	bar := regexp.MustCompile(`\x1b\[G\x1b\[Ksent \S*━*\S*─* ?\d+/30  [0-9.k]+/s|sent .*30  `)
	args := []string{"send", "oven.bake", aPie, "-n", "30", "--rate", "60/s"}
	c := kitchenAt(t, url, args...)
	c.terminal = true
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Regexp(t, bar, c.err.String())
	require.True(t, strings.HasSuffix(c.err.String(), escape+"[G"+escape+"[K"), "the bar is taken away")
	require.NotContains(t, c.out.String(), "\r")

	for _, quiet := range []*command{kitchenAt(t, url, args...), kitchenAt(t, url, args...)} {
		quiet.env = map[string]string{"TERM": "dumb"}
		require.Equal(t, cli.ExitOK, quiet.run(t.Context()))
		require.Empty(t, quiet.err.String())
	}
}

func TestProgressMakesRoomForNotes(t *testing.T) {
	t.Parallel()
	c := command{args: []string{"clean", "--color", "never"}, terminal: true}
	require.Equal(t, cli.ExitPartial, c.run(t.Context()))
	require.Equal(t, "cleaning\nerror: some plates are dirty\nnext:  kitchen clean\n", c.err.String())
	require.Equal(t, "WHAT   PLATES\nclean      12\ndirty       -\n", c.out.String())
}

// runUntilAsked runs a command, and returns once it asks for consent; then how it ends.
func (c *command) runUntilAsked(ctx context.Context, tb testing.TB) <-chan cli.ExitCode {
	tb.Helper()
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(ctx) }()
	require.Eventually(tb, func() bool { return strings.Contains(c.err.String(), "[y/N]") }, patience, tick)
	return ended
}

func TestReplayAsks(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	bury(t, url, "oven.bake", 3, "not_found", `{"n":%d}`)
	ask := func(answer string, args ...string) *command {
		c := kitchenAt(t, url, append([]string{"dlq", "replay", "oven.bake", "--color", "never"}, args...)...)
		c.terminal, c.stdin = true, strings.NewReader(answer)
		return c
	}
	for _, no := range []string{"\n", "n\n", "", "maybe\n"} {
		c := ask(no)
		require.Equal(t, cli.ExitError, c.run(t.Context()))
		require.Contains(t, c.err.String(), "replay 3 dead letters to oven.bake? [y/N] ")
		require.Contains(t, c.err.String(), "error: nothing was done: the answer was not y\n")
	}
	c := ask("n\n", "--limit", "2", "--where", "attempts > 1")
	c.run(t.Context())
	require.Contains(t, c.err.String(), "replay, of 3 dead letters, up to 2 that match attempts > 1, to oven.bake? [y/N] ")

	typed, closeTyped := io.Pipe() // nobody answers, and then it is Ctrl-C
	t.Cleanup(func() { _ = closeTyped.Close() })
	c = ask("")
	c.stdin = typed
	ctx, ctrlC := context.WithCancel(t.Context())
	ended := c.runUntilAsked(ctx, t)
	ctrlC()
	require.Equal(t, cli.ExitInterrupted, <-ended)

	c = ask("y\n", "--limit", "2")
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Contains(t, c.err.String(), "replay 2 of 3 dead letters to oven.bake? [y/N] ")
	require.Equal(t, "returned 2 of 3 dead letters to oven.bake\n", c.out.String())
}

// What another command takes while this one asks is missing from what it does, which says so.
func TestReplayOfWhatIsGone(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	bury(t, url, "oven.bake", 3, "not_found", `{"n":%d}`)
	typed, answer := io.Pipe()
	t.Cleanup(func() { _ = answer.Close() })
	c := kitchenAt(t, url, "dlq", "replay", "oven.bake", "--color", "never")
	c.terminal, c.stdin = true, typed
	ended := c.runUntilAsked(t.Context(), t)
	require.Equal(t, cli.ExitOK, kitchenAt(t, url, "dlq", "replay", "oven.bake", "--yes", "--limit", "2").run(t.Context()))
	_, err := io.WriteString(answer, "y\n")
	require.NoError(t, err)
	require.Equal(t, cli.ExitOK, <-ended)
	require.Contains(t, c.err.String(), "2 of 3 dead letters were not there any more: another program has taken them, or holds them\n")
	require.Equal(t, "returned 1 of 3 dead letters to oven.bake\n", c.out.String())
}

// What dies while the command asks was not agreed to: it is neither replayed nor removed.
func TestWhatArrivesWhileAsked(t *testing.T) {
	t.Parallel()
	for command, done := range map[string]string{"rm": "removed 3 of 3 dead letters from oven.bake\n", "replay": "returned 3 of 3 dead letters to oven.bake\n"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			url := leverettest.Broker(t)
			onBroker(t, url, declareAll)
			bury(t, url, "oven.bake", 3, "not_found", `{"n":%d}`)
			typed, answer := io.Pipe()
			t.Cleanup(func() { _ = answer.Close() })
			c := kitchenAt(t, url, "dlq", command, "oven.bake", "--color", "never")
			if command == "rm" {
				c.args = append(c.args, "--all")
			}
			c.terminal, c.stdin = true, typed
			ended := c.runUntilAsked(t.Context(), t)
			bury(t, url, "oven.bake", 2, "not_found", `{"n":%d}`)
			ready(t, url, "oven.bake.dlq", 5)
			_, err := io.WriteString(answer, "y\n")
			require.NoError(t, err)
			require.Equal(t, cli.ExitOK, <-ended, c.err.String())
			require.Equal(t, done, c.out.String())
			ready(t, url, "oven.bake.dlq", 2)
		})
	}
}

func TestInterruptedReplay(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	bury(t, url, "oven.bake", 50, "not_found", `{"n":%d}`)
	c := kitchenAt(t, url, "dlq", "replay", "oven.bake", "--yes", "--rate", "20/s", "-o", "jsonl")
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(ctx) }()
	require.Eventually(t, func() bool { return strings.Count(c.out.String(), "\n") >= 5 }, patience, tick)
	ctrlC()
	require.Equal(t, cli.ExitInterrupted, <-ended)
	lines := c.out.lines()
	for _, line := range lines {
		var l struct{ Result string }
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		require.Equal(t, "returned", l.Result)
	}
	require.Contains(t, c.err.String(), "; the others are still dead letters")
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		requireReady(ctx, tb, conn, "oven.bake", len(lines))
		requireReady(ctx, tb, conn, "oven.bake.dlq", 50-len(lines))
	})
}
