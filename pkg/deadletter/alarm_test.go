package deadletter_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// TestNodeInTrouble has a node of its own, which is given a memory alarm first, and killed then.
func TestNodeInTrouble(t *testing.T) { //nolint:tparallel // its parts share the node
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.WithoutCancel(ctx))) })
	for _, part := range []struct {
		name string
		test func(*testing.T, *devbroker.Broker)
	}{{"an alarm stops only the replay", alarmStopsOnlyTheReplay}, {"its death loses nothing", killedBrokerLosesNothing}} {
		t.Run(part.name, func(t *testing.T) { part.test(t, node) })
	}
}

// A broker with a memory alarm stops reading from connections that publish. A replay then waits; reading dead letters
// and consuming over the same leveret.Conn go on.
func alarmStopsOnlyTheReplay(t *testing.T, node *devbroker.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	url, err := node.VHost(ctx, "alarm")
	require.NoError(t, err)
	b := on(t, url)
	const other = "order.place"
	b.declare(names.Work("order", topology.Exchange{Name: names.CommandExchange("order"), Type: topology.Direct}, other, other))
	b.bury(queue, 20, nil)
	b.bury(other, 5, nil)
	require.NoError(t, b.publisher.Publish(ctx, &rabbit.Publication{RoutingKey: other, Mandatory: true, Publishing: rabbit.Publishing{MessageId: "work"}}))

	_, err = node.Ctl(ctx, "set_vm_memory_high_watermark", "0.0001")
	require.NoError(t, err)
	conn := b.dial(url)
	store := deadletter.New(conn)
	type outcome struct {
		deadletter.Result
		err error
	}
	replayed := make(chan outcome, 1)
	go func() {
		r, err := store.Replay(ctx, store.DeadLetters(queue), deadletter.Replay{})
		replayed <- outcome{r, err}
	}()
	require.Eventually(t, func() bool { return conn.Publishing().State().Phase == rabbit.Blocked }, patience, time.Millisecond)

	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := 0
	_, err = store.Peek(soon, store.DeadLetters(other), 100, func(*deadletter.Letter) bool { found++; return true })
	require.NoError(t, err)
	require.Equal(t, 5, found)
	channel, err := conn.Rabbit().Channel(soon)
	require.NoError(t, err)
	d, ok, err := channel.Get(other, false)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, d.Ack(false))
	b.waitFor(other, 0) // the broker has read the ack
	require.NoError(t, channel.Close())
	require.Empty(t, replayed, "the replay waits for the alarm to end")

	_, err = node.Ctl(ctx, "set_vm_memory_high_watermark", "0.6")
	require.NoError(t, err)
	done := <-replayed
	require.NoError(t, done.err)
	require.Equal(t, 20, done.Replayed)
	b.waitFor(queue, 20)
	b.waitFor(names.DeadLetterQueue(queue), 0)
}
