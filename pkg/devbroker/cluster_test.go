//go:build unix

package devbroker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
)

// TestCluster: three nodes form a cluster. Each of them is killed, stopped and closed, the first one before the others.
func TestCluster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	nodes := startCluster(t)
	first, second, third := nodes[0], nodes[1], nodes[2]
	require.Equal(t, "leveret@localhost", first.About().Node)
	require.NotEqual(t, second.About().Node, third.About().Node)
	require.NotEqual(t, first.URL(), second.URL())
	require.Equal(t, first.Password(), third.Password())

	channel := dial(t, second.URL())
	_, err := channel.QueueDeclare("kept", true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	require.NoError(t, err)
	for _, b := range nodes { // each answers from what it has heard so far
		requireMembers(t, b, func(m members) bool { return len(m.Members) == 3 && len(m.Online) == 3 })
	}
	require.NoError(t, channel.Confirm(false))
	send := func() {
		confirm, err := channel.PublishWithDeferredConfirm("", "kept", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent})
		require.NoError(t, err)
		acked, err := confirm.WaitContext(ctx)
		require.NoError(t, err)
		require.True(t, acked)
	}
	requireOnline := func(n int) {
		requireMembers(t, second, func(m members) bool { return len(m.Online) == n })
	}
	send()

	// The others go on without the first, and take it back.
	require.NoError(t, first.Kill())
	send()
	require.NoError(t, first.Start(ctx))
	requireOnline(3)
	require.NoError(t, third.Stop(ctx))
	send()
	require.NoError(t, third.Start(ctx))
	requireOnline(3)

	// The first one has started the epmd of all. Two of three are most of them, so the third comes back.
	marks, dirs := make([]string, len(nodes)), make([]string, len(nodes))
	for i, b := range nodes {
		dirs[i] = b.About().Dir
		marks[i] = markOf(t, dirs[i])
	}
	require.NoError(t, first.Close(ctx))
	require.NoDirExists(t, dirs[0])
	for _, p := range processes(t, marks[0], dirs[0]) {
		require.Contains(t, p, "epmd")
	}
	require.NoError(t, third.Kill())
	require.NoError(t, third.Start(ctx))
	requireOnline(2)
	send()

	require.NoError(t, third.Close(ctx))
	require.NoError(t, second.Close(ctx))
	for i := range nodes {
		requireNothingLeft(t, dirs[i], marks[i], 0)
	}
}

// startCluster starts a node, and then two that join it.
func startCluster(t *testing.T) []*devbroker.Broker {
	t.Helper()
	nodes, errs := make([]*devbroker.Broker, 3), make([]error, 3)
	start := func(i int, cfg devbroker.Config) {
		nodes[i], errs[i] = devbroker.Start(t.Context(), cfg)
		if errs[i] == nil {
			t.Cleanup(func() { _ = nodes[i].Close(context.Background()) })
		}
	}
	start(0, devbroker.Config{Private: true})
	require.NoError(t, errs[0])
	var both sync.WaitGroup
	for i := 1; i < 3; i++ {
		both.Go(func() { start(i, devbroker.Config{Join: nodes[0]}) })
	}
	both.Wait()
	require.NoError(t, errs[1])
	require.NoError(t, errs[2])
	return nodes
}

// members are the nodes with a member of a quorum queue, and those whose member runs.
type members struct{ Members, Online []string }

// requireMembers waits until a node says of its only queue what is wanted. It asks the members themselves: the management
// API has what was so some seconds ago.
func requireMembers(t *testing.T, b *devbroker.Broker, wanted func(members) bool) {
	t.Helper()
	var last atomic.Value // what it said
	require.Eventually(t, func() bool {
		out, err := b.Ctl(t.Context(), "list_queues", "--quiet", "--formatter", "json", "members", "online")
		last.Store(fmt.Sprintf("%s %v", out, err))
		var all []members
		return err == nil && json.Unmarshal(out, &all) == nil && len(all) == 1 && wanted(all[0])
	}, 2*patience, 50*time.Millisecond, "%s", &last)
}

// A node that has started alone, because it has not reached the other one, is an error at once.
func TestNotReached(t *testing.T) {
	t.Parallel()
	first, err := devbroker.Start(t.Context(), devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = first.Close(context.Background()) })
	require.NoError(t, first.Kill())
	_, err = devbroker.Start(t.Context(), devbroker.Config{
		Join: first, StartTimeout: 10 * time.Minute, // which ends the test
		Conf: "cluster_formation.discovery_retry_limit = 1",
	})
	require.ErrorContains(t, err, "it has not reached leveret@localhost, and stands alone")
}

// What cannot be joined, and what cannot join, is an error that says why.
func TestNotJoined(t *testing.T) {
	t.Parallel()
	refused := func(cfg devbroker.Config) error {
		_, err := devbroker.Start(t.Context(), cfg)
		require.Error(t, err)
		return err
	}
	external, err := devbroker.Start(t.Context(), devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = external.Close(context.Background()) })
	require.ErrorContains(t, refused(devbroker.Config{Join: external, URL: "amqp://localhost"}), "Config.URL")
	require.ErrorContains(t, refused(devbroker.Config{Join: external, Dir: t.TempDir(), KeepData: true}), "keeps its data")
	user, err := devbroker.Start(t.Context(), devbroker.Config{URL: external.URL(), ManagementURL: strings.Replace(external.ManagementURL(), "://", "://guest:"+external.Password()+"@", 1)})
	require.NoError(t, err)
	require.ErrorIs(t, refused(devbroker.Config{Join: user}), devbroker.ErrNotOurs)
	require.NoError(t, external.Close(t.Context()))
	require.ErrorIs(t, refused(devbroker.Config{Join: external}), devbroker.ErrClosed)
}
