//go:build unix

package shopcli_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// patience is for what takes seconds on an idle machine.
const patience = 6 * time.Minute

// A commandLine is the CLI as a process.
type commandLine struct {
	*exec.Cmd

	temp     string // where it makes its folders
	out, err *testmain.Output
}

// onSharedNode makes the command use the node that all tests share.
func (c *commandLine) onSharedNode(t *testing.T) {
	t.Helper()
	node := leverettest.Node(t)
	c.Env = append(c.Env, "LEVERET_BROKER_URL="+leverettest.Broker(t), "LEVERET_BROKER_MANAGEMENT_URL="+node.ManagementURL())
}

// command runs the CLI with its own folder for temporary files.
func command(t *testing.T, args ...string) *commandLine {
	t.Helper()
	temp, err := os.MkdirTemp("", "leveret-test-") // short, and seen by tools in a chroot
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	c := &commandLine{Cmd: exec.Command(os.Args[0], args...), temp: temp, out: &testmain.Output{}, err: &testmain.Output{}}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "LEVERET_BROKER_URL=") {
			c.Env = append(c.Env, entry)
		}
	}
	c.Env = append(c.Env, asCLI+"=1", "TMPDIR="+temp)
	c.Dir = temp
	c.Stdout, c.Stderr = c.out, c.err
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v wrote\n%s%s", args, c.out, c.err)
		}
	})
	return c
}

// requireNoTrace waits until the process has left no folder and no process behind.
func (c *commandLine) requireNoTrace(t *testing.T) {
	t.Helper()
	left := func() (files []string) {
		_ = filepath.WalkDir(c.temp, func(path string, _ fs.DirEntry, _ error) error {
			if path != c.temp {
				files = append(files, path)
			}
			return nil
		})
		return files
	}
	defer func() {
		if t.Failed() {
			t.Logf("left: %v, %v", left(), c.processes(t))
		}
	}()
	require.Eventually(t, func() bool { return len(left()) == 0 && len(c.processes(t)) == 0 }, patience, 50*time.Millisecond)
}

// processes lists those that have the temporary folder in their environment or their arguments.
func (c *commandLine) processes(t *testing.T) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, p := range all {
		env, _ := os.ReadFile(p + "/environ")
		args, _ := os.ReadFile(p + "/cmdline")
		if bytes.Contains(env, []byte("TMPDIR="+c.temp)) || bytes.Contains(args, []byte(c.temp)) {
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}

func (c *commandLine) exitCode(t *testing.T) int {
	t.Helper()
	err := c.Wait()
	if exited, ok := errors.AsType[*exec.ExitError](err); ok {
		return exited.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

// The demo runs on its own node and leaves it running.
func TestDemoBalancesAndKeeps(t *testing.T) {
	t.Parallel()
	c := command(t, "demo", "--orders", "300", "--timeout", "10m", "--keep", "-o", "json", "--transport", "amqp", "--broker-layout", "isolated")
	require.NoError(t, c.Start())
	code := c.exitCode(t)
	stop := regexp.MustCompile(`to end it +([^"\n]+)`).FindStringSubmatch(c.err.String())
	end := sync.OnceValues(func() ([]byte, error) {
		if stop == nil {
			return nil, errors.New("the demo did not say how to end it")
		}
		return exec.Command("/bin/sh", "-c", stop[1]).CombinedOutput()
	})
	t.Cleanup(func() { _, _ = end() }) // whatever fails
	require.Equal(t, 0, code, "%s%s", c.out, c.err)
	require.Contains(t, c.out.String(), `"crashed": true`)
	requireBalance(t, c.out.String())
	require.Regexp(t, `killed paymentd \(process \d+\) with SIGKILL`, c.err.String())
	require.Regexp(t, `management UI +http://127\.0\.0\.1:\d+ +user guest, password [A-Z2-7]{26}\b`, c.err.String())

	// The hints work: the queues can be looked at, an order asked for.
	file := regexp.MustCompile(`export LEVERET_CONFIG=([^\s\\]+)`).FindStringSubmatch(c.err.String())
	require.NotNil(t, file, c.err.String())
	look := command(t, "--config", file[1], "queues", "-o", "jsonl")
	require.NoError(t, look.Run(), look.err.String())
	require.Contains(t, look.out.String(), `"order.place"`)
	require.Regexp(t, `"name":"retry\.payment\.1s".*"declared":true`, look.out.String(), "the services have the layout, and so have the hints")
	ask := command(t, "--config", file[1], "call", "order.show", `{"order_id": "0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41", "customer_id": "customer-7"}`)
	require.Error(t, ask.Run())
	require.Equal(t, 6, ask.ProcessState.ExitCode(), ask.err.String())
	require.Contains(t, ask.err.String(), "no such order")

	out, err := end()
	require.NoError(t, err, "%s%s", out, c.err)
	c.requireNoTrace(t)
}

func requireBalance(t *testing.T, ledger string) {
	t.Helper()
	var r struct {
		OK                           bool
		Sent, Confirmed, Lost, Users int
		InFlight                     int `json:"in_flight"`
		Killed                       []string
		Cancelled, Refused           map[string]int
		DeadLettered                 map[string]int `json:"dead_lettered"`
		ChargedTwice                 *int           `json:"charged_twice"`
		ReservedTwice                *int           `json:"reserved_twice"`
	}
	require.NoError(t, json.Unmarshal([]byte(ledger), &r), ledger)
	require.True(t, r.OK)
	require.Equal(t, 300, r.Sent)
	require.Equal(t, 260, r.Confirmed+r.Cancelled["requested"], "an order may be confirmed before its customer cancels it")
	require.GreaterOrEqual(t, r.Confirmed, 240)
	require.Equal(t, 10, r.Cancelled["declined"])
	require.Equal(t, 10, r.Cancelled["out_of_stock"])
	require.Equal(t, map[string]int{"invalid_argument": 10}, r.Refused)
	require.Equal(t, map[string]int{"invalid_argument": 10}, r.DeadLettered)
	require.Equal(t, []string{"payment", "order"}, r.Killed)
	require.Equal(t, 12, r.Users)
	require.Positive(t, r.InFlight, "the crash hit nothing")
	require.Zero(t, r.Lost)
	require.Zero(t, *r.ChargedTwice)
	require.Zero(t, *r.ReservedTwice)
}

func TestDemoThatIsInterruptedLeavesNothing(t *testing.T) {
	t.Parallel()
	c := command(t, "demo")
	c.onSharedNode(t)
	require.NoError(t, c.Start())
	require.Eventually(t, func() bool { return strings.Contains(c.err.String(), "paymentd is ready") }, patience, 10*time.Millisecond)
	// What a terminal's Ctrl-C does: the signal goes to the whole group.
	require.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGINT))
	require.Equal(t, 130, c.exitCode(t), c.err.String())
	c.requireNoTrace(t)
}

func TestDemoThatIsKilledLeavesNothing(t *testing.T) {
	t.Parallel()
	c := command(t, "demo")
	require.NoError(t, c.Start())
	require.Eventually(t, func() bool { return strings.Contains(c.err.String(), "paymentd is ready") }, patience, 10*time.Millisecond)
	require.NoError(t, c.Process.Kill())
	_ = c.Wait()
	c.requireNoTrace(t)
}

// killNode ends the node that a command has started.
func (c *commandLine) killNode(t *testing.T, folder string) {
	t.Helper()
	require.NoError(t, syscall.Kill(c.node(t, folder), syscall.SIGKILL))
}

// node returns the process of the node.
func (c *commandLine) node(t *testing.T, folder string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "pid"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	text, err := os.ReadFile(found[0])
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return pid
}

// When the time for the orders is over, too: nothing bounds the demo any more but the node.
func TestDemoWhoseNodeDies(t *testing.T) {
	t.Parallel()
	c := command(t, "demo", "--orders", "5000", "--timeout", "1ms", "-o", "json")
	require.NoError(t, c.Start())
	require.Eventually(t, func() bool { return strings.Contains(c.err.String(), "paymentd is ready") }, patience, 10*time.Millisecond)
	node := c.node(t, filepath.Join(c.temp, "leveret-*"))
	require.Eventually(t, func() bool { return strings.Contains(c.err.String(), "draining the services") }, patience, time.Millisecond)
	require.NoError(t, syscall.Kill(node, syscall.SIGKILL))
	require.Equal(t, 7, c.exitCode(t), c.err.String())
	require.Contains(t, c.err.String(), `"message":"RabbitMQ has ended"`)
	require.Empty(t, c.out.String())
	c.requireEvidence(t, "rabbitmq.log", "order.log", "payment.db")
}

// requireEvidence looks for what the demo says that it has kept, takes it away, and looks whether that was all.
func (c *commandLine) requireEvidence(t *testing.T, files ...string) {
	t.Helper()
	kept := regexp.MustCompile(`kept in ([^"\s]+)`).FindStringSubmatch(c.err.String())
	require.NotNil(t, kept, c.err.String())
	for _, name := range files {
		require.FileExists(t, filepath.Join(kept[1], name))
	}
	require.NoError(t, os.RemoveAll(filepath.Dir(kept[1])))
	c.requireNoTrace(t)
}

// A service that ends unasked ends the demo, which keeps its log.
func TestDemoWhoseServiceEnds(t *testing.T) {
	t.Parallel()
	c := command(t, "demo", "--orders", "5000")
	c.onSharedNode(t)
	require.NoError(t, c.Start())
	placing := func() bool { return strings.Contains(c.err.String(), "they place 5000 orders") }
	require.Eventually(t, placing, patience, 10*time.Millisecond)
	found := regexp.MustCompile(`orderd is ready after \S+ \(process (\d+)\)`).FindStringSubmatch(c.err.String())
	require.NotNil(t, found, c.err.String())
	pid, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Equal(t, 1, c.exitCode(t), c.err.String())
	require.Contains(t, c.err.String(), "orderd has ended: signal: killed")
	c.requireEvidence(t, "order.log", "order.db")
}

// A demo that runs out of time reports that and fails.
func TestDemoWithoutTheTime(t *testing.T) {
	t.Parallel()
	c := command(t, "demo", "--orders", "300", "--timeout", "1ms")
	c.onSharedNode(t)
	require.NoError(t, c.Start())
	require.Equal(t, 1, c.exitCode(t), c.err.String())
	require.Contains(t, c.err.String(), "warning: the orders are not finished within 1ms\n")
	require.Contains(t, c.err.String(), "error: the ledger does not balance\n")
	require.Contains(t, c.out.String(), "wrong: the orders were not finished within 1ms\n")
	require.Contains(t, c.out.String(), "wrong: paymentd was not killed")
	require.NotContains(t, c.out.String(), "after the crash")
	c.requireEvidence(t, "order.log")
}

// On a broker that is already running, the demo uses a separate virtual host and deletes it afterwards.
func TestDemoOnARunningBroker(t *testing.T) {
	t.Parallel()
	c := command(t, "demo", "--orders", "30", "--timeout", "10m", "-o", "json")
	c.onSharedNode(t)
	require.NoError(t, c.Run(), "%s%s", c.out, c.err)
	require.Contains(t, c.out.String(), `"ok": true`)
	require.NotContains(t, c.err.String(), "user guest, password "+leverettest.Node(t).Password(), "it is not ours to show")
	hosts, err := leverettest.Node(t).Ctl(t.Context(), "list_vhosts", "--silent")
	require.NoError(t, err)
	own := regexp.MustCompile(`leveret-demo-\w+`).FindString(c.err.String())
	require.NotEmpty(t, own)
	require.NotContains(t, string(hosts), own)
	c.requireNoTrace(t)
}

// A ledger that cannot fail proves nothing: what is wrong in a store must show.
func TestDemoSeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := command(t, "demo", "--orders", "300", "--timeout", "40s")
	c.onSharedNode(t)
	require.NoError(t, c.Start())
	var pid int
	var stores string
	require.Eventually(t, func() bool {
		found := regexp.MustCompile(`paymentd is ready after \S+ \(process (\d+)\)`).FindStringSubmatch(c.err.String())
		if found != nil {
			pid, _ = strconv.Atoi(found[1])
		}
		all, _ := filepath.Glob(filepath.Join(c.temp, "leveret-shop-*", "payment.db"))
		if len(all) == 1 {
			stores = filepath.Dir(all[0])
		}
		return pid != 0 && stores != ""
	}, patience, 5*time.Millisecond)
	chargeTwice(t, filepath.Join(stores, "payment.db"))
	require.Equal(t, 1, c.exitCode(t), c.err.String())
	require.Regexp(t, `charged twice +1 +must be 0: [0-9a-f-]{36}`, c.out.String())
	c.requireEvidence(t, "payment.db", "order.log")
}

// chargeTwice writes what a service without its guards would.
func chargeTwice(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	defer db.Close()
	require.Eventually(t, func() bool {
		done, err := db.ExecContext(context.WithoutCancel(t.Context()), `
			INSERT INTO ledger (order_id, authorization_id, kind, amount, currency, message_id, at)
			SELECT order_id, authorization_id, kind, amount, currency, message_id, at FROM ledger WHERE kind = 'captured' LIMIT 1`)
		if err != nil {
			return false
		}
		n, err := done.RowsAffected()
		return err == nil && n == 1
	}, patience, 5*time.Millisecond)
}

func TestDemoUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--orders 3":                         "--orders is 3; it must be between 30",
		"--timeout -1s":                      "--timeout is -1s",
		"--nonsense":                         "unknown flag",
		"500":                                "500",
		"--broker-url amqp://127.0.0.1:1/":   "does not answer",
		"--broker-url http://127.0.0.1:5672": "amqp://",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			c := command(t, append([]string{"demo"}, strings.Fields(args)...)...)
			require.Error(t, c.Run())
			require.Contains(t, []int{2, 7}, c.ProcessState.ExitCode(), c.err.String())
			require.Contains(t, c.err.String(), want)
			require.Empty(t, c.out.String())
			c.requireNoTrace(t)
		})
	}
}

func TestDemoThatIsRefused(t *testing.T) {
	t.Parallel()
	c := command(t, "demo", "--orders", "30")
	c.onSharedNode(t)
	c.Env = append(c.Env, "LEVERET_BROKER_PASSWORD=hunter2")
	require.NoError(t, c.Start())
	require.Equal(t, 7, c.exitCode(t), c.err.String())
	require.Contains(t, c.err.String(), "401")
	require.Contains(t, c.err.String(), "next:  ")
	require.NotContains(t, c.err.String(), "hunter2")
	c.requireNoTrace(t)
}

func TestDev(t *testing.T) {
	t.Parallel()
	c := command(t, "dev")
	c.onSharedNode(t)
	require.NoError(t, c.Start())
	ready := regexp.MustCompile(`(?m)^payment +\| .*msg=ready`)
	require.Eventually(t, func() bool { return ready.MatchString(c.out.String()) }, patience, 10*time.Millisecond, "%s%s", c.out, c.err)

	// Once all are ready, it says where the REST API is, and then it answers.
	rest := regexp.MustCompile(`(?m)^  curl -s (http://\S+)/users `)
	require.Eventually(t, func() bool { return rest.MatchString(c.err.String()) }, patience, 10*time.Millisecond, "%s%s", c.out, c.err)
	require.Eventually(t, func() bool { // what is on the one pipe may be read before what was on the other earlier
		services := make(map[string]bool) // some are ready twice, where all began anew at other addresses
		for _, line := range regexp.MustCompile(`(?m)^(\w+) +\| .*msg=ready `).FindAllStringSubmatch(c.out.String(), -1) {
			services[line[1]] = true
		}
		return len(services) == 7
	}, patience, 10*time.Millisecond, "%s%s", c.out, c.err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rest.FindStringSubmatch(c.err.String())[1]+"/openapi.json", nil)
	require.NoError(t, err)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)

	// What it prints for the command line does not log: the file is not for the services alone.
	file := regexp.MustCompile(`export LEVERET_CONFIG=([^\s\\]+)`).FindStringSubmatch(c.err.String())
	require.NotNil(t, file, c.err.String())
	settings, err := os.ReadFile(file[1])
	require.NoError(t, err)
	require.NotContains(t, string(settings), "log:")

	// The other terminal is on the same broker: a second shop there would share the queues, but not the stores.
	second := command(t, "dev")
	second.Env = append(second.Env, "LEVERET_CONFIG="+file[1])
	second.Env = slices.DeleteFunc(second.Env, func(e string) bool { return strings.HasPrefix(e, "LEVERET_BROKER_") })
	require.NoError(t, second.Start())
	require.Equal(t, 1, second.exitCode(t), second.err.String())
	require.Contains(t, second.err.String(), "already: its ")
	require.Contains(t, second.err.String(), "config show --origin")
	second.requireNoTrace(t)

	// A service that crashes comes back.
	var pid int
	for _, p := range c.processes(t) {
		if strings.Contains(p, "serve payment") {
			_, err := fmt.Sscan(p, &pid)
			require.NoError(t, err)
		}
	}
	require.NotZero(t, pid)
	before := len(ready.FindAllString(c.out.String(), -1))
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return len(ready.FindAllString(c.out.String(), -1)) > before }, patience, 10*time.Millisecond, "%s", c.out)
	require.Contains(t, c.out.String(), "ended (signal: killed); restarting it")

	require.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGINT))
	require.Equal(t, 0, c.exitCode(t), c.err.String())
	require.Regexp(t, `(?m)^order +\| .*msg=(drained|stopped|stopping|draining)`, c.out.String())
	c.requireNoTrace(t)
}

// A folder that cannot be had is a mistake of the command line, with a broker of the command's own and with another.
func TestDevWithoutItsFolder(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{true, false} {
		c := command(t, "dev", "--data", filepath.Join(os.Args[0], "data")) // below a file
		if shared {
			c.onSharedNode(t)
		}
		require.NoError(t, c.Start())
		require.Equal(t, 2, c.exitCode(t), c.err.String())
		require.Contains(t, c.err.String(), "not a directory")
		c.requireNoTrace(t)
	}
}

// The node of dev comes back as a service does, with what it had; where it cannot, dev ends, and leaves its log.
func TestDevWhoseNodeDies(t *testing.T) {
	t.Parallel()
	c := command(t, "dev")
	require.NoError(t, c.Start())
	ready := regexp.MustCompile(`(?m)^order +\| .*msg=ready`)
	require.Eventually(t, func() bool { return ready.MatchString(c.out.String()) }, patience, 10*time.Millisecond, "%s%s", c.out, c.err)
	connected := regexp.MustCompile(`(?m)^order +\| .*msg=connected`)
	before := len(connected.FindAllString(c.out.String(), -1))
	c.killNode(t, filepath.Join(c.temp, "leveret-*"))
	require.Eventually(t, func() bool { return strings.Contains(c.err.String(), "RabbitMQ answers again") }, patience, 10*time.Millisecond, "%s%s", c.out, c.err)
	require.Contains(t, c.err.String(), "RabbitMQ has ended; restarting it")
	require.Eventually(t, func() bool { return len(connected.FindAllString(c.out.String(), -1)) >= before+2 }, patience, 10*time.Millisecond, "%s", c.out)

	folders, err := filepath.Glob(filepath.Join(c.temp, "leveret-*"))
	require.NoError(t, err)
	require.Len(t, folders, 1)
	require.NoError(t, os.WriteFile(filepath.Join(folders[0], "rabbitmq.conf"), []byte("no.such.key = 1\n"), 0o600))
	c.killNode(t, folders[0])
	require.Equal(t, 7, c.exitCode(t), c.err.String())
	log := regexp.MustCompile(`its log, (\S+), says:\n.*no\.such\.key`).FindStringSubmatch(c.err.String())
	require.NotNil(t, log, c.err.String())
	require.FileExists(t, filepath.Join(log[1], "console.log"))
	require.FileExists(t, filepath.Join(log[1], "rabbitmq.log.ended"))
	require.NoError(t, os.RemoveAll(folders[0]))
	c.requireNoTrace(t)
}

// What --data names is there the next time: queues without their stores would be worse than neither.
func TestDevKeepsItsData(t *testing.T) {
	t.Parallel()
	data, err := os.MkdirTemp("", "leveret-data-") // short, and seen by tools in a chroot
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	for range 2 {
		c := command(t, "dev", "--data", data)
		c.onSharedNode(t)
		require.NoError(t, c.Start())
		for _, service := range []string{"order", "payment", "inventory"} {
			ready := regexp.MustCompile(`(?m)^` + service + ` +\| .*msg=ready`)
			require.Eventually(t, func() bool { return ready.MatchString(c.out.String()) }, patience, 10*time.Millisecond, "%s%s", c.out, c.err)
		}
		require.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGINT))
		require.Equal(t, 0, c.exitCode(t), c.err.String())
		c.requireNoTrace(t)
		for _, store := range []string{"order.db", "payment.db", "inventory.db"} {
			require.FileExists(t, filepath.Join(data, "shop", store))
		}
	}
}
