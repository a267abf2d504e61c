package topology_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/topology"
)

var update = flag.Bool("update", false, "write the golden files")

// TestDerivations pins every exchange, queue and binding: once released, none of them can be changed.
func TestDerivations(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]topology.Names{
		"shared":    {Layout: topology.Shared},
		"isolated":  {Layout: topology.Isolated},
		"namespace": {Namespace: "blue.team", Layout: topology.Isolated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			for _, d := range derivations(n) {
				out.WriteString("# " + d.what + "\n")
				write(&out, d.Topology)
				out.WriteString("\n")
			}
			path := "testdata/" + name + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o600))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err, "go test -run %s -update writes it", t.Name())
			require.Equal(t, string(want), out.String())
		})
	}
}

// The zero value is the shared layout.
func TestSharedIsTheDefault(t *testing.T) {
	t.Parallel()
	require.Equal(t, derivations(topology.Names{Layout: topology.Shared}), derivations(topology.Names{}))
}

// In the isolated layout, nothing leads from what belongs to one service to a queue of another, except events, to which
// subscribers bind their queues themselves.
func TestIsolatedServicesDoNotMeet(t *testing.T) {
	t.Parallel()
	n := topology.Names{Layout: topology.Isolated}
	// Every name has one of the two services as a segment: order, inventory, or both in a subscription's queue, which
	// belongs to the subscriber, its first segment.
	owner := func(name string) string {
		for segment := range strings.SplitSeq(name, ".") {
			if segment == "order" || segment == "inventory" {
				return segment
			}
		}
		t.Fatalf("%q belongs to neither", name)
		return ""
	}
	crossed := 0
	for _, d := range derivations(n) {
		for _, b := range d.Bindings {
			if owner(b.Exchange) != owner(b.Queue) {
				require.Equal(t, n.EventExchange("order"), b.Exchange, "%+v", b)
				crossed++
			}
		}
		for _, q := range d.Queues {
			if exchange, ok := q.Args["x-dead-letter-exchange"].(string); ok {
				require.Equal(t, owner(q.Name), owner(exchange), "%+v", q)
			}
		}
		for _, e := range d.Exchanges {
			if alternate, ok := e.Args["alternate-exchange"].(string); ok {
				require.Equal(t, owner(e.Name), owner(alternate), "%+v", e)
			}
		}
	}
	require.Equal(t, 3, crossed, "the subscriptions")
}

// Work queues and their dead letters have the same names in both layouts.
func TestWorkQueuesHaveOneName(t *testing.T) {
	t.Parallel()
	shared, isolated := derivations(topology.Names{}), derivations(topology.Names{Layout: topology.Isolated})
	for i, d := range shared {
		for j, q := range d.Queues {
			if !strings.HasPrefix(q.Name, "retry.") {
				require.Equal(t, q.Name, isolated[i].Queues[j].Name)
			}
		}
	}
}

type derivation struct {
	what string
	topology.Topology
}

// derivations are the parts that a system of the services order and inventory is made of.
func derivations(n topology.Names) []derivation {
	commands := topology.Exchange{Name: n.CommandExchange("inventory"), Type: topology.Direct}
	events := topology.Exchange{Name: n.EventExchange("order"), Type: topology.Topic}
	requests := topology.Exchange{Name: n.RequestExchange("inventory"), Type: topology.Direct}
	reserve, placed, stock := "inventory.reserve", "order.placed", "inventory.stock"
	request := func(queueType topology.QueueType) topology.Topology {
		return n.Request("inventory", requests, n.RoutingKey(stock), n.ContractQueue(stock), queueType)
	}
	subscription, fraud := n.SubscriptionQueue("inventory", "", placed), n.SubscriptionQueue("inventory", "fraud", placed)
	return []derivation{
		{"a command of inventory", n.Work("inventory", commands, n.RoutingKey(reserve), n.ContractQueue(reserve))},
		{"a subscription of inventory to an event of order", n.Work("inventory", events, n.RoutingKey(placed), subscription)},
		{"a second one", n.Work("inventory", events, n.RoutingKey(placed), fraud)},
		{"a queue of one process of inventory", n.Process("inventory", placed, "host/7-abcdefgh", topology.Binding{Exchange: events.Name, RoutingKey: n.RoutingKey(placed)})},
		{"a work queue behind the default exchange", n.Work("inventory", topology.Exchange{}, "inventory.old", "inventory.old")},
		{"a queue of somebody else's that inventory takes from", n.Failing("inventory", "their.inventory")},
		{"retry tiers of inventory", n.RetryTiers("inventory", 10*time.Second, time.Second, 10*time.Second)},
		{"quarantine of inventory", n.QuarantineQueue("inventory")},
		{"a request to inventory", request(topology.Classic)},
		{"the same in a quorum queue", request(topology.Quorum)},
		{"what its callers need", n.Calling("inventory", requests)},
		{"where a process of inventory learns of cancelled calls", n.Control("inventory", "host/1", stock)},
		{"the stream of a kept event of order", n.Kept(events, n.RoutingKey(placed), placed, 365*24*time.Hour, 1_000_000_000)},
		{"one whose segments are of RabbitMQ's size", n.Kept(events, n.RoutingKey(placed), placed, time.Second, 9_000_000_000)},
		{"where operators reach inventory", n.Serving("inventory")},
	}
}

func write(out *strings.Builder, t topology.Topology) {
	for _, e := range t.Exchanges {
		fmt.Fprintf(out, "exchange %s, %s%s\n", e.Name, e.Type, arguments(e.Args))
	}
	for _, q := range t.Queues {
		exclusive := ""
		if q.Exclusive {
			exclusive = ", exclusive"
		}
		fmt.Fprintf(out, "queue    %s%s%s\n", q.Name, exclusive, arguments(q.Args))
	}
	for _, b := range t.Bindings {
		fmt.Fprintf(out, "binding  %s -- %s --> %s\n", b.Exchange, b.RoutingKey, b.Queue)
	}
}

func arguments(args map[string]any) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(args)) {
		fmt.Fprintf(&out, "\n         %s: %v (%T)", name, args[name], args[name])
	}
	return out.String()
}
