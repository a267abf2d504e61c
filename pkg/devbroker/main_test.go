//go:build unix

package devbroker_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

// asOwner makes this test binary a process that owns a node, to be killed.
const asOwner = "LEVERET_TEST_OWNER"

func TestMain(m *testing.M) {
	if how := os.Getenv(asOwner); how != "" {
		if err := own(how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testmain.Waiting(8)
	testmain.Leaks(m)
}

// sharedWhenTold is an owner of a shared node that says "ready" first, and joins when it has read a byte.
const sharedWhenTold = "shared when told"

// patience is for what takes seconds on an idle machine.
const patience = 2 * time.Minute

// owned is what an owner reports about its node.
type owned struct {
	URL, Management string
	devbroker.About
}

// own gets a node, drops its Broker (which must not end the node), reports the node on
// standard output, and keeps it until standard input ends.
func own(how string) error {
	if how == sharedWhenTold {
		how = "shared"
		fmt.Println("ready")
		if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil {
			return err
		}
	}
	told, release, err := get(how)
	if err != nil {
		return err
	}
	defer release()
	for range 3 {
		runtime.GC()
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func get(how string) (told owned, release func(), err error) {
	var b *devbroker.Broker
	if how == "shared" {
		b, release, err = devbroker.Shared(context.Background())
	} else {
		b, err = devbroker.Start(context.Background(), devbroker.Config{Private: true})
		release = func() {}
	}
	if err == nil {
		told = owned{b.URL(), b.ManagementURL(), b.About()}
	}
	return told, release, err
}

// owner is such a process, seen from the test.
type owner struct {
	owned
	cmd   *exec.Cmd
	input io.WriteCloser
	said  *bytes.Buffer
	out   *bufio.Reader
}

// startOwner starts an owner in its own process group; tell waits for its node.
func startOwner(t *testing.T, how string, env ...string) *owner {
	t.Helper()
	o := &owner{cmd: exec.Command(os.Args[0]), said: &bytes.Buffer{}}
	o.cmd.Env = append(append(os.Environ(), asOwner+"="+how), env...)
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	o.cmd.Stderr = o.said
	var err error
	o.input, err = o.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := o.cmd.StdoutPipe()
	require.NoError(t, err)
	o.out = bufio.NewReader(out)
	require.NoError(t, o.cmd.Start())
	t.Cleanup(func() {
		o.input.Close()
		_ = o.cmd.Wait()
	})
	return o
}

func (o *owner) tell(t *testing.T) {
	t.Helper()
	line, err := o.out.ReadBytes('\n')
	if err != nil {
		require.NoError(t, errors.Join(err, o.cmd.Wait()), o.said.String())
	}
	require.NoError(t, json.Unmarshal(line, &o.owned))
}

// requireAnswers checks that something listens at a URL.
func requireAnswers(t *testing.T, raw string) {
	t.Helper()
	conn, err := net.Dial("tcp", hostPort(t, raw))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func hostPort(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return u.Host
}

// markOf returns the mark of a node's processes. The node's folder must exist.
func markOf(t *testing.T, dir string) string {
	t.Helper()
	id, err := os.ReadFile(filepath.Join(dir, "node-id"))
	require.NoError(t, err)
	return "LEVERET_DEVBROKER=" + strings.TrimSpace(string(id))
}

// requireNothingLeft waits until a node has left no process and no folder.
func requireNothingLeft(t *testing.T, dir, mark string, within time.Duration) {
	t.Helper()
	nothing := func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist) && len(processes(t, mark, dir)) == 0
	}
	if nothing() {
		return // Eventually knows no "at once": with 0 its time may be over before it looks
	}
	require.Eventually(t, nothing, within, 20*time.Millisecond, "%s is there, or processes are: %v", dir, processes(t, mark, dir))
}

// processes lists the processes with the mark in their environment, and the folder's
// guardians.
func processes(t *testing.T, mark, dir string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, p := range all {
		if p == "/proc/"+strconv.Itoa(os.Getpid()) {
			continue
		}
		env, _ := os.ReadFile(p + "/environ")
		command, _ := os.ReadFile(p + "/cmdline")
		if bytes.Contains(env, []byte(mark)) || bytes.Contains(command, []byte(dir)) {
			found = append(found, strings.ReplaceAll(filepath.Base(p)+" "+string(command), "\x00", " "))
		}
	}
	return found
}
