package cli_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

func TestShowLooksAtAllDeadLetters(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	bury(t, url, "oven.bake", 1003, "not_found", `{"n":%d}`)
	show := func(code cli.ExitCode, args ...string) *command {
		onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) { // the command before may have held some
			tb.Helper()
			requireReady(ctx, tb, conn, "oven.bake.dlq", 1003)
		})
		c := kitchenAt(t, url, append([]string{"dlq", "show", "oven.bake"}, args...)...)
		require.Equal(t, code, c.run(t.Context()), c.err.String())
		return c
	}
	c := show(cli.ExitOK, "-o", "jsonl", "--where", "payload.n in [3, 1001, 1002]", "--limit", "2")
	require.Equal(t, `{"note":"showing 2 of 3; --limit shows more"}`+"\n", c.err.String())
	lines := c.out.lines()
	require.Len(t, lines, 2)
	for i, n := range []int{3, 1001} {
		var letter struct {
			Payload struct{ N int }
		}
		require.NoError(t, json.Unmarshal([]byte(lines[i]), &letter))
		require.Equal(t, n, letter.Payload.N)
	}
	c = show(cli.ExitOK, "not_found-1001", "-o", "jsonl")
	require.Contains(t, c.out.String(), `{"id":"not_found-1001",`)
	c = show(cli.ExitOK, "--where", "payload.n > 1003")
	require.Equal(t, "none of 1003 dead letters matches --where\n", c.err.String())
	c = show(cli.ExitOK, "--limit", "1")
	require.Equal(t, "showing 1 of 1003; --limit shows more\n", c.err.String())
	c = show(cli.ExitNotFound, "1004")
	require.Contains(t, c.err.String(), `oven.bake has no dead letter "1004"; it has 1003`)
}

// An id that several letters have names none of them: their fingerprints do.
func TestAnAmbiguousIDIsRefused(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	bury(t, url, "oven.bake", 3, "not_found", `{"n":%d}`)
	bury(t, url, "oven.bake", 1, "not_found", `{"other":%d}`) // not_found-0 again
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		for i := range 3 { // of a foreign sender; the last two are the same
			require.NoError(tb, publisher.Publish(ctx, &rabbit.Publication{
				RoutingKey: "oven.bake.dlq", Mandatory: true, Publishing: rabbit.Publishing{Type: "t", Body: []byte{'0' + byte(min(i, 1))}},
			}))
		}
		require.NoError(tb, publisher.Publish(ctx, &rabbit.Publication{
			RoutingKey: "oven.bake.dlq", Mandatory: true, Publishing: rabbit.Publishing{MessageId: "not_found-1", Type: "another"},
		}))
		require.NoError(tb, publisher.Close(ctx))
	})
	for _, command := range [][]string{{"show"}, {"replay", "--yes"}, {"rm", "--yes"}} {
		args := append([]string{"dlq", command[0], "oven.bake", "not_found-1"}, command[1:]...)
		c := kitchenAt(t, url, args...)
		require.Equal(t, cli.ExitUsage, c.run(t.Context()), c.err.String())
		require.Contains(t, c.err.String(), `"not_found-1" is the id of several dead letters of oven.bake: `)
	}
	ready(t, url, "oven.bake.dlq", 8)
	c := kitchenAt(t, url, "dlq", "show", "oven.bake", "-o", "jsonl")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	var foreign string
	for _, line := range c.out.lines() {
		var letter struct{ ID, Fingerprint, Payload string }
		_ = json.Unmarshal([]byte(line), &letter)
		if letter.ID == "" {
			foreign = letter.Fingerprint
		}
	}
	require.NotEmpty(t, foreign)
	c = kitchenAt(t, url, "dlq", "rm", "oven.bake", foreign, "--yes")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	ready(t, url, "oven.bake.dlq", 6) // those that are the same are one to a person
}

// fingerprints returns those of a queue's dead letters.
func fingerprints(t *testing.T, url, queue string) (all []string) {
	t.Helper()
	c := kitchenAt(t, url, "dlq", "show", queue, "-o", "json")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	var letters []struct{ Fingerprint string }
	require.NoError(t, json.Unmarshal([]byte(c.out.String()), &letters))
	for _, l := range letters {
		all = append(all, l.Fingerprint)
	}
	return all
}

// Dead letters of a service that the catalog does not have are listed, and can be replayed. A queue that somebody else
// declared is not even looked at, whatever its name.
func TestDeadLettersOfStrangersAreListed(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		d := rabbit.NewDeclarer(conn)
		require.NoError(tb, d.Declare(ctx, topology.Names{}.Work("mailer", topology.Exchange{Name: "events", Type: topology.Topic},
			"oven.baked", "mailer.on.oven.baked")))
		theirs := topology.Topology{
			Exchanges: []topology.Exchange{{Name: "dead-letters", Type: topology.Direct}},
			Queues:    []topology.Queue{{Name: "theirs.dlq"}},
			Bindings:  []topology.Binding{{Exchange: "dead-letters", RoutingKey: "theirs", Queue: "theirs.dlq"}},
		}
		require.NoError(tb, d.Declare(ctx, theirs))
	})
	bury(t, url, "mailer.on.oven.baked", 2, "not_found", `{"n":%d}`)
	bury(t, url, "theirs", 1, "not_found", `{"n":%d}`)
	api := leverettest.Node(t).ManagementURL()
	c := kitchenAt(t, url, "dlq", "ls", "-o", "jsonl", "--broker-management-url", api)
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Len(t, c.out.lines(), 1)
	var group struct {
		Queue, Service string
		Count          int
	}
	require.NoError(t, json.Unmarshal([]byte(c.out.lines()[0]), &group))
	require.Equal(t, "mailer.on.oven.baked", group.Queue)
	require.Equal(t, "mailer", group.Service)
	require.Equal(t, 2, group.Count)

	c = kitchenAt(t, url, "dlq", "replay", group.Queue, "--yes")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	ready(t, url, group.Queue, 2)

	c = kitchenAt(t, url, "dlq", "ls", "--broker-management-url", "http://127.0.0.1:1")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Equal(t, "no dead letters\n", c.err.String(), "without the management API, those of the catalog")
}
