package cli_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Looks, of all dead letters or of some, leave them in their order; and no look takes a message from a work queue or a
// request queue. Its next taker would see it as redelivered.
func TestLookingKeepsTheOrder(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	const n = 40
	postpone(t, url, "dead-letters", "oven.bake", n, "not_found")
	ready(t, url, "oven.bake.dlq", n)
	waiting := []string{"oven.bake", "oven.price"}
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		p := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		for _, q := range waiting {
			require.NoError(tb, p.Publish(ctx, &rabbit.Publication{RoutingKey: q, Mandatory: true, Publishing: rabbit.Publishing{DeliveryMode: 2, Body: []byte("{}")}}))
		}
		require.NoError(tb, p.Close(ctx))
	})
	middle := fmt.Sprintf("oven.bake-not_found-%d", n/2)
	for _, look := range []string{
		"dlq ls", "dlq show oven.bake --limit 7", "dlq ls --limit 3", "dlq show oven.bake " + middle, "dlq show oven.bake -o json",
		"dlq replay oven.bake --dry-run --limit 5", "dlq rm oven.bake --dry-run " + middle, "status --limit 9 --recent 0 --ignore no_consumers",
		"retry ls", "retry release --dry-run", "queues --all", "queues show oven.bake.dlq", "queues show oven.bake", "queues show oven.price",
	} {
		onBroker(t, url, declareAll) // a request queue without consumers expires unless it is declared again
		c := kitchenAt(t, url, append(strings.Fields(look), "--broker-management-url", leverettest.Node(t).ManagementURL())...)
		require.Equal(t, cli.ExitOK, c.run(t.Context()), "%s: %s", look, c.err.String())
	}
	require.Equal(t, numbered("oven.bake", "not_found", n), idsOf(drained(t, url, "oven.bake.dlq", n)))
	for _, q := range waiting {
		d := drained(t, url, q, 1)[0]
		require.False(t, d.Redelivered, q)
		require.Contains(t, []string{"<nil>", "0"}, fmt.Sprint(d.Headers["x-delivery-count"]), q)
	}
}
