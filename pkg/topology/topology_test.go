package topology_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/topology"
)

func TestAdd(t *testing.T) {
	t.Parallel()
	first := topology.Topology{
		Exchanges: []topology.Exchange{{Name: "e", Type: topology.Direct}},
		Queues:    []topology.Queue{{Name: "q"}},
		Bindings:  []topology.Binding{{Exchange: "e", RoutingKey: "k", Queue: "q"}},
	}
	second := topology.Topology{
		Exchanges: []topology.Exchange{{Name: "e", Type: topology.Topic}, {Name: "q", Type: topology.Fanout}},
		Queues:    []topology.Queue{{Name: "q", Exclusive: true}, {Name: "e"}},
		Bindings:  []topology.Binding{{Exchange: "e", RoutingKey: "k", Queue: "q"}, {Exchange: "e", RoutingKey: "l", Queue: "q"}},
	}
	want := topology.Topology{
		Exchanges: []topology.Exchange{{Name: "e", Type: topology.Direct}, {Name: "q", Type: topology.Fanout}},
		Queues:    []topology.Queue{{Name: "q"}, {Name: "e"}},
		Bindings:  []topology.Binding{{Exchange: "e", RoutingKey: "k", Queue: "q"}, {Exchange: "e", RoutingKey: "l", Queue: "q"}},
	}
	var sum topology.Topology
	sum.Add()
	require.Empty(t, sum)
	sum.Add(first, second)
	require.Equal(t, want, sum, "of two with one name the first stays, and the order is kept")
	sum.Add(second, first, sum)
	require.Equal(t, want, sum, "what is there is not added again")
	one := first
	one.Add(second)
	require.Equal(t, want, one, "one by one is the same as all at once")
	require.Len(t, first.Queues, 1, "the parts stay as they are")
}

// A whole system is put together at once: with a search for each part, this test would take long.
func TestAddMany(t *testing.T) {
	t.Parallel()
	const n = 50_000
	parts := make([]topology.Topology, n)
	for i := range parts {
		name := strconv.Itoa(i)
		parts[i] = topology.Topology{
			Exchanges: []topology.Exchange{{Name: name}}, Queues: []topology.Queue{{Name: name}},
			Bindings: []topology.Binding{{Exchange: name, Queue: name}},
		}
	}
	var all topology.Topology
	all.Add(slices.Concat(parts, parts)...)
	require.Len(t, all.Exchanges, n)
	require.Len(t, all.Queues, n)
	require.Len(t, all.Bindings, n)
}

func TestConsumer(t *testing.T) {
	t.Parallel()
	for _, n := range []topology.Names{{}, {Namespace: "blue"}, {Namespace: "payment.on", Layout: topology.Isolated}} {
		require.Equal(t, "payment", n.Consumer(n.ContractQueue("payment.capture")))
		require.Equal(t, "payment", n.Consumer(n.SubscriptionQueue("payment", "", "order.placed")))
		require.Equal(t, "payment", n.Consumer(n.SubscriptionQueue("payment", "fraud", "order.placed")))
	}
}
