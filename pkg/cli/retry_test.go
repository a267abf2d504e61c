package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// postpone puts n messages of a queue into a retry tier, as a worker does whose handler has failed twice.
func postpone(tb testing.TB, url, tier, queue string, n int, code string) {
	tb.Helper()
	onBroker(tb, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		pipeline := publisher.Pipeline()
		for i := range n {
			require.NoError(tb, pipeline.Publish(ctx, &rabbit.Publication{
				Exchange: tier, RoutingKey: queue, Mandatory: true,
				Publishing: rabbit.Publishing{
					MessageId: fmt.Sprintf("%s-%s-%d", queue, code, i), Type: "oven.bake", DeliveryMode: 2, Body: fmt.Appendf(nil, `{"n":%d}`, i),
					Headers: rabbit.Table{
						"leveret-attempt": int64(3), "leveret-error-code": code, "leveret-error-message": "the dough is away",
						"leveret-failed-at":       time.Now().UTC().Format(time.RFC3339Nano),
						"leveret-first-failed-at": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano), "mine": "kept",
					},
				},
			}, nil))
		}
		require.NoError(tb, pipeline.Flush(ctx))
		require.NoError(tb, publisher.Close(ctx))
	})
}

// drained takes n messages of a queue, in their order.
func drained(tb testing.TB, url, queue string, n int) (all []rabbit.Delivery) {
	tb.Helper()
	onBroker(tb, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		ch, err := conn.Channel(ctx)
		require.NoError(tb, err)
		require.Eventually(tb, func() bool {
			for {
				d, ok, err := ch.Get(queue, true)
				require.NoError(tb, err)
				if !ok {
					return len(all) >= n
				}
				all = append(all, d)
			}
		}, 4*patience, 10*time.Millisecond)
		require.Len(tb, all, n)
	})
	return all
}

func idsOf(all []rabbit.Delivery) []string {
	ids := make([]string, len(all))
	for i, d := range all {
		ids[i] = d.MessageId
	}
	return ids
}

func numbered(queue, code string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%s-%d", queue, code, i)
	}
	return ids
}

func ready(tb testing.TB, url, queue string, want int) {
	tb.Helper()
	onBroker(tb, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		requireReady(ctx, tb, conn, queue, want)
	})
}

type retryGroup struct {
	Queue, Contract, Service, Code, Reason, Error string
	Delayed                                       bool
	Count                                         int
	Oldest                                        time.Time `json:"oldest_at"`
	Newest                                        time.Time `json:"newest_at"`
	FirstDue                                      time.Time `json:"first_due_at"`
	LastDue                                       time.Time `json:"last_due_at"`
}

// What a worker puts aside is seen with everything that a person wants to know, and a message that was sent to wait is
// seen, too.
func TestWhatWaitsForARetryIsSeen(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	c := kitchenAt(t, url, "retry", "ls")
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Equal(t, "nothing waits for a retry\n", c.err.String())

	began := time.Now().Add(-time.Millisecond)
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{url}, Name: "kitchen"})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	h := leveret.NewHandlers(waiter, leveret.HandlersConfig{})
	fail := func(context.Context, baked) error {
		return leveret.RetryAfter(9*time.Minute, leveret.NewError(leveret.Unavailable, "no_plates", "no plates"))
	}
	ovenBaked.Subscribe(h, fail)
	ovenBaked.Subscribe(h, func(context.Context, baked) error { return nil }, leveret.As("bell"))
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	require.Equal(t, cli.ExitOK, kitchenAt(t, url, "publish", "oven.baked", `{"dish_id":"1"}`).run(t.Context()))
	ready(t, url, "retry.10m", 1)
	stop()
	require.NoError(t, <-ended)
	later := leveret.NewCommand[bake]("oven.bake", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{10 * time.Minute}}))
	c = kitchenAt(t, url, "send", "oven.bake", aPie, "--after", "10m") // longer than this test takes
	c.catalog = leveret.NewCatalog(leveret.NewService("oven", leveret.Handles(later)))
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())

	c = kitchenAt(t, url, "retry", "ls", "-o", "json")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	var groups []retryGroup
	require.NoError(t, json.Unmarshal([]byte(c.out.String()), &groups))
	require.Len(t, groups, 2)
	delayed, failed := groups[0], groups[1]
	require.Equal(t, []any{"waiter.on.oven.baked", "oven.baked", "waiter", "unavailable", "no_plates", 1}, []any{failed.Queue, failed.Contract, failed.Service, failed.Code, failed.Reason, failed.Count})
	require.Contains(t, failed.Error, "no plates")
	require.WithinRange(t, failed.Oldest, began, time.Now())
	require.Equal(t, failed.Oldest, failed.Newest)
	require.Equal(t, []time.Time{failed.Oldest.Add(10 * time.Minute), failed.FirstDue}, []time.Time{failed.FirstDue, failed.LastDue})
	require.Equal(t, []any{"oven.bake", "oven", "", true, false, 1}, []any{delayed.Queue, delayed.Service, delayed.Code, delayed.Delayed, failed.Delayed, delayed.Count})
	require.Equal(t, delayed.Oldest.Add(10*time.Minute), delayed.FirstDue)

	c = kitchenAt(t, url, "retry", "ls")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Regexp(t, `(?s)^QUEUE +SERVICE +COUNT +WHY +OLDEST +NEWEST +FIRST DUE +LAST DUE +ERROR\noven.bake .* delayed .* sent to be handled later\nwaiter.on.oven.baked +waiter +1 +unavailable/no_plates +\S+ +\S+ +[4-9]m +[4-9]m .*no plates\n$`, c.out.String())
	c = kitchenAt(t, url, "retry", "ls", "waiter.on.oven.baked", "--each", "-o", "jsonl", "--where", "attempts == 1 && age < duration('1h')")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Regexp(t, `^\{"id":"\S+","fingerprint":"\w+","queue":"waiter.on.oven.baked","tier":"retry.10m","service":"waiter","contract":"oven.baked","code":"unavailable","reason":"no_plates",.*"attempts":1,.*"failed_at":"\S+","due_at":"\S+"\}\n$`, c.out.String())
	for _, wrong := range []struct {
		args []string
		code cli.ExitCode
		said string
	}{
		{[]string{"retry", "ls", "oven.price"}, cli.ExitNotFound, "oven.price is a request queue, whose messages are not retried"},
		{[]string{"retry", "ls", "oven.bak"}, cli.ExitNotFound, `the catalog has no queue "oven.bak"; did you mean oven.bake?`},
		{[]string{"retry", "release", "oven.bak", "--yes", "-o", "json"}, cli.ExitNotFound, `"exit":5`},
		{[]string{"retry", "release", "oven.bake", "--yes", "--where", "code == 'no'"}, cli.ExitOK, "none of 2 messages that wait matches --where"},
		{[]string{"retry", "release", "oven.bak", "--yes"}, cli.ExitNotFound, `the catalog has no queue "oven.bak"; did you mean oven.bake?`},
		{[]string{"retry", "ls", "--limit", "0"}, cli.ExitUsage, "--limit is 0; it must be 1 or more"},
		{[]string{"retry", "release"}, cli.ExitUsage, "--yes is needed where nobody can be asked: release 2 messages that wait?"},
		{[]string{"retry", "release", "oven.bake", "--where", "delayed", "--limit", "7"}, cli.ExitUsage, "release, of 2 messages that wait, up to 7 that go back to oven.bake and match delayed?"},
		{[]string{"retry", "ls", "oven.clean"}, cli.ExitOK, "nothing of oven.clean waits for a retry"},
	} {
		c := kitchenAt(t, url, wrong.args...)
		require.Equal(t, wrong.code, c.run(t.Context()), c.err.String())
		require.Contains(t, c.err.String(), wrong.said)
	}
}

// What another command holds is missing from what waits: a look says so, and so does a release.
func TestRetriesThatAnotherCommandHolds(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		ch, err := conn.Channel(ctx)
		require.NoError(tb, err)
		_, err = ch.Consume("retry.1m", "another@host/1-abc devel#1", false, false, false, false, nil)
		require.NoError(tb, err)
		for _, args := range [][]string{{"retry", "ls"}, {"retry", "release", "--yes"}} {
			c := kitchenAt(t, url, append(args, "--broker-management-url", leverettest.Node(t).ManagementURL())...)
			require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
			require.Regexp(t, `(?m)^warning: .+ reads retry\.1m; the messages that it holds are missing here until it ends$`, c.err.String(), "%q", args)
		}
	})
}

// A release brings back what waits for one queue from all tiers, as a retry would, and leaves what waits for others where
// it was, and in its order.
func TestRetryRelease(t *testing.T) {
	t.Parallel()
	for name, layout := range map[string]topology.Layout{"shared": topology.Shared, "isolated": topology.Isolated} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, names := leverettest.Broker(t), topology.Names{Layout: layout}
			onBroker(t, url, declareIn(names))
			minute, ten := names.RetryTier("waiter", time.Minute), names.RetryTier("waiter", 10*time.Minute)
			postpone(t, url, ten, event, 40, "unavailable")
			postpone(t, url, ten, "waiter.bell.on.oven.baked", 40, "unavailable")
			postpone(t, url, ten, event, 3, "internal")
			run := func(code cli.ExitCode, args ...string) *command {
				c := kitchenAt(t, url, append([]string{"retry", "release", "--broker-layout", name}, args...)...)
				require.Equal(t, code, c.run(t.Context()), c.err.String())
				return c
			}
			c := run(cli.ExitOK, event, "--dry-run", "--where", "code != 'internal'")
			require.Equal(t, "40 of 83 messages that wait would be returned to waiter.on.oven.baked\n", c.err.String())
			c = run(cli.ExitOK, event, "--yes", "--where", "code == 'unavailable'", "--limit", "10")
			require.Equal(t, "returned 10 of 83 messages that wait to waiter.on.oven.baked\n", c.out.String())
			first := drained(t, url, event, 10)
			require.Equal(t, numbered(event, "unavailable", 10), idsOf(first))
			d := first[0]
			require.Equal(t, "kept", d.Headers["mine"])
			require.Equal(t, int64(3), d.Headers["leveret-attempt"])
			require.Equal(t, "unavailable", d.Headers["leveret-error-code"])
			require.JSONEq(t, `{"n":0}`, string(d.Body))
			require.Equal(t, uint8(2), d.DeliveryMode)

			postpone(t, url, minute, event, 7, "aborted") // not before now, or it comes back by itself
			c = run(cli.ExitOK, event, "--yes", "-o", "json")
			var result struct {
				Returned, Failed, Unsure, Matched int
				Queues                            []struct{ Returned int }
			}
			require.NoError(t, json.Unmarshal([]byte(c.out.String()), &result))
			require.Equal(t, []int{40, 0, 0, 40}, []int{result.Returned, result.Failed, result.Unsure, result.Matched})
			want := append(append(numbered(event, "unavailable", 40)[10:], numbered(event, "internal", 3)...), numbered(event, "aborted", 7)...)
			require.NotContains(t, c.out.String(), `"ids"`, "there may be a million")
			require.Equal(t, want, idsOf(drained(t, url, event, 40)))
			ready(t, url, ten, 40)
			require.Equal(t, numbered("waiter.bell.on.oven.baked", "unavailable", 40), idsOf(drained(t, url, ten, 40)))
			c = run(cli.ExitOK, event, "--yes")
			require.Equal(t, "nothing of waiter.on.oven.baked waits for a retry\n", c.err.String())
		})
	}
}

// A queue that is gone is named; what waits for it stays, and the rest is released.
func TestRetryReleaseOfAQueueThatIsGone(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	postpone(t, url, "retry.10m", "gone.on.oven.baked", 3, "unavailable")
	postpone(t, url, "retry.10m", "waiter.on.oven.baked", 3, "unavailable")
	c := kitchenAt(t, url, "retry", "release", "--yes")
	require.Equal(t, cli.ExitPartial, c.run(t.Context()))
	require.Equal(t, "returned 3 of 6 messages that wait to waiter.on.oven.baked; 3 could not be, and still wait\n", c.out.String())
	require.Contains(t, c.err.String(), "error: 3 were returned, 3 could not be: the queue gone.on.oven.baked is gone; what belongs there stays where it is\nnext:  start the service once; it declares its queue.")
	ready(t, url, "retry.10m", 3)
	c = kitchenAt(t, url, "retry", "release", "--yes", "-o", "json")
	require.Equal(t, cli.ExitNotFound, c.run(t.Context()))
	require.Contains(t, c.out.String(), `"failed": 3`)
	c = kitchenAt(t, url, "retry", "release", "--dry-run")
	require.Equal(t, cli.ExitNotFound, c.run(t.Context()))
	require.Contains(t, c.err.String(), "0 of 3 messages that wait would be returned; 3 could not be, and still wait\n")
}

// A paced release gives what it does not release back in between, releases everything once, and can be interrupted.
func TestRetryReleaseAtARate(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	postpone(t, url, "retry.10m", "waiter.bell.on.oven.baked", 5, "unavailable")
	postpone(t, url, "retry.10m", event, 600, "unavailable")
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	c := kitchenAt(t, url, "retry", "release", event, "--rate", "10/s", "--yes", "-o", "jsonl")
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(ctx) }()
	require.Eventually(t, func() bool { return strings.Count(c.out.String(), `"returned"`) > 22 }, 2*patience, tick, "beyond the first turn, of 20")
	ctrlC()
	require.Equal(t, cli.ExitInterrupted, <-ended, c.err.String())
	require.Contains(t, c.err.String(), " were returned; the others still wait")
	n := strings.Count(c.out.String(), `"returned"`)
	ready(t, url, event, n)
	ready(t, url, "retry.10m", 605-n)
	c = kitchenAt(t, url, "retry", "release", event, "--rate", "1000/s", "--yes")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.ElementsMatch(t, numbered(event, "unavailable", 600), idsOf(drained(t, url, event, 600)))
	require.Equal(t, numbered("waiter.bell.on.oven.baked", "unavailable", 5), idsOf(drained(t, url, "retry.10m", 5)))
}

// Looking, with any limit, changes neither the order nor the time of what waits: nothing comes back early, nor after a
// message that went into another tier of the same delay later, at which nobody looks.
func TestLookingAtATierChangesNothing(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		require.NoError(tb, rabbit.NewDeclarer(conn).Declare(ctx, topology.Names{Layout: topology.Isolated}.RetryTiers("unseen", 10*time.Second)))
		ch, err := conn.Channel(ctx)
		require.NoError(tb, err)
		require.NoError(tb, ch.QueueBind("waiter.on.oven.baked", "waiter.on.oven.baked", "retry.unseen.return", false, nil))
	})
	const n = 100
	var looks int
	began := time.Now()
	for {
		postpone(t, url, "retry.10s", event, n, "unavailable")
		for looks = 0; time.Since(began) < 4*time.Second || looks < 3; looks++ {
			limit := []string{"1000", "7", "60", "1"}[looks%4]
			c := kitchenAt(t, url, "retry", "ls", "--limit", limit, "-o", "json")
			require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		}
		if time.Since(began) < 9*time.Second {
			break
		}
		drained(t, url, event, n) // the looks were so slow that the time was over during one, which held what was due
		began = time.Now()
	}
	postpone(t, url, "retry.unseen.10s", event, 1, "aborted")
	all := drained(t, url, event, n+1)
	require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
	require.Equal(t, append(numbered(event, "unavailable", n), event+"-aborted-0"), idsOf(all), "after %d looks", looks)
}

// The user of an operator in the documentation may do what operators do, and not with fewer rights.
func TestTheRightsOfAnOperator(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	cells := regexp.MustCompile("(?m)^\\| operates \\| `([^`]+)` \\| `([^`]+)` \\| `([^`]+)` \\|$").FindStringSubmatch(string(page))
	require.Len(t, cells, 4, "no row in the table of permissions")
	for i := range cells {
		cells[i] = strings.ReplaceAll(strings.ReplaceAll(cells[i], `\|`, "|"), "(1s|", "(100ms|1s|") // the kitchen has a tier of its own
	}
	for name, layout := range map[string]topology.Layout{"shared": topology.Shared, "isolated": topology.Isolated} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, names := leverettest.Broker(t), topology.Names{Layout: layout}
			onBroker(t, url, declareIn(names))
			onBroker(t, url, openIn(names))
			sell(t, url, soldStream, 0, 20, 0, time.Now())
			ten := names.RetryTier("waiter", 10*time.Minute)
			operator := userWho(t, url, "monitoring", rights{cells[1], cells[2], cells[3]})
			run := func(code cli.ExitCode, user []string, args ...string) *command {
				args = append(append(args, "--broker-layout", name, "--broker-management-url", leverettest.Node(t).ManagementURL()), user...)
				c := kitchenAt(t, url, args...)
				require.Equal(t, code, c.run(t.Context()), "%q: %s", args, c.err.String())
				return c
			}
			postpone(t, url, names.DeadLetterExchange("waiter"), event, 2, "not_found")
			postpone(t, url, ten, event, 2, "unavailable")
			postpone(t, url, ten, "gone.on.oven.baked", 1, "unavailable")
			ready(t, url, event+".dlq", 2)
			c := run(cli.ExitUnhealthy, operator, "status") // there are dead letters
			require.Contains(t, c.out.String(), "everything could be looked at")
			for _, args := range [][]string{
				{"queues"},
				{"dlq", "ls"},
				{"dlq", "show", event},
				{"dlq", "replay", event, "--limit", "1", "--yes"},
				{"dlq", "rm", event, event + "-not_found-1", "--yes"},
				{"retry", "ls"},
				{"retry", "ls", "--each"},
				{"retry", "release", event, "--yes"},
			} {
				c := run(cli.ExitOK, operator, args...)
				require.Empty(t, c.err.String(), "%q", args)
			}
			require.ElementsMatch(t, []string{event + "-not_found-0", event + "-unavailable-0", event + "-unavailable-1"}, idsOf(drained(t, url, event, 3)))
			kept := catchUp(t, url, append([]string{"--yes", "--broker-layout", name, "--broker-management-url", leverettest.Node(t).ManagementURL()}, operator...)...)
			require.Equal(t, cli.ExitOK, kept.run(t.Context()), kept.err.String())
			require.Equal(t, numbers(20), loaves(t, url))
			kept = kitchenAt(t, url, append([]string{"events", "ls", "--broker-layout", name}, operator...)...)
			kept.catalog = bakery
			require.Equal(t, cli.ExitOK, kept.run(t.Context()), kept.err.String())
			require.Empty(t, kept.err.String())
			require.Eventually(t, func() bool { // the management API, which knows, is some seconds late
				c := kitchenAt(t, url, append([]string{"queues", "--all", "-o", "json", "--broker-management-url", leverettest.Node(t).ManagementURL()}, operator...)...)
				return c.run(t.Context()) == cli.ExitOK && strings.Contains(c.out.String(), `"oven.clean.dlq"`)
			}, 2*patience, 100*time.Millisecond)
			c = run(cli.ExitNotFound, operator, "retry", "release", "--yes")
			require.Contains(t, c.err.String(), "the queue gone.on.oven.baked is gone")
			ready(t, url, ten, 1)
			lost := names.RetryLost("waiter")
			postpone(t, url, names.RetryReturnExchange("waiter"), "gone.on.oven.baked", 2, "unavailable")
			ready(t, url, lost, 2)
			for _, args := range [][]string{{"--yes"}, {"--dry-run"}, {"--yes", "-o", "json"}, {"--limit", "1", "--yes"}} {
				c = run(cli.ExitNotFound, operator, append([]string{"dlq", "replay", lost}, args...)...)
				require.Contains(t, c.err.String(), "the queue gone.on.oven.baked is gone", args)
				require.NotContains(t, c.out.String(), "2 of 2")
				ready(t, url, lost, 2)
			}

			postpone(t, url, ten, event, 1, "unavailable")
			c = run(cli.ExitUnreachable, userWho(t, url, "monitoring", rights{cells[1], "^$", cells[3]}), "retry", "release", event, "--yes")
			require.Contains(t, c.err.String(), "write permission for the exchange "+names.RetryReturnExchange("waiter")+" in")
			c = run(cli.ExitPartial, userWho(t, url, "monitoring", rights{cells[1], cells[2], strings.Replace(cells[3], "|10m", "", 1)}), "retry", "ls")
			require.Contains(t, c.err.String(), "permission for the queue "+names.RetryTier("waiter", 10*time.Minute)+" in")
			ready(t, url, ten, 2)
			manage(t, http.MethodDelete, nil, "queues", leverettest.VHost(t, url), ten)
		})
	}
}
