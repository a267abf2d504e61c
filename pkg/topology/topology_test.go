package topology_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

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

// A process's own queue fits, whatever its instance is, and keeps the instance's end, by which it differs.
func TestProcessQueue(t *testing.T) {
	t.Parallel()
	n := topology.Names{Namespace: "blue"}
	require.Equal(t, "blue.price.per-process.on.price.changed.host/7-abcdefgh", n.ProcessQueue("price", "price.changed", "host/7-abcdefgh"))
	long := n.ProcessQueue(strings.Repeat("s", 63), "price.changed", strings.Repeat("ö", 100)+"/7-abcdefgh")
	require.LessOrEqual(t, len(long), 255)
	require.Greater(t, len(long), 250)
	require.True(t, strings.HasSuffix(long, "ö/7-abcdefgh"))
	require.True(t, utf8.ValidString(long))
	require.Equal(t, "price", topology.Names{}.Consumer(topology.Names{}.ProcessQueue("price", "price.changed", "host/7")))
}

func TestParts(t *testing.T) {
	t.Parallel()
	own := topology.Topology{
		Queues:   []topology.Queue{{Name: "mine", Exclusive: true}},
		Bindings: []topology.Binding{{Exchange: "e", RoutingKey: "k", Queue: "mine"}},
	}
	all := topology.Topology{
		Exchanges: []topology.Exchange{{Name: "e", Type: topology.Direct}},
		Queues:    []topology.Queue{{Name: "ours"}},
		Bindings:  []topology.Binding{{Exchange: "e", RoutingKey: "k", Queue: "ours"}},
	}
	both := all
	both.Add(own)
	shared, exclusive := both.Parts()
	require.Equal(t, all, shared)
	require.Equal(t, own, exclusive)
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
