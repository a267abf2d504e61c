package rabbit_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// request asks the queue "ask", under a correlation id.
func request(id string) *rabbit.Publication {
	m := to("ask", id)
	m.CorrelationId, m.DeliveryMode = id, 1
	return m
}

// answering runs a consumer of the queue "ask" that answers with what the requests said, doubled; those that want is
// false for it leaves.
func answering(t *testing.T, conn *rabbit.Conn, want func(*rabbit.Incoming) bool) {
	t.Helper()
	declare(t, conn, queue("ask", "classic"))
	running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "ask", Concurrency: 8,
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			if want != nil && !want(d) {
				return rabbit.Ack
			}
			reply := &rabbit.Publication{RoutingKey: d.ReplyTo, Publishing: rabbit.Publishing{
				CorrelationId: d.CorrelationId, Body: append(d.Body, d.Body...),
			}}
			if err := d.Reply(ctx, reply); err != nil {
				return rabbit.Requeue
			}
			return rabbit.Ack
		},
	}))
}

func requesting(t *testing.T, conn *rabbit.Conn, config rabbit.RequesterConfig) *rabbit.Requester {
	t.Helper()
	r := rabbit.NewRequester(conn, config)
	t.Cleanup(func() { closing(t, r) })
	return r
}

func TestRequestsFindTheirReplies(t *testing.T) {
	t.Parallel()
	for name, replies := range map[string]string{"direct": "", "queue": "reply.test.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, ctx := connected(t), within(t)
			answering(t, conn, nil)
			r := requesting(t, conn, rabbit.RequesterConfig{ReplyQueue: replies, Tag: "test"})
			var all sync.WaitGroup
			var wrong atomic.Int64
			for g := range 32 {
				all.Go(func() {
					for i := range 30 {
						id := fmt.Sprintf("%d/%d", g, i)
						reply, err := r.Call(ctx, request(id))
						if err != nil || string(reply.Body) != id+id {
							wrong.Add(1)
						}
					}
				})
			}
			all.Wait()
			require.Zero(t, wrong.Load())

			nobody := request("x")
			nobody.RoutingKey = "nobody"
			_, err := r.Call(ctx, nobody)
			require.ErrorIs(t, err, rabbit.ErrUnroutable)
			require.Empty(t, nobody.ReplyTo, "the caller's message is left as it was")

			_, err = r.Call(ctx, to("ask", "without"))
			require.ErrorIs(t, err, rabbit.ErrInvalid)
			large := request("large")
			large.Body = make([]byte, rabbit.DefaultMaxBody+1)
			_, err = r.Call(ctx, large)
			require.ErrorIs(t, err, rabbit.ErrTooLarge)
		})
	}
}

func TestLateAndUnknownRepliesAreTold(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	release, held := make(chan struct{}), make(chan string, 1)
	answering(t, conn, func(d *rabbit.Incoming) bool {
		if d.CorrelationId == "slow" {
			held <- d.ReplyTo
			<-release
		}
		return true
	})
	late := make(chan string, 10)
	r := requesting(t, conn, rabbit.RequesterConfig{OnLate: func(d *rabbit.Delivery) { late <- d.CorrelationId }})
	gone, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := r.Call(gone, request("slow"))
		ended <- err
	}()
	address := <-held
	_, err := r.Call(ctx, request("slow"))
	require.ErrorIs(t, err, rabbit.ErrInvalid, "the correlation id is in use")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	close(release)
	require.Equal(t, "slow", <-late)

	p := publishing(t, conn, rabbit.PublisherConfig{})
	stray := to(address, "stray")
	stray.Mandatory, stray.CorrelationId = false, "stray"
	require.NoError(t, p.Publish(ctx, stray))
	require.Equal(t, "stray", <-late)
	_, err = r.Call(ctx, request("again"))
	require.NoError(t, err)
}

func TestCallsOfALostConnectionEndAtOnce(t *testing.T) {
	t.Parallel()
	for name, replies := range map[string]string{"direct": "", "queue": "reply.test.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := leverettest.Broker(t)
			network, through := proxied(t, address)
			conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
			server := dial(t, rabbit.Config{URLs: []string{address}})
			arrived := make(chan struct{}, 10)
			answering(t, server, func(d *rabbit.Incoming) bool {
				if d.CorrelationId == "unanswered" {
					arrived <- struct{}{}
					return false
				}
				return true
			})
			r := requesting(t, conn, rabbit.RequesterConfig{ReplyQueue: replies})
			for life := range 3 {
				_, err := r.Call(ctx, request(strconv.Itoa(life)))
				require.NoError(t, err)
				ended := make(chan error, 1)
				go func() {
					_, err := r.Call(ctx, request("unanswered"))
					ended <- err
				}()
				<-arrived
				network.cut()
				require.ErrorIs(t, <-ended, rabbit.ErrUnconfirmed)
			}
			_, err := r.Call(ctx, request("after"))
			require.NoError(t, err, "the reply queue of the connection before may be there for a moment")
		})
	}
}

// The broker ends the consuming, but not the channel, when somebody deletes the reply queue.
func TestRequesterMakesADeletedReplyQueueAgain(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	answering(t, conn, nil)
	r := requesting(t, conn, rabbit.RequesterConfig{ReplyQueue: "reply.test.1"})
	_, err := r.Call(ctx, request("1"))
	require.NoError(t, err)
	ch, err := conn.Channel(ctx)
	require.NoError(t, err)
	_, err = ch.QueueDelete("reply.test.1", false, false, false)
	require.NoError(t, err)
	require.NoError(t, ch.Close())
	require.Eventually(t, func() bool {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := r.Call(short, request("2"))
		return err == nil
	}, 2*time.Minute, time.Millisecond)
}

// While a node of a cluster is down, the exclusive queues of its connections stay locked. Here a connection that lives has one.
func TestRequesterDoesNotWaitForALockedReplyQueue(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	other, conn, ctx := dial(t, rabbit.Config{URLs: []string{address}}), dial(t, rabbit.Config{URLs: []string{address}}), within(t)
	name := "reply.test." + strings.Repeat("x", 244)
	declare(t, other, topology.Topology{Queues: []topology.Queue{{Name: name, Exclusive: true}}})
	addresses := make(chan string, 1)
	answering(t, conn, func(d *rabbit.Incoming) bool { addresses <- d.ReplyTo; return true })
	r := requesting(t, conn, rabbit.RequesterConfig{ReplyQueue: name})
	reply, err := r.Call(ctx, request("1"))
	require.NoError(t, err)
	require.Equal(t, "11", string(reply.Body))
	require.Regexp(t, `^reply\.test\.x+\.[a-z2-7]{8}$`, <-addresses)
}

func TestRequesterClose(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	declare(t, conn, queue("ask", "classic"))

	r := rabbit.NewRequester(conn, rabbit.RequesterConfig{})
	ended := make(chan error, 1)
	call := func() {
		_, err := r.Call(ctx, request("1"))
		ended <- err
	}
	go call()
	requireReady(t, conn, "ask", 1)
	require.NoError(t, r.Close(ctx))
	require.ErrorIs(t, <-ended, rabbit.ErrUnconfirmed, "it was written")
	require.NoError(t, r.Close(ctx), "twice is allowed")
	_, err := r.Call(ctx, request("2"))
	require.ErrorIs(t, err, rabbit.ErrClosed)

	// Whatever the broker does.
	r = rabbit.NewRequester(conn, rabbit.RequesterConfig{})
	go call()
	requireReady(t, conn, "ask", 2)
	network.stall(true)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.Close(short), context.DeadlineExceeded)
	require.ErrorIs(t, <-ended, rabbit.ErrUnconfirmed)
	network.stall(false)

	// And for a caller that waits for a connection.
	r = rabbit.NewRequester(conn, rabbit.RequesterConfig{})
	network.refuse(true)
	network.cut()
	require.Eventually(t, func() bool { return conn.State().Phase == rabbit.Connecting }, 30*time.Second, time.Millisecond)
	opening := make(chan struct{})
	go func() { close(opening); call() }()
	<-opening
	require.NoError(t, r.Close(ctx))
	require.ErrorIs(t, <-ended, rabbit.ErrClosed)
	network.refuse(false)
}

func TestCallThroughAMissingExchange(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	answering(t, conn, nil)
	r := requesting(t, conn, rabbit.RequesterConfig{})
	ask := func() error {
		m := request("1")
		m.Exchange, m.RoutingKey = "requests", "k"
		_, err := r.Call(ctx, m)
		return err
	}
	err := ask()
	require.ErrorIs(t, err, rabbit.ErrUnroutable)
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	exchange := topology.Topology{Exchanges: []topology.Exchange{{Name: "requests", Type: topology.Direct}}}
	declare(t, conn, exchange)
	err = ask()
	require.ErrorIs(t, err, rabbit.ErrUnroutable)
	require.NotErrorIs(t, err, rabbit.ErrNotFound, "nothing is bound to it")
	declare(t, conn, exchange, topology.Topology{Bindings: []topology.Binding{{Exchange: "requests", RoutingKey: "k", Queue: "ask"}}})
	require.NoError(t, ask())
}

func TestRepliesThatWouldCloseTheChannelAreNotSent(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	declare(t, conn, queue("ask", "classic"))
	errs := make(chan error, 3)
	running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "ask",
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			for _, reply := range []rabbit.Publishing{
				{Body: make([]byte, rabbit.DefaultMaxBody+1)},
				{Headers: rabbit.Table{"a": struct{}{}}},
				{Headers: rabbit.Table{"a": make([]byte, 200_000)}},
			} {
				errs <- d.Reply(ctx, &rabbit.Publication{RoutingKey: d.ReplyTo, Publishing: reply})
			}
			if d.Reply(ctx, &rabbit.Publication{RoutingKey: d.ReplyTo, Publishing: rabbit.Publishing{CorrelationId: d.CorrelationId}}) != nil {
				return rabbit.Reject
			}
			d.AckNow()
			return rabbit.Requeue // ignored
		},
	}))
	r := requesting(t, conn, rabbit.RequesterConfig{})
	_, err := r.Call(ctx, request("1"))
	require.NoError(t, err)
	require.ErrorIs(t, <-errs, rabbit.ErrTooLarge)
	require.ErrorIs(t, <-errs, rabbit.ErrInvalid)
	require.ErrorIs(t, <-errs, rabbit.ErrInvalid)
	requireReady(t, conn, "ask", 0)
	require.Zero(t, conn.State().Lost)
}

func TestPublishHint(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	answering(t, conn, nil)
	declare(t, conn, queue("hints", "classic"))
	r := requesting(t, conn, rabbit.RequesterConfig{})
	r.PublishHint(to("hints", "dropped before the first call"))
	_, err := r.Call(ctx, request("1"))
	require.NoError(t, err)
	r.PublishHint(to("hints", "1"))
	requireReady(t, conn, "hints", 1)
	astray := to("x", "2")
	astray.Exchange = "missing"
	r.PublishHint(astray)
	_, err = r.Call(ctx, request("2"))
	require.NoError(t, err)
	require.Zero(t, conn.State().Lost)
}
