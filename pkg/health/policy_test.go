package health_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/health"
	"github.com/leveretmq/leveret/pkg/management"
)

// TestPolicies has a line for each harm, as docs/policies.md lists them.
func TestPolicies(t *testing.T) {
	t.Parallel()
	type keys = map[string]any
	const minute = 60_000.0
	for _, c := range []struct {
		queue int
		keys  keys
		want  string // of each finding: the state, and what the policy does
	}{
		{letters, keys{"message-ttl": 60 * minute}, "failed policy p removes dead letters of order.place after 1h"},
		{lost, keys{"message-ttl": minute}, "failed policy p removes messages in retry.lost that have lost their queue after 1m"},
		{quarantined, keys{"message-ttl": minute}, "failed policy p removes messages in quarantine.order after 1m"},
		{place, keys{"message-ttl": minute}, "warning policy p makes a message that waits in order.place for 1m a dead letter, though nothing has tried it"},
		{show, keys{"message-ttl": minute}, "warning policy p drops a call that waits in order.show for 1m; its caller times out"},
		{tier, keys{"message-ttl": minute / 2}, "warning policy p ends each wait in retry.1m after 30s instead of 1m"},
		{tier, keys{"message-ttl": minute}, ""},

		{place, keys{"expires": minute}, "failed policy p deletes order.place, with what waits in it, once no worker has run for 1m"},
		{letters, keys{"expires": minute}, "failed policy p deletes order.place.dlq, with dead letters of order.place, when it is not used for 1m"},
		{tier, keys{"expires": minute}, "failed policy p deletes retry.1m, with messages that wait in retry.1m for their retry, when it is not used for 1m"},
		{show, keys{"expires": minute}, ""},
		{show, keys{"expires": minute / 2}, "warning policy p deletes order.show 30s after its last worker instead of 1m: calls fail sooner"},

		{place, keys{"delivery-limit": 3.0}, "warning policy p makes a message of order.place a dead letter once it was given back more than 3 times, " +
			"as a worker's stop or a lost connection may do"},
		{place, keys{"delivery-limit": 1000.0}, ""},
		{tier, keys{"delivery-limit": 3.0}, "warning policy p sends a message of retry.1m on before its time once it was looked at more than 3 times"},
		{letters, keys{"delivery-limit": 20.0}, "failed policy p removes dead letters of order.place that were looked at more than 20 times"},
		{letters, keys{"delivery-limit": -1.0}, ""},
		{show, keys{"delivery-limit": 1.0}, ""},

		{place, keys{"max-length": 2.0}, "warning policy p refuses what is sent to order.place beyond 2 messages: senders get an error"},
		{letters, keys{"max-length-bytes": 2.0}, "warning policy p refuses dead letters of order.place beyond 2 bytes: failed messages stay where they are, and are tried again"},
		{show, keys{"max-length": 2.0}, "warning policy p drops the oldest call of order.show beyond 2 messages; its caller times out"},
		{show, keys{"max-length": 2.0, "overflow": "reject-publish"}, "warning policy p refuses calls beyond 2 messages in order.show"},
		{place, keys{"max-length": 2.0, "overflow": "drop-head"}, "failed policy p drops the oldest messages of order.place beyond 2 messages, though they were confirmed"},
		{letters, keys{"max-length": 2.0, "overflow": "drop-head"}, "failed policy p drops the oldest dead letters of order.place beyond 2 messages, though they were confirmed"},
		{place, keys{"overflow": "drop-head"}, "failed policy p lets the broker lose a message that it moves out of order.place (dead-lettering is no longer at-least-once)"},
		{tier, keys{"overflow": "drop-head"}, "failed policy p lets the broker lose a message that it moves out of retry.1m (dead-lettering is no longer at-least-once)"},
		{letters, keys{"overflow": "drop-head"}, ""},

		{letters, keys{"delayed-retry-type": "all"}, "warning policy p hides dead letters of order.place for a while after somebody looked at them"},
		{letters, keys{"delayed-retry-type": "disabled"}, ""},

		{tier, keys{"dead-letter-routing-key": "x"}, "failed policy p sends what waits in retry.1m to another queue than its own, or to none"},
		{place, keys{"dead-letter-routing-key": "x"}, ""},

		{stream, keys{"max-length-bytes": 1000.0}, "warning policy p deletes what is kept in order.placed.kept beyond 1000 bytes; its contract says 1000000"},
		{stream, keys{"max-length-bytes": 1_000_000.0, "max-age": "90D"}, ""},
		{stream, keys{"max-age": "89D"}, "warning policy p deletes what is kept in order.placed.kept after 89D; its contract says 90d"},
		{stream, keys{"max-age": "2M"}, "warning policy p deletes what is kept in order.placed.kept after 2M; its contract says 90d"},
		{stream, keys{"max-age": "2159h", "max-length-bytes": 1000.0}, "warning policy p deletes what is kept in order.placed.kept after 2159h; its contract says 90d\n" +
			"warning policy p deletes what is kept in order.placed.kept beyond 1000 bytes; its contract says 1000000"},
		{stream, keys{"max-age": "129599m"}, "warning policy p deletes what is kept in order.placed.kept after 129599m; its contract says 90d"},
		{stream, keys{"max-age": "5s"}, "warning policy p deletes what is kept in order.placed.kept after 5s; its contract says 90d"},
		{stream, keys{"max-age": "1Y"}, ""},
		{stream, keys{"max-age": "3M"}, ""},
		{stream, keys{"max-age": "9999999999Y"}, ""},
		{place, keys{"max-age": "5s"}, ""},
		{stream, keys{"message-ttl": minute, "expires": minute, "max-length": 2.0, "delivery-limit": 1.0, "overflow": "drop-head"}, ""},

		{place, keys{
			"dead-letter-exchange": "x", "dead-letter-strategy": "at-most-once", "overflow": "reject-publish", "consumer-timeout": minute,
			"max-in-memory-length": 1.0, "queue-leader-locator": "balanced", "target-group-size": 3.0,
		}, ""},
	} {
		f := well()
		f.Queues[c.queue].Policy = management.AppliedPolicy{Policy: "p", Definition: c.keys}
		var found []string
		for _, f := range health.Examine(f, health.Config{Recent: time.Hour}).Findings {
			if f.State != health.OK {
				require.Equal(t, health.CheckPolicy, f.Check)
				require.Equal(t, "rabbitmqctl list_policies -p /", f.Next)
				found = append(found, string(f.State)+" "+f.Text)
			}
		}
		require.Equal(t, c.want, strings.Join(found, "\n"), "%v", c.keys)
	}
}

// RabbitMQ 3.10.8 takes a negative limit for one that every message exceeds.
func TestNegativeDeliveryLimit(t *testing.T) {
	t.Parallel()
	f := well()
	f.Version = "3.10.8"
	f.Queues[letters].Policy = management.AppliedPolicy{
		Policy: "p", Operator: "o", Definition: map[string]any{"delivery-limit": -1.0}, ByOperator: map[string]bool{"delivery-limit": true},
	}
	found := health.Examine(f, health.Config{}).Findings[0]
	require.Equal(t, "operator policy o removes dead letters of order.place that were looked at more than 0 times", found.Text)
	require.Equal(t, "rabbitmqctl list_operator_policies -p /", found.Next)
}
