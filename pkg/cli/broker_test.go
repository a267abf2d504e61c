package cli_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// ctl runs rabbitmqctl on the node of the tests: its own virtual machine, which takes its time on a busy machine.
func ctl(tb testing.TB, args ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), 4*patience)
	defer cancel()
	out, err := leverettest.Node(tb).Ctl(ctx, args...)
	require.NoError(tb, err, "%s", out)
}

// manage makes one request to the management API.
func manage(tb testing.TB, method string, body any, path ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
	defer cancel()
	api, err := leverettest.Node(tb).Management()
	require.NoError(tb, err)
	require.NoError(tb, api.Call(ctx, method, body, nil, path...))
}

// user makes a user who may use the management API and read, but neither configure nor write. Its flags log in as it.
func user(tb testing.TB, url string) (flags []string) {
	tb.Helper()
	return userWith(tb, url, "monitoring")
}

func userWith(tb testing.TB, url, tags string) (flags []string) {
	tb.Helper()
	return userWho(tb, url, tags, rights{"^$", "^$", ".*"})
}

// rights are what a user may configure, write to and read.
type rights struct {
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

func userWho(tb testing.TB, url, tags string, may rights) (flags []string) {
	tb.Helper()
	vhost := leverettest.VHost(tb, url)
	name := "reader-" + rand.Text()
	manage(tb, http.MethodPut, map[string]string{"password": "secret", "tags": tags}, "users", name)
	tb.Cleanup(func() { manage(tb, http.MethodDelete, nil, "users", name) })
	manage(tb, http.MethodPut, may, "permissions", vhost, name)
	file := filepath.Join(tb.TempDir(), "password")
	require.NoError(tb, os.WriteFile(file, []byte("secret\n"), 0o600))
	return []string{"--broker-username", name, "--broker-password-file", file}
}

// RabbitMQ 4.3 lets no user ask for a queue who may not configure it: then the management API is what there is.
func TestQueuesOfAUserWhoMayOnlyRead(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	require.Equal(t, cli.ExitOK, kitchenAt(t, url, "send", "oven.bake", aPie, "-n", "3").run(t.Context()))
	args := append([]string{"queues", "oven.bake", "--watch=100ms", "-o", "jsonl", "--broker-management-url", leverettest.Node(t).ManagementURL()}, user(t, url)...)
	watch(t, kitchenAt(t, url, args...), func(w watched) bool { return w.Ready != nil && *w.Ready == 3 })
}

// A user who may not use the management API gets that error, and not that it is elsewhere.
func TestQueuesOfAUserWithoutATag(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	args := append([]string{"queues", "--all", "--broker-management-url", leverettest.Node(t).ManagementURL()}, userWith(t, url, "")...)
	c := kitchenAt(t, url, args...)
	require.Equal(t, cli.ExitError, c.run(t.Context()))
	require.Regexp(t, `refuses the user reader-\S+ \(401\): the password is wrong, or the user has no tag monitoring or management\nnext:  correct the password, or grant the tag with rabbitmqctl set_user_tags\n$`, c.err.String())
}

// A queue that is exclusive to another connection, as those are by which workers hear of callers that gave up, is shown
// by what the management API knows.
func TestQueuesOfOthers(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		ch, err := conn.Channel(ctx)
		require.NoError(tb, err)
		_, err = ch.QueueDeclare("locked", false, true, true, false, nil)
		require.NoError(tb, err)
		require.Eventually(tb, func() bool { // the management API is some seconds late
			c := kitchenAt(t, url, "queues", "--all", "locked", "-o", "json", "--broker-management-url", leverettest.Node(t).ManagementURL())
			code := c.run(ctx)
			return code == cli.ExitOK && strings.Contains(c.out.String(), `"locked"`)
		}, patience, 100*time.Millisecond)
	})
}

func TestRefusedUser(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	c := kitchenAt(t, url, append([]string{"send", "oven.bake", aPie}, user(t, url)...)...)
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()), c.err.String())
	require.Contains(t, c.err.String(), ": the broker refused access: ")
	require.NotContains(t, c.err.String(), "secret")
}

func TestNoSuchVirtualHost(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	// It is not tried again up to the timeout, or the test would last that long.
	c := kitchenAt(t, strings.TrimSuffix(url, leverettest.VHost(t, url))+"nowhere", "dlq", "ls", "--broker-connect-timeout", "1h")
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
	require.Contains(t, c.err.String(), "no access to this virtual host, or it does not exist")
}

func TestReplayEndsWithALostConnection(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	bury(t, url, "oven.bake", 500, "not_found", `{"n":%d}`)
	c := kitchenAt(t, url, "dlq", "replay", "oven.bake", "--yes", "--rate", "2/s", "-o", "jsonl")
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(t.Context()) }()
	require.Eventually(t, func() bool { return strings.Count(c.out.String(), "returned") >= 3 }, patience, tick)
	ctl(t, "close_all_connections", "--vhost", leverettest.VHost(t, url), "a test")
	require.Equal(t, cli.ExitPartial, <-ended, c.err.String())
	require.Contains(t, c.err.String(), "the connection was lost, but no message was")
	require.Contains(t, c.err.String(), `"next":"run the same command again: it goes on with the rest"`)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper() // the broker gives back what the lost connection held a moment later
		left := 500 - strings.Count(c.out.String(), "returned")
		require.Eventually(tb, func() bool {
			state, err := conn.Inspect(ctx, "oven.bake.dlq")
			return err == nil && state.Ready >= left
		}, patience, tick)
	})
	require.Equal(t, cli.ExitOK, kitchenAt(t, url, "dlq", "replay", "oven.bake", "--yes").run(t.Context()))
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		requireReady(ctx, tb, conn, "oven.bake.dlq", 0)
		state, err := conn.Inspect(ctx, "oven.bake")
		require.NoError(tb, err)
		require.GreaterOrEqual(tb, state.Ready, 500)
		require.LessOrEqual(tb, state.Ready, 502, "one was in flight, and the ack of the one before may be lost")
	})
}

func TestSendLivesThroughALostConnection(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	c := kitchenAt(t, url, "send", "oven.bake", aPie, "-n", "1000000", "--rate", "200/s", "-o", "json")
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(ctx) }()
	ready := func() (n int) {
		onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
			tb.Helper()
			state, err := conn.Inspect(ctx, "oven.bake")
			require.NoError(tb, err)
			n = state.Ready
		})
		return n
	}
	require.Eventually(t, func() bool { return ready() > 5 }, patience, tick)
	ctl(t, "close_all_connections", "--vhost", leverettest.VHost(t, url), "a test")
	require.Eventually(t, func() bool { return strings.Contains(c.err.String(), "connection lost") }, patience, tick, "the log says so")
	before := ready()
	require.Eventually(t, func() bool { return ready() > before+300 }, 2*patience, tick) // more than there may be twice
	ctrlC()
	require.Equal(t, cli.ExitInterrupted, <-ended, c.err.String())
	var sent struct{ Sent, Failed int }
	require.NoError(t, json.Unmarshal([]byte(c.out.String()), &sent))
	require.Zero(t, sent.Failed)
	require.Greater(t, sent.Sent, before, "it went on; what was in flight when the connection was lost may be there twice")
	require.GreaterOrEqual(t, ready(), sent.Sent, "what is called confirmed is there")
}
