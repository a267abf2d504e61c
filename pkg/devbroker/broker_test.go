//go:build unix

package devbroker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
)

func dial(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	require.NoError(t, err)
	return channel
}

// One node goes through its whole life in a single test, since every start takes five
// seconds.
func TestNodeLivesDiesAndComesBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var said strings.Builder
	b, err := devbroker.Start(ctx, devbroker.Config{Private: true, Output: &said})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close(context.Background()) })

	require.Contains(t, said.String(), b.About().Dir)
	require.Contains(t, said.String(), b.Source().Path)
	require.Regexp(t, `^amqp://guest:[A-Z2-7]{26,}@127\.0\.0\.1:\d+$`, b.URL())
	require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, b.ManagementURL())
	require.Regexp(t, `^\d+\.\d+`, b.Version())
	require.Equal(t, "guest", b.Username())
	require.Contains(t, b.URL(), b.Password())
	require.NotContains(t, said.String(), b.Password())
	requirePrivate(t, b)

	// The management API answers.
	api, err := b.Management()
	require.NoError(t, err)
	require.NoError(t, api.Call(ctx, http.MethodGet, nil, nil, "overview"))

	// A virtual host with a name that URLs must escape, made twice.
	name := "a/b c%"
	url, err := b.VHost(ctx, name)
	require.NoError(t, err)
	again, err := b.VHost(ctx, name)
	require.NoError(t, err)
	require.Equal(t, url, again)
	hosts, err := b.Ctl(ctx, "list_vhosts", "--silent")
	require.NoError(t, err)
	require.Contains(t, string(hosts), name)

	// A durable queue and its persistent message survive a crash.
	channel := dial(t, url)
	_, err = channel.QueueDeclare("kept", true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	require.NoError(t, err)
	require.NoError(t, channel.Confirm(false))
	confirm, err := channel.PublishWithDeferredConfirm("", "kept", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("still here")})
	require.NoError(t, err)
	acked, err := confirm.WaitContext(ctx)
	require.NoError(t, err)
	require.True(t, acked)

	before := b.About()
	requireRemembered(t, before.Dir, "kept")
	require.NoError(t, syscall.Kill(before.PID, 0))
	require.NoError(t, b.Kill())
	require.Zero(t, b.About().PID)
	require.NoError(t, b.Kill(), "killing a dead node does nothing")
	require.Error(t, b.Pause())
	_, err = amqp.Dial(url)
	require.Error(t, err)

	require.NoError(t, b.Start(ctx))
	require.NoError(t, b.Start(ctx), "starting a running node does nothing")
	require.NotEqual(t, before.PID, b.About().PID)
	require.Eventually(t, func() bool { // while the queue has no leader yet, asking it may cost the connection
		conn, err := amqp.Dial(url)
		if err != nil {
			return false
		}
		defer conn.Close()
		channel, err := conn.Channel()
		if err != nil {
			return false
		}
		message, ok, err := channel.Get("kept", false)
		return err == nil && ok && string(message.Body) == "still here"
	}, patience, 20*time.Millisecond)

	// A paused node holds its connections and says nothing.
	require.NoError(t, b.Pause())
	require.Eventually(t, func() bool { // not all of the node's threads stop at once
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err := b.VHost(short, "never")
		return errors.Is(err, context.DeadlineExceeded)
	}, patience, time.Millisecond)
	require.NoError(t, b.Resume())

	require.NoError(t, b.DeleteVHost(ctx, name))
	require.NoError(t, b.DeleteVHost(ctx, name), "deleting a missing virtual host does nothing")
	_, err = b.VHost(ctx, "")
	require.ErrorContains(t, err, "needs a name")
	_, err = b.Ctl(ctx, "no_such_command")
	require.ErrorContains(t, err, "no_such_command")

	// Stopping in order is possible, and nothing remains in the end.
	require.NoError(t, b.Stop(ctx))
	require.Zero(t, b.About().PID)
	require.NoError(t, b.Stop(ctx), "stopping a stopped node does nothing")
	mark := markOf(t, before.Dir)
	require.NotEmpty(t, processes(t, mark, before.Dir), "epmd and the guardian")
	require.NoError(t, b.Close(ctx))
	requireNothingLeft(t, before.Dir, mark, 0)
	require.NoError(t, b.Close(ctx))
	require.ErrorIs(t, b.Kill(), devbroker.ErrClosed)
	_, err = b.Ctl(ctx, "status")
	require.ErrorIs(t, err, devbroker.ErrClosed)
}

// requireRemembered waits until a node has persisted a quorum queue: see Broker.Kill.
func requireRemembered(t *testing.T, dir, queue string) {
	t.Helper()
	require.Eventually(t, func() bool {
		names, err := filepath.Glob(filepath.Join(dir, "data", "*", "quorum", "*", "names.dets"))
		if err != nil || len(names) != 1 {
			return false
		}
		text, err := os.ReadFile(names[0])
		return err == nil && bytes.Contains(text, []byte(queue))
	}, patience, 20*time.Millisecond)
}

func TestTwoNodesAtOnceEndWithTheirOwners(t *testing.T) {
	t.Parallel()
	killed, interrupted := startOwner(t, "start"), startOwner(t, "start")
	killed.tell(t)
	interrupted.tell(t)
	require.NotEqual(t, killed.URL, interrupted.URL)
	require.NotEqual(t, killed.Dir, interrupted.Dir)
	killedMark, interruptedMark := markOf(t, killed.Dir), markOf(t, interrupted.Dir)
	requireAnswers(t, killed.URL)
	requireAnswers(t, interrupted.URL)

	require.NoError(t, killed.cmd.Process.Kill())
	requireNothingLeft(t, killed.Dir, killedMark, patience)
	requireAnswers(t, interrupted.URL)
	requireAnswers(t, interrupted.Management)

	// What a terminal's Ctrl-C does: the signal goes to the whole group.
	require.NoError(t, syscall.Kill(-interrupted.cmd.Process.Pid, syscall.SIGINT))
	requireNothingLeft(t, interrupted.Dir, interruptedMark, patience)
}

func TestOwnerKilledWhileItsNodeStarts(t *testing.T) {
	t.Parallel()
	temp := shortTempDir(t)
	o := startOwner(t, "start", "TMPDIR="+temp)
	var consoles []string
	require.Eventually(t, func() bool { // the VM is on its way
		consoles, _ = filepath.Glob(filepath.Join(temp, "leveret-*", "log", "console.log"))
		return len(consoles) > 0
	}, patience, time.Millisecond)
	dir := filepath.Dir(filepath.Dir(consoles[0]))
	mark := markOf(t, dir)
	require.NoError(t, o.cmd.Process.Kill())
	requireNothingLeft(t, dir, mark, patience)
}

func TestFailedStartSaysWhy(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "node")
	_, err := devbroker.Start(t.Context(), devbroker.Config{Private: true, Dir: dir, Conf: "no.such.key = 1"})
	require.ErrorContains(t, err, "no.such.key")
	require.ErrorContains(t, err, filepath.Join(dir, "log"))
	require.FileExists(t, filepath.Join(dir, "log", "console.log"))
	require.Empty(t, processes(t, markOf(t, dir), dir))
	require.NoError(t, os.RemoveAll(dir))
}

// A node whose epmd is not up in time is started again, three times in all.
func TestLateEpmd(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	starts := filepath.Join(bin, "starts")
	server := "#!/bin/sh\necho one >>" + starts + "\necho \"Protocol 'inet_tcp': register/listen error: econnrefused\"\nexit 1\n"
	for tool, script := range map[string]string{"rabbitmq-server": server, "rabbitmqctl": "#!/bin/sh\nexit 1\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, tool), []byte(script), 0o700))
	}
	dir := filepath.Join(shortTempDir(t), "node")
	_, err := devbroker.Start(t.Context(), devbroker.Config{Private: true, Bin: bin, Dir: dir})
	require.ErrorContains(t, err, "epmd was not up in time")
	require.ErrorContains(t, err, "econnrefused")
	said, err := os.ReadFile(starts)
	require.NoError(t, err)
	require.Equal(t, 3, bytes.Count(said, []byte{'\n'}), "%s", said)
	require.NoError(t, os.RemoveAll(dir))
}

// A crash is noticed, and Start recovers from it. If that fails, the log named by its error outlives the node.
func TestNodeThatEndsUnasked(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	over, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, b.AwaitEnd(over), context.Canceled, "it runs")

	ended := make(chan error, 1)
	go func() { ended <- b.AwaitEnd(ctx) }()
	before := b.About()
	require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
	require.NoError(t, <-ended)
	require.NoError(t, b.AwaitEnd(over), "it is down")
	require.NoError(t, b.Start(ctx))
	require.ErrorIs(t, b.AwaitEnd(over), context.Canceled, "it runs again")

	require.NoError(t, b.Kill())
	require.NoError(t, os.WriteFile(filepath.Join(before.Dir, "rabbitmq.conf"), []byte("no.such.key = 1\n"), 0o600))
	require.ErrorContains(t, b.Start(ctx), "no.such.key")
	mark := markOf(t, before.Dir)
	require.NoError(t, b.Close(ctx))
	require.FileExists(t, filepath.Join(before.Dir, "log", "console.log"))
	require.Empty(t, processes(t, mark, before.Dir))
	require.NoError(t, os.RemoveAll(before.Dir))
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "node")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := devbroker.Start(ctx, devbroker.Config{Private: true, Dir: dir})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoDirExists(t, dir)
	require.Empty(t, processes(t, dir, dir))
}

func TestSharedByTwoProcesses(t *testing.T) {
	t.Parallel()
	temp := shortTempDir(t) // nobody else's shared node is found there
	first, second := startOwner(t, "shared", "TMPDIR="+temp), startOwner(t, "shared", "TMPDIR="+temp)
	first.tell(t)
	second.tell(t)
	require.Equal(t, first.owned, second.owned)
	mark := markOf(t, first.Dir)

	// The program that started it may crash.
	require.NoError(t, first.cmd.Process.Kill())
	_ = first.cmd.Wait()
	requireAnswers(t, second.URL)
	third := startOwner(t, "shared", "TMPDIR="+temp)
	third.tell(t)
	require.Equal(t, second.owned, third.owned)
	require.NoError(t, second.input.Close())
	require.NoError(t, second.cmd.Wait())

	// It stays for a while after its last user, for the next one. That runs already: it must not be late.
	fourth := startOwner(t, sharedWhenTold, "TMPDIR="+temp)
	line, err := fourth.out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	require.NoError(t, third.input.Close())
	require.NoError(t, third.cmd.Wait())
	_, err = fourth.input.Write([]byte{'\n'})
	require.NoError(t, err)
	fourth.tell(t)
	require.Equal(t, third.owned, fourth.owned)
	require.NoError(t, fourth.cmd.Process.Kill())
	requireNothingLeft(t, first.Dir, mark, patience)
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	runs := filepath.Join(temp, fmt.Sprintf("leveret-runs-%d", os.Geteuid()))
	require.Equal(t, []string{runs}, left)
	left, err = filepath.Glob(filepath.Join(runs, "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// The file by which test binaries find each other names a program and holds a password: nobody else may have made it.
func TestSharedOnlyInAFolderOfThisUser(t *testing.T) {
	t.Parallel()
	temp := shortTempDir(t)
	runs := filepath.Join(temp, fmt.Sprintf("leveret-runs-%d", os.Geteuid()))
	require.NoError(t, os.Mkdir(runs, 0o700))
	require.NoError(t, os.Chmod(runs, 0o777))
	o := startOwner(t, "shared", "TMPDIR="+temp)
	require.Error(t, o.cmd.Wait())
	require.Contains(t, o.said.String(), runs+" is not to be trusted: others may write to it (mode 0777)")
}

// shortTempDir is a temporary folder that tools in a chroot see too, with a short
// path and no test's name in it.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "leveret-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
