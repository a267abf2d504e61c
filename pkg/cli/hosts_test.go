package cli_test

import (
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// silent returns hosts that accept connections and say nothing.
func silent(t *testing.T, n int) (hosts []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, l.Close()) })
		hosts = append(hosts, l.Addr().String())
	}
	return hosts
}

// Hosts that say nothing do not use up the time of a command: each has its share, and the one that works is found.
func TestACommandFindsTheHostThatWorks(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	_, rest, _ := strings.Cut(url, "@")
	hosts := silent(t, 2)
	c := kitchenAt(t, url, "queues", "oven.bake", "-o", "jsonl", "--broker-management-url", leverettest.Node(t).ManagementURL())
	c.args = append(c.args, "--broker-connect-timeout", "20s",
		"--broker-url", "amqp://guest@"+hosts[0]+",amqps://guest@"+hosts[1]+",amqp://127.0.0.1:1,amqp://guest@"+rest)
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Contains(t, c.out.String(), `"name":"oven.bake"`)
}

func TestNoHostWorks(t *testing.T) {
	t.Parallel()
	hosts := silent(t, 2)
	c := &command{args: []string{
		"dlq", "ls", "--broker-connect-timeout", "6s",
		"--broker-url", "amqp://" + hosts[0] + "/v,amqps://ada@" + hosts[1] + ",amqp://127.0.0.1:1",
	}}
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
	said := regexp.MustCompile(`(?m)^warning: still .*\n(  .*\n)*`).ReplaceAllString(c.err.String(), "") // what it says meanwhile
	require.Equal(t, `error: the broker cannot be reached: not connected to the broker: context deadline exceeded: none of 3 addresses works
  amqp://guest@one/v: the host accepted the connection, but did not answer in time
  amqps://ada@two: the host accepted the connection, but did not answer in time
  amqp://guest@127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused
next:  check the address with kitchen config show --origin; --broker-url and LEVERET_BROKER_URL change it
`, strings.NewReplacer(hosts[0], "one", hosts[1], "two").Replace(said))
}
