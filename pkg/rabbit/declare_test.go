package rabbit_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

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

	// What differs is used as it exists, and what comes after it is still declared.
	other := topology.Topology{
		Exchanges: []topology.Exchange{{Name: "commands", Type: topology.Direct, Args: map[string]any{"alternate-exchange": "x"}}, {Name: "new", Type: topology.Topic}},
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

// What cannot be declared may exist or not, and the log says which.
func TestDeclareSaysWhetherItExists(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	conn := dial(t, rabbit.Config{URLs: []string{leverettest.Broker(t)}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	declare(t, conn, queue("there", "quorum"))
	d := rabbit.NewDeclarer(conn)
	err := d.Declare(within(t), topology.Topology{
		Exchanges: []topology.Exchange{{Name: "e", Type: topology.Fanout}},
		Queues:    []topology.Queue{{Name: "there"}, {Name: "nowhere", Args: map[string]any{"x-max-length": "many"}}},
		Bindings:  []topology.Binding{{Exchange: "e", Queue: "nowhere"}, {Exchange: "e", Queue: "missing"}},
	})
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	require.ErrorContains(t, err, "declare the binding of missing to e")
	require.ErrorContains(t, err, "declare the binding of nowhere to e")
	require.ErrorContains(t, err, "the queue nowhere could not be declared: ")
	closing(t, conn) // nobody writes the log any more
	require.Regexp(t, `cannot declare; using what exists" what="queue there"`, log.String())
	require.Regexp(t, `cannot declare; using it if it exists" what="queue nowhere"`, log.String())
	require.Equal(t, 2, strings.Count(log.String(), "cannot declare"))
}

// A program that declares new things for ever does not grow for ever.
func TestDeclarerForgets(t *testing.T) {
	t.Parallel()
	d := rabbit.NewDeclarer(nil)
	for i := range 25_000 {
		require.NoError(t, d.Missing(topology.Topology{Queues: []topology.Queue{{Name: strconv.Itoa(i)}}}))
	}
	require.LessOrEqual(t, d.Remembered(), 10_000)
}

// Several that refresh the same need not do so at once.
func TestRefreshWhatIsOld(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	d, t1 := rabbit.NewDeclarer(conn), queue("q", "classic")
	require.NoError(t, d.Declare(ctx, t1))
	ch, err := conn.Channel(ctx)
	require.NoError(t, err)
	_, err = ch.QueueDelete("q", false, false, false)
	require.NoError(t, err)
	require.NoError(t, d.Refresh(ctx, t1, time.Hour))
	_, err = conn.Inspect(ctx, "q")
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	require.NoError(t, d.Refresh(ctx, t1, 0))
	_, err = conn.Inspect(ctx, "q")
	require.NoError(t, err)
}

// TestExchangeOfAnotherType: an exchange that somebody has made with another type would hand messages to every queue
// that is bound to it. It is not used, and nothing is bound to it.
func TestExchangeOfAnotherType(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	declare(t, conn, topology.Topology{Exchanges: []topology.Exchange{{Name: "retry.return", Type: topology.Fanout}}})
	d := rabbit.NewDeclarer(conn)
	wanted := topology.Topology{
		Exchanges: []topology.Exchange{{Name: "retry.return", Type: topology.Direct}, {Name: "new", Type: topology.Topic}},
		Queues:    []topology.Queue{{Name: "q", Args: map[string]any{"x-queue-type": "quorum"}}},
		Bindings:  []topology.Binding{{Exchange: "retry.return", RoutingKey: "q", Queue: "q"}, {Exchange: "new", RoutingKey: "q", Queue: "q"}},
	}
	for range 2 {
		require.ErrorContains(t, d.Declare(ctx, wanted), "declare the exchange retry.return: ")
		require.ErrorContains(t, d.Missing(wanted), "retry.return")
	}
	p := publishing(t, conn, rabbit.PublisherConfig{})
	require.ErrorIs(t, p.Publish(ctx, &rabbit.Publication{Exchange: "retry.return", RoutingKey: "q", Mandatory: true}), rabbit.ErrUnroutable)
	require.NoError(t, p.Publish(ctx, &rabbit.Publication{Exchange: "new", RoutingKey: "q", Mandatory: true}))
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
	beside := topology.Topology{Queues: []topology.Queue{{Name: long}, {Name: "beside"}}}
	require.ErrorIs(t, d.Declare(ctx, beside), rabbit.ErrInvalid)
	d.Forget(beside)
	require.ErrorIs(t, d.Declare(ctx, beside), rabbit.ErrInvalid)
	_, err := conn.Inspect(ctx, "beside")
	require.NoError(t, err, "it fails alone")
	require.Zero(t, conn.State().Lost)

	// RabbitMQ closes the connection for a type it does not know, and from 4.0 on the channel. To try again may help, to
	// try for ever does not.
	err = d.Declare(ctx, topology.Topology{Exchanges: []topology.Exchange{{Name: "e", Type: "no-such-type"}}})
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
	require.Eventually(t, func() bool { return d.Declare(ctx, exclusive) == nil }, time.Minute, 10*time.Millisecond)
	closing(t, other)
}

// A queue that may be renamed is consumed under another name, bindings and all, while another connection has its own.
func TestDeclareRenamesALockedQueue(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	other, conn, ctx := dial(t, rabbit.Config{URLs: []string{address}}), dial(t, rabbit.Config{URLs: []string{address}}), within(t)
	mine := topology.Topology{
		Exchanges: []topology.Exchange{{Name: "x", Type: topology.Fanout}},
		Queues:    []topology.Queue{{Name: "mine", Exclusive: true}},
		Bindings:  []topology.Binding{{Exchange: "x", Queue: "mine"}},
	}
	declare(t, other, mine)
	d := rabbit.NewDeclarer(conn)
	d.MayRename("mine")
	require.Equal(t, "mine", d.Name("mine"))
	require.ErrorContains(t, d.Declare(ctx, mine), "RESOURCE_LOCKED")
	require.NoError(t, d.Declare(ctx, mine))
	require.Regexp(t, `^mine\.[a-z2-7]{8}$`, d.Name("mine"))
	arrived := make(chan string, 1)
	running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
		Queue: "mine", Name: func() string { return d.Name("mine") },
		Handle: func(_ context.Context, in *rabbit.Incoming) rabbit.Settlement {
			arrived <- string(in.Body)
			return rabbit.Ack
		},
	}))
	require.NoError(t, publishing(t, conn, rabbit.PublisherConfig{}).Publish(ctx, &rabbit.Publication{
		Exchange: "x", Publishing: rabbit.Publishing{Body: []byte("hello")},
	}))
	require.Equal(t, "hello", <-arrived)
	d.Release(ctx, mine)
	require.Equal(t, "mine", d.Name("mine"))
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

var declarations = []method{declareExchange, declareQueue, bindQueue}

// command is what a command needs.
func command(name string) topology.Topology {
	var n topology.Names
	service, _, _ := strings.Cut(name, ".")
	exchange := topology.Exchange{Name: n.CommandExchange(service), Type: topology.Direct}
	return n.Work(service, exchange, n.RoutingKey(name), n.ContractQueue(name))
}

// Declaring costs what there is to declare, however many ask for it, and nothing after that; a reconnect costs nothing.
func TestDeclarationsGrowWithWhatThereIsToDeclare(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	d, all := rabbit.NewDeclarer(conn), topology.Topology{}
	for _, n := range []int{1, 5, 20} {
		var parts []topology.Topology
		for i := range n {
			parts = append(parts, command(fmt.Sprintf("svc%d.do%d", n, i)))
		}
		all.Add(parts...)
		everybody := func() {
			var asking errgroup.Group
			for _, part := range parts {
				for range 3 {
					asking.Go(func() error { return d.Declare(ctx, part) })
				}
			}
			require.NoError(t, asking.Wait())
		}
		everybody()
		require.Equal(t, len(all.Exchanges)+len(all.Queues)+len(all.Bindings), network.sent(declarations...))

		opened := network.sent(openChannel)
		everybody()
		lose(t, network, conn)
		everybody()
		require.Equal(t, len(all.Exchanges)+len(all.Queues)+len(all.Bindings), network.sent(declarations...))
		require.Equal(t, opened, network.sent(openChannel))
	}
	require.LessOrEqual(t, network.sent(openChannel), 3, "one channel for each life of the connection")

	// What is missing is declared again, with what belongs to it, and no more.
	before, part := network.sent(declarations...), command("svc20.do7")
	deleteQueue(t, conn, "svc20.do7")
	d.Forget(part)
	require.NoError(t, d.Declare(ctx, all))
	require.Equal(t, before+len(part.Exchanges)+len(part.Queues)+len(part.Bindings), network.sent(declarations...))
	_, err := conn.Inspect(ctx, "svc20.do7")
	require.NoError(t, err)
}

// What is transient or auto-delete may be gone after a lost connection, and what was bound to it with it.
func TestFleetingThingsAreDeclaredOnEachConnection(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	d := rabbit.NewDeclarer(conn)
	theirs := topology.Topology{
		Exchanges: []topology.Exchange{{Name: "logs", Type: topology.Fanout, Transient: true}, {Name: "kept", Type: "headers"}},
		Queues:    []topology.Queue{{Name: "durable"}, {Name: "goes", AutoDelete: true}},
		Bindings: []topology.Binding{
			{Exchange: "logs", Queue: "durable"},
			{Exchange: "kept", Queue: "goes", Args: map[string]any{"a": "1"}},
			{Exchange: "kept", Queue: "durable", Args: map[string]any{"a": "1"}},
			{Exchange: "kept", Queue: "durable", Args: map[string]any{"a": "2"}},
		},
	}
	require.NoError(t, d.Declare(ctx, theirs))
	require.NoError(t, d.Declare(ctx, theirs))
	require.Equal(t, 8, network.sent(declarations...))
	lose(t, network, conn)
	require.Eventually(t, func() bool { return d.Declare(ctx, theirs) == nil }, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, 3, network.sent(declareExchange), "logs again")
	require.Equal(t, 6, network.sent(bindQueue), "what is bound to logs, and goes, again")
}

// What is exclusive goes with its connection, and so does the memory of it.
func TestExclusiveQueuesAreDeclaredOnEachConnection(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	d, control := rabbit.NewDeclarer(conn), topology.Names{}.Control("svc", "1", "svc.ask")
	require.NoError(t, d.Declare(ctx, control))
	require.NoError(t, d.Declare(ctx, control))
	require.Equal(t, 3, network.sent(declarations...))
	lose(t, network, conn)
	require.Eventually(t, func() bool { return d.Declare(ctx, control) == nil }, 30*time.Second, 10*time.Millisecond)
	_, err := conn.Inspect(ctx, topology.Names{}.ControlQueue("svc", "1"))
	require.NoError(t, err)
	require.Equal(t, 1, network.sent(declareExchange))
	require.Equal(t, 2, network.sent(bindQueue))
}

// One queue among many cannot be declared: it fails alone, and is tried again now and then, however many callers
// declare it.
func TestAQueueThatCannotBeDeclaredFailsAlone(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	network, through := proxied(t, address)
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	owner := dial(t, rabbit.Config{URLs: []string{address}})
	declare(t, owner, topology.Topology{Queues: []topology.Queue{{Name: "bad", Exclusive: true}}})

	d := rabbit.NewDeclarer(conn)
	exchange := topology.Exchange{Name: "e", Type: topology.Direct}
	bad := topology.Topology{
		Exchanges: []topology.Exchange{exchange},
		Queues:    []topology.Queue{{Name: "bad"}, {Name: "beside"}},
		Bindings:  []topology.Binding{{Exchange: "e", Queue: "bad"}, {Exchange: "e", Queue: "beside"}},
	}
	const n, asked = 50, 20
	var asking errgroup.Group
	for i := range n {
		asking.Go(func() error {
			for range asked {
				if err := d.Declare(ctx, bad); err == nil || !strings.Contains(err.Error(), "declare the queue bad") {
					return fmt.Errorf("bad: %w", err)
				}
				if err := d.Declare(ctx, queue("good"+strconv.Itoa(i), "classic")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, asking.Wait())
	_, err := conn.Inspect(ctx, "beside")
	require.NoError(t, err)
	tries := network.sent(declareQueue) - n - 1 - 1 // without the others, and the look at one
	require.Positive(t, tries)
	require.Less(t, tries, asked, "not one for each that asked")
	require.Equal(t, 1, network.sent(bindQueue), "nothing can be bound to what is not there")
	require.Zero(t, d.Mismatches())

	closing(t, owner)
	require.Eventually(t, func() bool { return d.Declare(ctx, bad) == nil }, 30*time.Second, 10*time.Millisecond)
}

// lose cuts a connection, and returns when it has been made again.
func lose(t *testing.T, network *proxy, conn *rabbit.Conn) {
	t.Helper()
	lost := conn.State().Lost
	network.cut()
	require.Eventually(t, func() bool {
		s := conn.State()
		return s.Lost > lost && s.Phase == rabbit.Connected
	}, 30*time.Second, time.Millisecond)
}
