package rabbit_test

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// killer is a message that makes the broker close the connection: a stream cannot take in decimals. Other queues can,
// so a publisher does not refuse it.
func killer(id string) *rabbit.Publication {
	m := to("stream", id)
	m.Headers = rabbit.Table{"amount": amqp.Decimal{Scale: 2, Value: 999}}
	return m
}

// TestOneMessageThatKillsConnectionsIsGivenUp: it is sent twice, the second time over a connection of its own. The
// others that were in flight arrive.
func TestOneMessageThatKillsConnectionsIsGivenUp(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	declare(t, conn, queue("q", "quorum"), queue("stream", "stream"))
	p := publishing(t, conn, rabbit.PublisherConfig{})
	const senders, each = 50, 10
	var all sync.WaitGroup
	var wrong atomic.Int64
	send := func(m *rabbit.Publication, want error) {
		if err := p.Publish(ctx, m); !errors.Is(err, want) || errors.Is(err, rabbit.ErrUnconfirmed) {
			wrong.Add(1)
			t.Log(m.MessageId, err)
		}
	}
	for g := range senders {
		all.Go(func() {
			for i := range each {
				if g == 7 && i == 3 {
					send(killer("killer"), rabbit.ErrInvalid)
				}
				send(to("q", strconv.Itoa(g)+"/"+strconv.Itoa(i)), nil)
			}
		})
	}
	all.Wait()
	require.Zero(t, wrong.Load())
	require.Equal(t, 1, conn.State().Lost, "the second time it was another connection")
	state, err := conn.Inspect(ctx, "q")
	require.NoError(t, err)
	require.GreaterOrEqual(t, state.Ready, senders*each)

	err = p.Publish(ctx, killer("another"))
	require.ErrorIs(t, err, rabbit.ErrInvalid)
	require.ErrorContains(t, err, "541 INTERNAL_ERROR")
	require.NoError(t, p.Publish(ctx, to("stream", "last")))
	require.Equal(t, 2, conn.State().Lost)
}

func TestPipelineGivesUpWhatKillsConnections(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	declare(t, conn, queue("q", "quorum"), queue("stream", "stream"))
	p := publishing(t, conn, rabbit.PublisherConfig{})
	l := p.Pipeline()
	outcomes := make(map[string]error)
	for i := range 200 {
		m := to("q", strconv.Itoa(i))
		if i%50 == 7 {
			m = killer("killer " + strconv.Itoa(i))
		}
		require.NoError(t, l.Publish(ctx, m, func(err error) error { outcomes[m.MessageId] = err; return nil }))
	}
	require.NoError(t, l.Flush(ctx))
	require.Len(t, outcomes, 200)
	for id, err := range outcomes {
		if len(id) > 3 {
			require.ErrorIs(t, err, rabbit.ErrInvalid, id)
		} else {
			require.NoError(t, err, id)
		}
	}
	require.LessOrEqual(t, conn.State().Lost, 4, "once for each")
	state, err := conn.Inspect(ctx, "q")
	require.NoError(t, err)
	require.GreaterOrEqual(t, state.Ready, 196)
	require.NoError(t, p.Publish(ctx, to("q", "last")))
}

// TestAnOperatorMakesNoSuspects: what is in flight when connections are closed for reasons of the broker's own is
// published again over the next one.
func TestAnOperatorMakesNoSuspects(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	network, through := proxied(t, address)
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	declare(t, conn, queue("q", "quorum"))
	p := publishing(t, conn, rabbit.PublisherConfig{})
	require.NoError(t, p.Publish(ctx, to("q", "first")))
	done := make(chan error, 10)
	network.stall(true) // so that nothing is confirmed before the end
	for i := range cap(done) {
		go func() { done <- p.Publish(ctx, to("q", strconv.Itoa(i))) }()
	}
	require.Eventually(t, func() bool { return p.InFlight() == cap(done) }, 30*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return closeConnections(t, leverettest.VHost(t, address)) > 0 }, 30*time.Second, 10*time.Millisecond)
	network.stall(false)
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.Equal(t, 1, conn.State().Lost)
	require.False(t, p.Apart())
}

// TestASuspectWhoseTimeIsOverIsNoSuspect: it has done no harm in that time, and goes where all others go. So nobody waits
// long behind one whose queue does not answer.
func TestASuspectWhoseTimeIsOverIsNoSuspect(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	declare(t, conn, queue("q", "quorum"), queue("stream", "stream"))
	other, p := publishing(t, conn, rabbit.PublisherConfig{}), publishing(t, conn, rabbit.PublisherConfig{})
	require.NoError(t, other.Publish(ctx, to("stream", "first")))
	require.NoError(t, p.Publish(ctx, to("q", "first")))
	p.Hurry(1)
	killed, done := make(chan error, 1), make(chan error, 20)
	network.stall(true)
	go func() { killed <- other.Publish(ctx, killer("killer")) }()
	require.Eventually(t, func() bool { return other.InFlight() == 1 }, 30*time.Second, time.Millisecond)
	for i := range cap(done) {
		go func() { done <- p.Publish(ctx, to("q", strconv.Itoa(i))) }()
	}
	require.Eventually(t, func() bool { return p.InFlight() == cap(done) }, 30*time.Second, time.Millisecond)
	network.stall(false)
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.ErrorIs(t, <-killed, rabbit.ErrInvalid)
	require.Equal(t, 1, conn.State().Lost)
	require.False(t, p.Apart())
}

// TestSuspectsWhereNoMoreConnectionsAreAllowed are published once more over the connection that all share. What loses
// that one, too, is given up, though it may have been another's doing.
func TestSuspectsWhereNoMoreConnectionsAreAllowed(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn, ctx := dial(t, rabbit.Config{URLs: []string{address}}), within(t)
	declare(t, conn, queue("q", "quorum"), queue("stream", "stream"))
	p := publishing(t, conn, rabbit.PublisherConfig{})
	vhost := leverettest.VHost(t, address)
	manage(t, leverettest.Node(t), http.MethodPut, map[string]int{"value": 1}, "vhost-limits", vhost, "max-connections")
	tries := 0
	// The broker may count the shared connection late, and allow one apart meanwhile: then that is lost as well.
	for err := error(nil); !errors.Is(err, rabbit.ErrUnconfirmed); tries++ {
		err = p.Publish(ctx, killer("killer"))
		require.Error(t, err)
		require.NoError(t, ctx.Err())
	}
	require.NoError(t, p.Publish(ctx, to("q", "another")))
	require.Equal(t, tries+1, conn.State().Lost)
}
