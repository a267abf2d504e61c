package rabbit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

func TestDeclareTwiceAndDifferently(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	d := rabbit.NewDeclarer(conn)
	work := topology.Names{}.Work("a", topology.Exchange{Name: "commands", Type: topology.Direct}, "a.b", "a.b")
	require.NoError(t, d.Declare(ctx, work))
	require.NoError(t, d.Declare(ctx, work))
	require.Zero(t, d.Mismatches())

	// What differs is used as it is, and what comes after it is declared all the same.
	other := topology.Topology{
		Exchanges: []topology.Exchange{{Name: "commands", Type: topology.Topic}, {Name: "new", Type: topology.Topic}},
		Queues:    []topology.Queue{{Name: "a.b"}, {Name: "fresh", Args: map[string]any{"x-queue-type": "quorum"}}},
		Bindings:  []topology.Binding{{Exchange: "new", RoutingKey: "#", Queue: "fresh"}},
	}
	require.NoError(t, d.Declare(ctx, other))
	require.EqualValues(t, 2, d.Mismatches())
	p := publishing(t, conn, rabbit.PublisherConfig{})
	require.NoError(t, p.Publish(ctx, &rabbit.Publication{Exchange: "new", RoutingKey: "x", Mandatory: true}))
	require.NoError(t, p.Publish(ctx, &rabbit.Publication{Exchange: "commands", RoutingKey: "a.b", Mandatory: true}))
	require.Zero(t, conn.State().Lost)
}

func TestDeclareWithoutPermission(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn := dial(t, rabbit.Config{URLs: []string{user(t, address, "^mine$", ".*", ".*")}})
	d := rabbit.NewDeclarer(conn)
	require.NoError(t, d.Declare(within(t), topology.Topology{
		Exchanges: []topology.Exchange{{Name: "theirs", Type: topology.Topic}},
		Queues:    []topology.Queue{{Name: "theirs"}, {Name: "mine"}},
	}))
	require.EqualValues(t, 2, d.Mismatches())
	state, err := conn.Inspect(within(t), "mine")
	require.NoError(t, err)
	require.Zero(t, state.Ready)
}

func TestDeclareWhatCannotBe(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	d := rabbit.NewDeclarer(conn)
	long := strings.Repeat("x", 256)
	for _, bad := range []topology.Topology{
		{Exchanges: []topology.Exchange{{Name: long, Type: topology.Topic}}},
		{Queues: []topology.Queue{{Name: long}}},
		{Queues: []topology.Queue{{Name: "q", Args: map[string]any{"x": struct{}{}}}}},
		{Queues: []topology.Queue{{Name: "q", Args: map[string]any{"x": rabbit.Table{long: 1}}}}},
		{Bindings: []topology.Binding{{Exchange: long, Queue: "q"}}},
		{Bindings: []topology.Binding{{Exchange: "e", Queue: long}}},
		{Bindings: []topology.Binding{{Exchange: "e", Queue: "q", RoutingKey: long}}},
	} {
		require.ErrorIs(t, d.Declare(ctx, bad), rabbit.ErrInvalid)
	}
	require.Zero(t, conn.State().Lost)

	// RabbitMQ closes the connection for a type it does not know, and from 4.0 on the channel. To try again may help, to
	// try for ever does not.
	err := d.Declare(ctx, topology.Topology{Exchanges: []topology.Exchange{{Name: "e", Type: "no-such-type"}}})
	if before(leverettest.Node(t).Version(), 4, 0) {
		require.ErrorContains(t, err, "declare the exchange e")
		require.ErrorContains(t, err, "no-such-type")
		require.Zero(t, d.Mismatches())
	} else {
		require.NoError(t, err)
		require.EqualValues(t, 1, d.Mismatches())
	}
	require.LessOrEqual(t, conn.State().Lost, 4)
}

func TestDeclareAnExclusiveQueueOfAnotherConnection(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	one, ctx := dial(t, rabbit.Config{URLs: []string{address}}), within(t)
	exclusive := topology.Topology{Queues: []topology.Queue{{Name: "mine", Exclusive: true}}}
	declare(t, one, exclusive)
	other, err := rabbit.Dial(ctx, rabbit.Config{URLs: []string{address}})
	require.NoError(t, err)
	d := rabbit.NewDeclarer(other)
	require.ErrorContains(t, d.Declare(ctx, exclusive), "RESOURCE_LOCKED")
	require.Zero(t, d.Mismatches(), "it is not another queue")
	closing(t, one)
	require.Eventually(t, func() bool { return d.Declare(ctx, exclusive) == nil }, 10*time.Second, 10*time.Millisecond)
	closing(t, other)
}

func TestDeclareWaitsThroughLostConnections(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	d := rabbit.NewDeclarer(conn)
	var large topology.Topology
	for name := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
		large.Add(queue(name, "classic"))
	}
	network.refuse(true)
	network.cut()
	require.Eventually(t, func() bool { return conn.State().Phase == rabbit.Connecting }, 30*time.Second, time.Millisecond)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err := d.Declare(short, large)
	require.ErrorIs(t, err, rabbit.ErrNotConnected)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	declared := make(chan error, 1)
	go func() { declared <- d.Declare(ctx, large) }()
	network.refuse(false)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for cuts := 0; ; {
		select {
		case err := <-declared:
			require.NoError(t, err)
			require.Zero(t, d.Mismatches())
			state, err := conn.Inspect(ctx, "z")
			require.NoError(t, err)
			require.Zero(t, state.Ready)
			return
		case <-tick.C:
			if cuts < 3 && conn.State().Phase == rabbit.Connected {
				network.cut()
				cuts++
			}
		}
	}
}
