package cli_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// oddBodies are what a foreign sender may send, and whether a worker decodes it as a bake.
func oddBodies() map[string]bool {
	return map[string]bool{
		"": false, " \n\t": false, "\x00": false, "\x00\x00\x00\x00": false, "null": false, "\ufeff": false, "\xff": false,
		"\xff\xfe{\x00}\x00": false, "{\x00\x00\x00}\x00\x00\x00": false, "{} {}": false, "[1": false, "NaN": false, "01": false,
		bakeWith(`"unknown":-0`): true, bakeWith(`"unknown":1e999999`): true, bakeWith(`"unknown":-1E-999999`): true,
		bakeWith(`"unknown":` + strings.Repeat("9", 10_000)): true, bakeWith(`"unknown":0.` + strings.Repeat("3", 10_000)): true,
		bakeWith(`"unknown":"\ud800"`): true, bakeWith(`"unknown":"\u0000"`): true, bakeWith(`"":{"":null}`): true,
		bakeWith(`"a":1,"a":{},"a":1541815603606036481`):                                                          true,
		bakeWith(`"deep":` + strings.Repeat("[", 300) + strings.Repeat("]", 300)):                                 true,
		bakeWith(`"deep":` + strings.Repeat(`{"a":`, 9_000) + "1541815603606036481" + strings.Repeat("}", 9_000)): true,
		bakeWith(`"deep":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)):                           false,
		bakeWith(`"minutes":5,"minutes":"x"`):                                                                     false, bakeWith(`"minutes":1e1`): false, bakeWith(`"minutes":5.0`): false,
		bakeWith(`"minutes":1e999999`): false, bakeWith(`"minutes":9223372036854775808`): false, bakeWith("\"dish\":\"\xff\""): false,
		"\ufeff" + bakeWith(`"unknown":1`): true,
	}
}

func bakeWith(more string) string {
	return `{"dish_id":"01938c3e-8a41-7000-8000-000000000001","dish":"pie","minutes":30,` + more + `}`
}

// What a worker decodes is sent as it is, but for white space and a byte order mark, and nothing else is.
func TestOddPayloadsAreSentAsTheyAre(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	var lines, sent []string
	for body, fits := range oddBodies() {
		_, err := ovenBake.Decode([]byte(body))
		require.Equal(t, fits, err == nil, "%.60q: %v", body, err)
		if fits {
			lines, sent = append(lines, body), append(sent, strings.TrimPrefix(body, "\ufeff"))
			continue
		}
		c := kitchenAt(t, url, "send", "oven.bake", "--literal", "-f", "-")
		c.stdin = strings.NewReader(body)
		require.Equal(t, cli.ExitUsage, c.run(t.Context()), "%.60q: %s", body, c.err.String())
		require.Less(t, len(c.err.String()), 2_000, "%.60q", body)
	}
	c := kitchenAt(t, url, "send", "oven.bake", "--literal", "--lines", "-f", "-")
	c.stdin = strings.NewReader(strings.Join(lines, "\n"))
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.ElementsMatch(t, sent, bodiesIn(t, url, "oven.bake", len(sent)))
}

// Whatever a dead letter holds, it is shown, selected or left out, and goes back as it was.
func TestOddDeadLettersGoBackAsTheyWere(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	var all []string
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		for body := range oddBodies() {
			all = append(all, body)
			require.NoError(tb, publisher.Publish(ctx, &rabbit.Publication{
				RoutingKey: "oven.bake" + topology.DeadLetterSuffix, Mandatory: true, Publishing: rabbit.Publishing{Body: []byte(body)},
			}))
		}
	})
	show := kitchenAt(t, url, "dlq", "show", "oven.bake", "-o", "jsonl", "--limit", "1000")
	require.Equal(t, cli.ExitOK, show.run(t.Context()), show.err.String())
	lines := strings.Split(strings.TrimSpace(show.out.String()), "\n")
	require.Len(t, lines, len(all))
	for _, line := range lines {
		require.True(t, json.Valid([]byte(line)), "%.100s", line)
	}
	where := kitchenAt(t, url, "dlq", "show", "oven.bake", "-o", "jsonl", "--where", `payload.a == 1541815603606036481`)
	require.Equal(t, cli.ExitOK, where.run(t.Context()), where.err.String())
	require.Equal(t, 1, strings.Count(where.out.String(), "\n"), where.out.String())
	require.Contains(t, where.out.String(), `"a":1,"a":{},"a":1541815603606036481`)
	replay := kitchenAt(t, url, "dlq", "replay", "oven.bake", "--yes")
	require.Equal(t, cli.ExitOK, replay.run(t.Context()), replay.err.String())
	require.ElementsMatch(t, all, bodiesIn(t, url, "oven.bake", len(all)))
}

// bodiesIn takes messages from a queue.
func bodiesIn(tb testing.TB, url, queue string, n int) (bodies []string) {
	tb.Helper()
	taken := make(chan string)
	onBroker(tb, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		ctx, cancel := context.WithCancel(ctx)
		consumer := rabbit.NewConsumer(conn, rabbit.ConsumerConfig{Queue: queue, Handle: func(_ context.Context, d *rabbit.Incoming) rabbit.Settlement {
			taken <- string(d.Body)
			return rabbit.Ack
		}})
		ended := make(chan error, 1)
		go func() { ended <- consumer.Run(ctx) }()
		for range n {
			bodies = append(bodies, <-taken)
		}
		cancel()
		require.NoError(tb, <-ended)
	})
	return bodies
}
