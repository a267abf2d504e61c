package cli_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/health"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// status runs `status -o json` on a broker of the tests.
func status(tb testing.TB, url string, args ...string) (cli.ExitCode, health.Report) {
	tb.Helper()
	return reportOf(tb, kitchenAt(tb, url, append([]string{
		"status", "-o", "json", "--broker-management-url", leverettest.Node(tb).ManagementURL(),
	}, args...)...))
}

func reportOf(tb testing.TB, c *command) (cli.ExitCode, health.Report) {
	tb.Helper()
	code := c.run(tb.Context())
	var r health.Report
	require.NoError(tb, json.Unmarshal([]byte(c.out.String()), &r), c.err.String())
	require.NotContains(tb, c.err.String(), `"error":`, "the report says it all")
	return code, r
}

// find returns the first finding of a check.
func find(r health.Report, check string) health.Finding {
	for _, f := range r.Findings {
		if f.Check == check {
			return f
		}
	}
	return health.Finding{}
}

// eventually runs `status` until what the management API knows, some seconds late, satisfies.
func eventually(tb testing.TB, url string, satisfied func(cli.ExitCode, health.Report) bool, args ...string) health.Report {
	tb.Helper()
	var r health.Report
	require.Eventually(tb, func() bool {
		var code cli.ExitCode
		code, r = status(tb, url, args...)
		return satisfied(code, r)
	}, 4*patience, 50*time.Millisecond)
	return r
}

// The life of a system: nothing has run, all is well, a service stops, messages wait, messages fail, a queue is lost.
func TestStatus(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	code, r := status(t, url)
	require.Equal(t, cli.ExitOK, code)
	require.True(t, r.Empty)
	require.Contains(t, find(r, "not_declared").Text, "no service has run in the virtual host "+leverettest.VHost(t, url)+" yet")

	stop := serve(t, url)
	code, r = status(t, url)
	require.Equal(t, cli.ExitOK, code)
	require.Zero(t, r.Warning, r.Findings)
	require.False(t, r.Empty)
	require.NotEmpty(t, r.Version)
	require.Regexp(t, `^RabbitMQ \S+ at amqp://\S+, 1 node, virtual host `, find(r, "broker").Text)

	stop()
	code, r = status(t, url)
	require.Equal(t, cli.ExitOK, code)
	require.Equal(t, 2, r.Warning, r.Findings)
	require.Regexp(t, "^no worker of oven takes from .*; nothing waits there yet$", find(r, "no_consumers").Text)

	require.Equal(t, cli.ExitOK, kitchenAt(t, url, "send", "oven.bake", aPie, "-n", "3").run(t.Context()))
	code, r = status(t, url)
	require.Equal(t, cli.ExitUnhealthy, code)
	require.Equal(t, health.Unhealthy, r.Verdict)
	require.Equal(t, health.Finding{
		Check: "no_consumers", State: health.Failed, Queue: "oven.bake", Service: "oven",
		Text: "3 messages wait in oven.bake, and no worker of oven takes them", Next: "kitchen queues oven.bake",
	}, r.Findings[0])
	require.Equal(t, 3, r.Waiting.Ready)
	code, _ = status(t, url, "--ignore", "no_consumers")
	require.Equal(t, cli.ExitOK, code)

	bury(t, url, "oven.bake", 2, "not_found", `{"n":%d}`) // 36 hours ago
	_, r = status(t, url)
	require.Equal(t, health.Finding{
		Check: "dead_letters", State: health.Warning, Queue: "oven.bake", Service: "oven",
		Text: "2 dead letters of oven.bake, the newest 36h old: 2 not_found/why (it went wrong\nin two lines)", Next: "kitchen dlq ls oven.bake",
	}, find(r, "dead_letters"))
	for _, args := range [][]string{{"--recent", "48h"}, {"--limit", "1"}, {"--limit", "0"}} {
		code, r = status(t, url, append(args, "--ignore", "no_consumers")...)
		require.Equal(t, cli.ExitUnhealthy, code, args)
		require.Equal(t, health.Failed, find(r, "dead_letters").State)
	}
	code, _ = status(t, url, "--recent", "0", "--limit", "0", "--ignore", "no_consumers")
	require.Equal(t, cli.ExitOK, code)

	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		requireReady(ctx, tb, conn, "oven.bake.dlq", 2) // looking changed nothing
		publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		require.NoError(tb, publisher.Publish(ctx, &rabbit.Publication{
			Exchange: "retry.return", RoutingKey: "oven.gone", Publishing: rabbit.Publishing{MessageId: "m"},
		}))
		require.NoError(tb, publisher.Close(ctx))
		requireReady(ctx, tb, conn, "retry.lost", 1)
	})
	code, r = status(t, url, "--ignore", "no_consumers")
	require.Equal(t, cli.ExitUnhealthy, code)
	require.Equal(t, health.Failed, find(r, "lost").State)
	require.Equal(t, 1, r.Waiting.Lost)
}

// A service that runs says what cannot be sent from its outbox.
func TestStatusOfAnOutbox(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	defer serve(t, url)()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{url}})
	require.NoError(t, err)
	answering, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- operator.Serve(answering, conn, operator.Config{Service: oven, Outbox: func(context.Context) *operator.Outbox {
			return &operator.Outbox{Program: "ovend", Ready: 5, Aside: 1, BlockedKeys: 1, Lag: 0.5}
		}})
	}()
	var found health.Finding
	require.Eventually(t, func() bool {
		code, r := status(t, url)
		found = find(r, "outbox")
		return code == cli.ExitUnhealthy
	}, patience, tick)
	require.Equal(t, health.Finding{
		Check: "outbox", State: health.Failed, Service: "oven", Next: "kitchen outbox ls oven --state aside",
		Text: "1 message in the outbox of oven cannot be sent, and what has the same key waits",
	}, found)
	stop()
	require.NoError(t, <-ended)
	require.NoError(t, conn.Close(context.WithoutCancel(t.Context())))
}

// A node of its own gets an alarm, which is seen with the management API and without it.
func TestStatusOfAnAlarm(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.WithoutCancel(ctx))) })
	look := func(management string) (cli.ExitCode, health.Report) {
		return reportOf(t, kitchenAt(t, node.URL(), "status", "-o", "json", "--broker-management-url", management))
	}
	const nowhere = "http://127.0.0.1:1"
	_, r := look(nowhere)
	require.Equal(t, health.OK, find(r, "alarm").State, "nothing was in the way of what it published")
	out, err := node.Ctl(ctx, "set_vm_memory_high_watermark", "0.0001")
	require.NoError(t, err, "%s", out)
	require.Eventually(t, func() bool {
		code, r := look(node.ManagementURL())
		return code == cli.ExitUnhealthy && find(r, "alarm").State == health.Failed
	}, 4*patience, 50*time.Millisecond)
	_, r = look(node.ManagementURL())
	require.Contains(t, find(r, "alarm").Text, "is short of memory: the broker accepts no messages until the alarm ends")
	code, r := look(nowhere)
	require.Equal(t, cli.ExitUnhealthy, code)
	require.Regexp(t, "^resource alarm: .*memory.*: the broker accepts no messages", find(r, "alarm").Text)
	sayTheAlarm(t, node)
}

// What a command cannot do because of an alarm names it, and says what becomes of the message.
func sayTheAlarm(t *testing.T, node *devbroker.Broker) {
	t.Helper()
	onBroker(t, node.URL(), declareAll)
	const alarm = `\(resource alarm: .*memory.*\): context deadline exceeded`
	const next = `\nnext:  free memory or disk on the broker: kitchen status and rabbitmqctl status say which`
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"send", "oven.bake", aPie}, "unconfirmed " + alarm + next + "; the message may still arrive when the alarm is over\n"},
		{[]string{"send", "oven.bake", aPie, "-n", "3"}, "0 sent and confirmed, .*unconfirmed " + alarm + "(?s:.*)" + next},
		{[]string{"call", "oven.price", `{"dish":"pie"}`}, "unconfirmed " + alarm + "; outcome unknown: it may have been handled" + next},
	} {
		says := regexp.MustCompile(test.says)
		require.Eventually(t, func() bool { // the broker may take longer to notify the command
			c := kitchenAt(t, node.URL(), append(test.args, "--timeout", "500ms")...)
			require.Equal(t, cli.ExitTimeout, c.run(t.Context()), c.err.String())
			return says.MatchString(c.err.String())
		}, 4*patience, time.Millisecond, test.says)
	}
	out, err := node.Ctl(t.Context(), "set_vm_memory_high_watermark", "0.6")
	require.NoError(t, err, "%s", out)
	require.Eventually(t, func() bool {
		return kitchenAt(t, node.URL(), "send", "oven.bake", aPie).run(t.Context()) == cli.ExitOK
	}, 4*patience, 50*time.Millisecond)
}

// A policy that harms a queue is named, with what it does.
func TestStatusOfPolicies(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	bury(t, url, "oven.bake", 1, "not_found", `{"n":%d}`)
	vhost := leverettest.VHost(t, url)
	set := func(kind, name, pattern string, definition map[string]any) {
		t.Helper()
		manage(t, http.MethodPut, map[string]any{"pattern": pattern, "definition": definition, "apply-to": "queues"}, kind, vhost, name)
	}
	set("policies", "ttl-all", `\.dlq$`, map[string]any{"message-ttl": 3_600_000})
	set("policies", "short", `^oven\.clean$`, map[string]any{"max-length": 10, "overflow": "drop-head"})
	set("operator-policies", "limits", `^oven\.bake`, map[string]any{"delivery-limit": 20})
	want := []string{
		"policy ttl-all removes dead letters of oven.bake after 1h",
		"operator policy limits removes dead letters of oven.bake that were looked at more than 20 times",
		"policy ttl-all removes dead letters of oven.clean after 1h",
		"policy short drops the oldest messages of oven.clean beyond 10 messages, though they were confirmed",
	}
	r := eventually(t, url, func(_ cli.ExitCode, r health.Report) bool {
		found := map[string]bool{}
		for _, f := range r.Findings {
			found[f.Text] = f.State == health.Failed
		}
		for _, text := range want {
			if !found[text] {
				return false
			}
		}
		return true
	}, "--limit", "0") // until the management API knows of the policy, looking would use up the limit
	require.Equal(t, health.Unhealthy, r.Verdict)
	_, r = status(t, url)
	require.Equal(t, "why dead letters failed, in oven.bake.dlq: looking at them too often would remove them: "+
		"a policy limits how often they may be delivered", find(r, "unseen").Text, "it does not look at what looking would remove")
	c := kitchenAt(t, url, "status", "--broker-management-url", leverettest.Node(t).ManagementURL())
	require.Equal(t, cli.ExitUnhealthy, c.run(t.Context()), c.err.String())
	require.Regexp(t, `policy ttl-all removes dead letters of oven\.bake after 1h \(likewise oven\.clean\.dlq[^)]*\) ->`, c.out.String(), "one line for all of its queues")
	require.Equal(t, 1, strings.Count(c.out.String(), "policy ttl-all"), c.out.String())
}

// A user who may do nothing but read sees all with a tag, and less without; what it does not see is no fault.
func TestStatusOfAUserWithFewRights(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	require.Equal(t, cli.ExitOK, kitchenAt(t, url, "send", "oven.bake", aPie, "-n", "3").run(t.Context()))
	eventually(t, url, func(_ cli.ExitCode, r health.Report) bool {
		f := find(r, "no_consumers")
		return f.State == health.Failed && f.Queue == "oven.bake"
	}, user(t, url)...)

	other := leverettest.Broker(t)
	onBroker(t, other, declareAll)
	code, r := status(t, other, userWith(t, other, "")...)
	require.Equal(t, cli.ExitOK, code)
	var unseen []string
	for _, f := range r.Findings {
		if f.Check == "unseen" {
			require.Equal(t, health.Warning, f.State)
			unseen = append(unseen, f.Text)
		}
	}
	require.Regexp(t, `^alarms: the management API at \S+ refuses the user .*; over AMQP: .*ACCESS_REFUSED`, unseen[0])
	require.Regexp(t, `^policies: the management API at \S+ refuses the user`, unseen[1])
}

func TestStatusOfNoBroker(t *testing.T) {
	t.Parallel()
	c := &command{args: []string{"status", "--broker-url", "amqp://ada@127.0.0.1:1/", "--broker-connect-timeout", "100ms"}}
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
	require.Regexp(t, `^unreachable: 1 failed\n\nfailed   broker  the broker cannot be reached: .* -> check the address with kitchen config show --origin; .*\n$`, c.out.String())
	require.Empty(t, c.err.String())

	c = &command{args: []string{"status", "--broker-url", "amqp://127.0.0.1:1/,amqp://127.0.0.1:2/", "--broker-connect-timeout", "5s"}}
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
	require.Contains(t, c.out.String(), "none of 2 addresses works; amqp://guest@127.0.0.1:1: ")
	require.Contains(t, c.out.String(), " refused; amqp://guest@127.0.0.1:2: ")

	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("wrong"), 0o600))
	code, r := status(t, leverettest.Broker(t), "--broker-password-file", file)
	require.Equal(t, cli.ExitUnreachable, code)
	require.Equal(t, health.Unreachable, r.Verdict)
	require.Contains(t, r.Findings[0].Text, "refused")
	require.Equal(t, "correct broker.username, or the password in the file "+file+": kitchen config show --origin", r.Findings[0].Next)
}

func TestStatusOfWrongFlags(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]string{
		"--recent=-1s": "--recent is -1s; it must be 0 or more", "--limit=-1": "--limit is -1; it must be 0 or more",
		"--ignore=alarms": `--ignore has "alarms"; did you mean alarm?; the checks are broker, node, alarm, `,
	} {
		c := &command{args: []string{"status", flag}}
		require.Equal(t, cli.ExitUsage, c.run(t.Context()))
		require.Contains(t, c.err.String(), want)
	}
}

// What arguments of queues can prevent, they do: where a policy limits the length of a dead-letter queue, nothing that
// was confirmed is dropped.
func TestPolicyThatLimitsDeadLetters(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	manage(t, http.MethodPut, map[string]any{"pattern": ".*", "definition": map[string]any{"max-length": 2}, "apply-to": "queues"},
		"policies", leverettest.VHost(t, url), "short")
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		confirmed := 0
		for {
			err := publisher.Publish(ctx, &rabbit.Publication{Exchange: "dead-letters", RoutingKey: "oven.bake", Mandatory: true})
			if err != nil {
				require.ErrorIs(tb, err, rabbit.ErrNacked)
				break
			}
			confirmed++
		}
		require.NoError(tb, publisher.Close(ctx))
		requireReady(ctx, tb, conn, "oven.bake.dlq", confirmed)
	})
}
