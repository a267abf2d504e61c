package rabbit_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
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

func TestPublishEndsInWhatTheBrokerSaid(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	declare(t, conn, queue("taken", "quorum"), queue("full", "quorum", "x-max-length", int64(1), "x-overflow", "reject-publish"))
	p := publishing(t, conn, rabbit.PublisherConfig{MaxBody: 1000})

	require.NoError(t, p.Publish(ctx, to("taken", "1")))
	requireReady(t, conn, "taken", 1)

	lost := to("nobody", "2")
	err := p.Publish(ctx, lost)
	require.ErrorIs(t, err, rabbit.ErrUnroutable)
	require.ErrorContains(t, err, `"nobody"`)
	lost.Mandatory = false
	require.NoError(t, p.Publish(ctx, lost), "confirmed is not routed")

	require.Eventually(t, func() bool { return errors.Is(p.Publish(ctx, to("full", "3")), rabbit.ErrNacked) }, 30*time.Second, time.Millisecond)

	large := to("taken", "4")
	large.Body = make([]byte, 1001)
	require.ErrorIs(t, p.Publish(ctx, large), rabbit.ErrTooLarge)

	wordy := to("taken", "5")
	wordy.Headers = rabbit.Table{"a": strings.Repeat("x", 126900)}
	require.NoError(t, p.Publish(ctx, wordy), "a frame has 131072 bytes, of which the broker may need some on the way")
	wordy.Headers["b"] = strings.Repeat("x", 100)
	require.ErrorIs(t, p.Publish(ctx, wordy), rabbit.ErrInvalid)
	odd := to("taken", "6")
	odd.Headers = rabbit.Table{"a": struct{}{}}
	require.ErrorIs(t, p.Publish(ctx, odd), rabbit.ErrInvalid)

	require.NoError(t, p.Publish(ctx, to("taken", "7")))
	requireReady(t, conn, "taken", 3)
	require.Zero(t, conn.State().Lost, "none of this costs the connection")
}

// A channel that nacks is replaced, at most once a second. What is in flight on it has its outcome, and is not written
// again.
func TestANackedChannelIsReplaced(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	declare(t, conn, queue("taken", "quorum"), queue("full", "quorum", "x-max-length", int64(1), "x-overflow", "reject-publish"))
	p := publishing(t, conn, rabbit.PublisherConfig{})
	var publishing sync.WaitGroup
	var taken atomic.Int64
	var enough atomic.Bool
	errs := make([]error, 4)
	for i := range errs {
		publishing.Go(func() {
			pipeline := p.Pipeline()
			for !enough.Load() && errs[i] == nil {
				errs[i] = pipeline.Publish(ctx, to("taken", "x"), nil)
				taken.Add(1)
			}
			errs[i] = errors.Join(errs[i], pipeline.Flush(ctx))
		})
	}
	var used []*rabbit.Channel
	require.Eventually(t, func() bool {
		err := p.Publish(ctx, to("full", "x"))
		if c := p.Current(); c != nil && !slices.Contains(used, c) {
			used = append(used, c)
		}
		return (err == nil || errors.Is(err, rabbit.ErrNacked)) && len(used) == 4
	}, 2*time.Minute, time.Millisecond)
	enough.Store(true)
	publishing.Wait()
	require.NoError(t, errors.Join(errs...))
	for _, c := range used[:3] {
		require.Eventually(t, c.IsClosed, 30*time.Second, time.Millisecond)
	}
	requireReady(t, conn, "taken", int(taken.Load()))
	require.Zero(t, conn.State().Lost)
}

func TestPublishFromManyGoroutines(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	declare(t, conn, queue("q", "classic"))
	p := publishing(t, conn, rabbit.PublisherConfig{MaxInFlight: 16})
	var all sync.WaitGroup
	var wrong atomic.Int64
	for g := range 50 {
		all.Go(func() {
			for i := range 40 {
				m, want := to("q", strconv.Itoa(g)+"/"+strconv.Itoa(i)), error(nil)
				if i%4 == 0 {
					m.RoutingKey, want = "nobody", rabbit.ErrUnroutable
				}
				if i%5 == 0 {
					m.MessageId = "" // only their bodies differ
				}
				if err := p.Publish(ctx, m); !errors.Is(err, want) {
					wrong.Add(1)
				}
			}
		})
	}
	all.Wait()
	require.Zero(t, wrong.Load(), "every outcome is its own message's")
	requireReady(t, conn, "q", 50*30)
}

// One message makes the broker close the channel; those beside it are not the worse for it.
func TestOneBadMessageIsNobodyElsesError(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	owner := dial(t, rabbit.Config{URLs: []string{address}})
	for name, c := range map[string]struct {
		spoil func(*rabbit.Publication)
		want  error
	}{
		"no exchange":                         {func(m *rabbit.Publication) { m.Exchange = "missing" }, rabbit.ErrUnroutable},
		"no permission":                       {func(m *rabbit.Publication) { m.Exchange = "amq.direct" }, rabbit.ErrRefused},
		"invalid expiration":                  {func(m *rabbit.Publication) { m.Expiration = "soon" }, rabbit.ErrInvalid},
		"another's user id":                   {func(m *rabbit.Publication) { m.UserId = "somebody" }, rabbit.ErrInvalid},
		"a CC of no list":                     {func(m *rabbit.Publication) { m.Headers = rabbit.Table{"CC": "x"} }, rabbit.ErrInvalid},
		"a name too long to be shown in full": {func(m *rabbit.Publication) { m.Exchange = strings.Repeat("x", 250) }, rabbit.ErrUnroutable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			q := strings.ReplaceAll(name, " ", "-")
			declare(t, owner, queue(q, "quorum"))
			conn := dial(t, rabbit.Config{URLs: []string{user(t, address, "", "amq.default|missing|x{250}", "")}})
			p := publishing(t, conn, rabbit.PublisherConfig{})
			var all sync.WaitGroup
			var wrong, bad atomic.Int64
			for g := range 20 {
				all.Go(func() {
					for i := range 20 {
						m := to(q, strconv.Itoa(g)+"/"+strconv.Itoa(i))
						if g == 7 && i%7 == 3 {
							c.spoil(m)
							if err := p.Publish(ctx, m); !errors.Is(err, c.want) || errors.Is(err, rabbit.ErrUnconfirmed) {
								wrong.Add(1)
								t.Log(err)
							}
							bad.Add(1)
							continue
						}
						if err := p.Publish(ctx, m); err != nil {
							wrong.Add(1)
							t.Log(err)
						}
					}
				})
			}
			all.Wait()
			require.Zero(t, wrong.Load())
			require.EqualValues(t, 3, bad.Load())
			require.Zero(t, conn.State().Lost)
			state, err := owner.Inspect(ctx, q)
			require.NoError(t, err)
			require.GreaterOrEqual(t, state.Ready, 20*20-3)
		})
	}
}

func TestPublishToAMissingExchange(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	conn, ctx := dial(t, rabbit.Config{URLs: []string{address}}), within(t)
	d, exchange := rabbit.NewDeclarer(conn), topology.Topology{
		Exchanges: []topology.Exchange{{Name: "e", Type: topology.Fanout}},
		Queues:    []topology.Queue{{Name: "q"}},
		Bindings:  []topology.Binding{{Exchange: "e", Queue: "q"}},
	}
	require.NoError(t, d.Declare(ctx, exchange))
	p := publishing(t, conn, rabbit.PublisherConfig{})
	m := &rabbit.Publication{Exchange: "e", Mandatory: true, Publishing: rabbit.Publishing{MessageId: "1"}}
	require.NoError(t, p.Publish(ctx, m))

	vhost := leverettest.VHost(t, address)
	manage(t, leverettest.Node(t), http.MethodDelete, nil, "exchanges", vhost, "e")
	err := p.Publish(ctx, m)
	require.ErrorIs(t, err, rabbit.ErrUnroutable)
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	require.NoError(t, d.Declare(ctx, exchange))
	require.ErrorIs(t, p.Publish(ctx, m), rabbit.ErrNotFound, "it is remembered as declared")
	d.Forget(exchange)
	require.NoError(t, d.Declare(ctx, exchange))
	require.NoError(t, p.Publish(ctx, m))
}

func TestPublishEndsWithItsContextInEveryPhase(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	declare(t, conn, queue("q", "quorum"))
	p := publishing(t, conn, rabbit.PublisherConfig{MaxInFlight: 2})
	require.NoError(t, p.Publish(ctx, to("q", "0")))

	gone, cancel := context.WithCancel(ctx)
	cancel()
	err := p.Publish(gone, to("q", "1"))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, rabbit.ErrUnconfirmed, "nothing was written")

	short := func() context.Context {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	network.stall(true)
	for i := range 2 { // written, and no confirm comes
		require.Eventually(t, func() bool { // again where its time was over before it was written
			err = p.Publish(short(), to("q", strconv.Itoa(2+i)))
			return !errors.Is(err, rabbit.ErrBlocked)
		}, time.Minute, time.Millisecond)
		require.ErrorIs(t, err, rabbit.ErrUnconfirmed)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	err = p.Publish(short(), to("q", "4")) // no slot: those two still hold them
	require.ErrorIs(t, err, rabbit.ErrBlocked)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, rabbit.ErrUnconfirmed)
	network.stall(false)
	require.NoError(t, p.Publish(ctx, to("q", "5")))
	requireReady(t, conn, "q", 4)

	network.refuse(true)
	network.cut()
	require.Eventually(t, func() bool { return conn.State().Phase == rabbit.Connecting }, 30*time.Second, time.Millisecond)
	err = p.Publish(short(), to("q", "6"))
	require.ErrorIs(t, err, rabbit.ErrNotConnected)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	network.refuse(false)
	require.NoError(t, p.Publish(ctx, to("q", "7")))
}

func TestPublisherClose(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	declare(t, conn, queue("q", "quorum"))

	p := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
	require.NoError(t, p.Publish(ctx, to("q", "0")))
	require.NoError(t, p.Close(ctx))
	require.NoError(t, p.Close(ctx), "twice is allowed")
	require.ErrorIs(t, p.Publish(ctx, to("q", "1")), rabbit.ErrClosed)
	require.ErrorIs(t, p.Pipeline().Publish(ctx, to("q", "1"), nil), rabbit.ErrClosed)

	unused := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
	require.NoError(t, unused.Close(ctx))

	// Close waits for what is in flight, as long as its context lives.
	p = rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
	require.NoError(t, p.Publish(ctx, to("q", "2")))
	network.stall(true)
	flying, closed := make(chan error, 1), make(chan error, 1)
	go func() { flying <- p.Publish(ctx, to("q", "3")) }()
	require.Eventually(t, func() bool { return p.InFlight() == 1 }, 30*time.Second, time.Millisecond)
	go func() { closed <- p.Close(ctx) }()
	require.Eventually(t, func() bool {
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		return errors.Is(p.Publish(short, to("q", "4")), rabbit.ErrClosed)
	}, 30*time.Second, time.Millisecond)
	network.stall(false)
	require.NoError(t, <-flying)
	require.NoError(t, <-closed)

	// And not longer, whatever the broker does.
	p = rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
	require.NoError(t, p.Publish(ctx, to("q", "5")))
	network.stall(true)
	written := p.Written()
	go func() { flying <- p.Publish(ctx, to("q", "6")) }()
	require.Eventually(t, func() bool { return p.Written() > written }, 30*time.Second, time.Millisecond)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	go func() { closed <- p.Close(short) }()
	require.ErrorIs(t, <-flying, rabbit.ErrUnconfirmed)
	network.stall(false)
	require.ErrorIs(t, <-closed, rabbit.ErrUnconfirmed)

	// Nor for a caller that waits for a connection.
	p = rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
	network.refuse(true)
	network.cut()
	require.Eventually(t, func() bool { return conn.State().Phase == rabbit.Connecting }, 30*time.Second, time.Millisecond)
	go func() { flying <- p.Publish(ctx, to("q", "7")) }()
	require.Eventually(t, func() bool { return p.InFlight() == 1 }, 30*time.Second, time.Millisecond)
	short, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Close(short), rabbit.ErrUnconfirmed)
	require.ErrorIs(t, <-flying, rabbit.ErrClosed)
	network.refuse(false)
}

func TestPipelineOutcomesAndOrder(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	declare(t, conn, queue("q", "quorum"))
	p := publishing(t, conn, rabbit.PublisherConfig{MaxInFlight: 32})
	l := p.Pipeline()
	outcomes := map[string]error{}
	var order []string
	for i := range 500 {
		m := to("q", strconv.Itoa(i))
		if i%10 == 0 {
			m.RoutingKey = "nobody"
		}
		require.NoError(t, l.Publish(ctx, m, func(err error) error {
			outcomes[m.MessageId] = err
			order = append(order, m.MessageId)
			return err
		}))
	}
	large := to("q", "large")
	large.Body = make([]byte, rabbit.DefaultMaxBody+1)
	require.ErrorIs(t, l.Publish(ctx, large, func(err error) error { require.Fail(t, "Publish has returned it"); return err }), rabbit.ErrTooLarge)
	err := l.Flush(ctx)
	require.ErrorIs(t, err, rabbit.ErrUnroutable)
	require.NoError(t, l.Flush(ctx), "reported once")
	require.Len(t, outcomes, 500)
	for i := range 500 {
		require.Equal(t, strconv.Itoa(i), order[i])
		if i%10 == 0 {
			require.ErrorIs(t, outcomes[order[i]], rabbit.ErrUnroutable)
		} else {
			require.NoError(t, outcomes[order[i]])
		}
	}
	require.Zero(t, p.InFlight())

	browser, err := conn.Browse(ctx, "q")
	require.NoError(t, err)
	for i := range 500 {
		if i%10 == 0 {
			continue
		}
		d, ok, err := browser.Get(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, strconv.Itoa(i), d.MessageId, "the order of the pipeline is the order of the queue")
	}
	require.NoError(t, browser.Close(ctx))

	for range 130 {
		require.NoError(t, l.Publish(ctx, to("nobody", "x"), nil))
	}
	err = l.Flush(ctx)
	require.ErrorContains(t, err, "and 30 more")
}

func TestPipelineEndsWithItsContext(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	declare(t, conn, queue("q", "quorum"))
	p := publishing(t, conn, rabbit.PublisherConfig{MaxInFlight: 2})
	l := p.Pipeline()
	require.NoError(t, l.Publish(ctx, to("q", "0"), nil))
	require.NoError(t, l.Flush(ctx))
	network.stall(true)
	first, end := context.WithCancel(ctx)
	outcomes := []error{}
	require.NoError(t, l.Publish(first, to("q", "1"), func(err error) error { outcomes = append(outcomes, err); return err }))
	require.NoError(t, l.Publish(first, to("q", "2"), nil))
	end() // both are written: how long they are waited for is up to Flush
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, l.Publish(short, to("q", "3"), nil), context.DeadlineExceeded)
	require.Empty(t, outcomes, "what ended was the context of another message")
	require.ErrorIs(t, l.Flush(short), rabbit.ErrUnconfirmed)
	require.Len(t, outcomes, 1)
	require.ErrorIs(t, outcomes[0], rabbit.ErrUnconfirmed)
	network.stall(false)
	require.NoError(t, l.Publish(ctx, to("q", "4"), nil))
	require.NoError(t, l.Flush(ctx))
	requireReady(t, conn, "q", 4)
}

// TestPipelineOutlivesAnImpatientMessage: the connection is lost with messages in flight, and one more is sent with a
// context that ends before there is another. It alone fails.
func TestPipelineOutlivesAnImpatientMessage(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}, Backoff: rabbit.NewBackoff(100 * time.Millisecond)}), within(t)
	declare(t, conn, queue("q", "quorum"))
	p := publishing(t, conn, rabbit.PublisherConfig{})
	l := p.Pipeline()
	require.NoError(t, l.Publish(ctx, to("q", "first"), nil))
	require.NoError(t, l.Flush(ctx))
	network.stall(true) // no confirms
	confirmed := 0
	for i := range 50 {
		require.NoError(t, l.Publish(ctx, to("q", strconv.Itoa(i)), func(err error) error {
			if err == nil {
				confirmed++
			}
			return err
		}))
	}
	network.refuse(true)
	network.cut()
	network.stall(false)
	require.Eventually(t, func() bool { return conn.State().Lost == 1 }, 30*time.Second, time.Millisecond)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err := l.Publish(short, to("q", "impatient"), nil)
	require.ErrorIs(t, err, rabbit.ErrNotConnected)
	require.NotErrorIs(t, err, rabbit.ErrUnconfirmed)
	network.refuse(false)
	require.NoError(t, l.Flush(ctx))
	require.Equal(t, 50, confirmed)
}
