package leveret

import (
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/topology"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "go test -run %s -update writes it", t.Name())
	require.Equal(t, string(want), got)
}

// TestMistakes pins the report of every mistake in contracts, services and catalogs.
func TestMistakes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 130)
	fine := NewCommand[int]("a.do")
	happened := NewEvent[int]("a.happened")
	ask := NewRequest[int, int]("a.ask")
	one := func(c Contract) *Service {
		switch c.Spec().Kind {
		case KindEvent:
			return NewService("a", Publishes(c))
		case KindRequest:
			return NewService("a", Answers(c))
		default:
			return NewService("a", Handles(c))
		}
	}
	var out strings.Builder
	for _, test := range []struct {
		what    string
		catalog *Catalog
	}{
		{"nothing at all", NewCatalog()},
		{"all is well", NewCatalog(NewService("a", Handles(fine), Answers(ask), Publishes(happened)), NewService("b", SubscribesTo(happened), Sends(fine), Calls(ask)))},

		{"a name without a service", NewCatalog(one(NewCommand[int]("reserve")))},
		{"a name in capitals", NewCatalog(one(NewCommand[int]("a.Do")))},
		{"an empty segment", NewCatalog(one(NewCommand[int]("a..do")))},
		{"a wildcard", NewCatalog(one(NewEvent[int]("a.#")))},
		{"a name with a line feed", NewCatalog(one(NewCommand[int]("a.do\n")))},
		{"a long name", NewCatalog(one(NewCommand[int]("a." + long)))},
		{"the name of reply queues", NewCatalog(NewService("reply", Handles(NewCommand[int]("reply.now"))))},
		{"RabbitMQ's own name", NewCatalog(NewService("amq", Handles(NewCommand[int]("amq.direct"))))},
		{"a type that cannot be encoded", NewCatalog(one(NewCommand[struct{ C chan int }]("a.do")))},
		{"a reply that cannot be encoded", NewCatalog(one(NewRequest[int, func()]("a.ask")))},

		{"options for other kinds", NewCatalog(
			NewService("a", Handles(NewCommand[int]("a.do", Timeout(time.Second), Idempotent())),
				Answers(NewRequest[int, int]("a.ask", Retry(RetryPolicy{Attempts: 3}), RetryOn(NotFound), Timeout(-1)))))},
		{"no attempts", NewCatalog(one(NewCommand[int]("a.do", Retry(RetryPolicy{Attempts: -1}))))},
		{"delays", NewCatalog(one(NewCommand[int]("a.do", Retry(RetryPolicy{Delays: []time.Duration{time.Microsecond}}),
			Retry(RetryPolicy{Delays: []time.Duration{48 * time.Hour}}), Retry(RetryPolicy{Delays: []time.Duration{1500 * time.Microsecond}}))))},
		{"no code", NewCatalog(one(NewCommand[int]("a.do", RetryOn(NotFound, Code(77)))))},
		{"another's example", NewCatalog(one(NewCommand[int]("a.do", Example("seven"))))},
		{"an address of nothing", NewCatalog(one(NewCommand[int]("a.do", At(Address{External: true}))))},
		{"an address that leads elsewhere", NewCatalog(one(NewCommand[int]("a.do", At(Address{RoutingKey: "one", Queue: "two", External: true}))))},
		{"an address without a queue", NewCatalog(one(NewCommand[int]("a.do", At(Address{Exchange: "theirs", External: true}))))},
		{"an address that is too long", NewCatalog(one(NewCommand[int]("a.do", At(Address{Queue: strings.Repeat("q", 252)}))))},
		{"their form of our own address", NewCatalog(one(NewCommand[int]("a.do", At(Address{
			Queue:    "q",
			Topology: topology.Topology{Queues: []topology.Queue{{Name: "q"}}},
		}))))},
		{"a topology that cannot be declared", NewCatalog(one(NewCommand[int]("a.do", At(Address{
			Queue: "q", External: true,
			Topology: topology.Topology{Exchanges: []topology.Exchange{{Name: "e"}}},
		}))), NewService("b", Handles(
			NewCommand[int]("b.do", At(Address{Queue: "q2", External: true, Topology: topology.Topology{Queues: []topology.Queue{{Name: "q4", Exclusive: true}}}})),
			NewCommand[int]("b.undo", At(Address{Queue: "q3", External: true, Topology: topology.Topology{Bindings: []topology.Binding{{Queue: "q3"}}}})),
			NewCommand[int]("b.read", At(Address{Queue: "q4", External: true, Topology: topology.Topology{
				Queues: []topology.Queue{{Name: "q4", Args: map[string]any{"x-queue-type": "stream"}}},
			}})))))},
		{"queues that the broker names", NewCatalog(NewService("a",
			Publishes(NewEvent[int]("a.happened", At(Address{Exchange: "e", Queue: "amq.gen-7", External: true})),
				NewEvent[int]("a.ended", At(Address{Exchange: "e", External: true, Topology: topology.Topology{Queues: []topology.Queue{{Exclusive: true}}}})))))},
		{"an exclusive queue of requests", NewCatalog(NewService("a", Answers(NewRequest[int, int]("a.ask", At(Address{
			Queue: "q", External: true, Topology: topology.Topology{Queues: []topology.Queue{{Name: "q", Exclusive: true}}},
		})))))},
		{"subscriptions per process that cannot be", NewCatalog(NewService("a",
			SubscribesPerProcess(NewCommand[int]("a.do"), NewEvent[int]("their.happened", At(Address{Queue: "q", External: true})))))},
		{"bindings of a process that cannot be, or lead nowhere", NewCatalog(NewService("a",
			Sends(NewCommand[int]("b.do", At(Address{Exchange: "e", External: true, Topology: topology.Topology{Bindings: []topology.Binding{{Exchange: "e"}}}}))),
			SubscribesPerProcess(NewEvent[int]("their.happened", At(Address{Exchange: "e", External: true, Topology: topology.Topology{
				Exchanges: []topology.Exchange{{Name: "e", Type: topology.Topic}},
			}})))))},
		{"one exchange and one queue in two forms", NewCatalog(NewService("a", Sends(
			NewCommand[int]("b.do", At(Address{Queue: "q", External: true, Topology: topology.Topology{
				Exchanges: []topology.Exchange{{Name: "e", Type: topology.Topic}}, Queues: []topology.Queue{{Name: "q", Args: map[string]any{"x-max-length": int32(5)}}},
			}})),
			NewCommand[int]("b.redo", At(Address{Queue: "q", External: true, Topology: topology.Topology{
				Exchanges: []topology.Exchange{{Name: "e", Type: topology.Fanout}}, Queues: []topology.Queue{{Name: "q", Args: map[string]any{"x-max-length": int64(5)}}},
			}})),
			NewCommand[int]("b.undo", At(Address{Queue: "q", External: true, Topology: topology.Topology{Queues: []topology.Queue{{Name: "q"}}}})))))},
		{"a routing key where none can be", NewCatalog(NewService("a",
			Handles(NewCommand[int]("a.do", At(Address{RoutingKey: "a"}), RoutingKey(func(int) string { return "k" })),
				NewCommand[int]("a.undo", At(Address{RoutingKey: "a.*"}))),
			Answers(NewRequest[int, int]("a.ask", RoutingKey(func(int) string { return "k" }))),
			Publishes(NewEvent[int]("a.happened", At(Address{RoutingKey: "q", External: true}), RoutingKey(func(int) string { return "k" })))))},
		{"publishing to a pattern", NewCatalog(NewService("a",
			Publishes(NewEvent[int]("a.happened", At(Address{RoutingKey: "kern.*"}))), SubscribesTo(NewEvent[int]("b.happened", At(Address{RoutingKey: "#"}))),
			Calls(NewRequest[int, int]("a.ask", At(Address{RoutingKey: "a.#", External: true, Exchange: "e"})))))},
		{"a routing key of another type, and one that nobody binds", NewCatalog(one(NewCommand[int]("a.do",
			RoutingKey(func(string) string { return "" }))), NewService("b", Handles(NewCommand[int]("b.do", RoutingKey(func(int) string { return "k" })))))},

		{"codecs", NewCatalog(NewService("a", Handles(NewCommand[int]("a.do", Encoded(Codec{})), NewCommand[int]("a.say", Encoded(Text())))))},
		{"a service's name", NewCatalog(NewService("A.b"), NewService(""))},
		{"a nil service", NewCatalog(nil, one(fine))},
		{"nil contracts", NewCatalog(NewService("a", Handles(fine, nil, (*Command[int])(nil)), Publishes((*Event[int])(nil))))},
		{"a contract that nobody made", NewCatalog(NewService("a", Handles(&Command[int]{})))},
		{"wrong kinds", NewCatalog(NewService("a", Handles(happened), SubscribesTo(ask), Answers(fine), Sends(ask), Publishes(fine), Calls(happened)))},
		{"twice", NewCatalog(NewService("a", Handles(fine, fine), Publishes(happened)), NewService("b", SubscribesTo(happened), SubscribesTo(happened)))},
		{"a subscription's name", NewCatalog(NewService("a", Publishes(happened), SubscribesAs("No Good", happened), SubscribesAs(long, happened)))},

		{"two services of one name", NewCatalog(one(fine), NewService("a", Publishes(happened)))},
		{"two contracts of one name in two services", NewCatalog(NewService("a", Handles(fine)), NewService("b", Handles(NewCommand[int]("a.do"))))},
		{"two contracts of one name", NewCatalog(NewService("a", Handles(fine), Publishes(NewEvent[int]("a.do"))))},
		{"nobody serves", NewCatalog(NewService("b", Sends(fine), SubscribesTo(happened), Calls(ask)))},
		{"somebody else serves", NewCatalog(NewService("b", Handles(fine), Publishes(happened), Answers(ask)))},
		{"a queue for two events", NewCatalog(NewService("a", Publishes(happened), SubscribesTo(happened), Handles(NewCommand[int]("a.on.a.happened"))))},
		{"a queue and its dead letters", NewCatalog(NewService("a", Handles(fine, NewCommand[int]("a.do.dlq"))))},
		{"a retry tier's queue", NewCatalog(NewService("retry", Handles(NewCommand[int]("retry.1s"), NewCommand[int]("retry.lost"))))},
		{"a retry tier's queue in the other layout", NewCatalog(one(fine), NewService("retry",
			Handles(NewCommand[int]("retry.a.1s"), NewCommand[int]("retry.a.lost"), NewCommand[int]("retry.b.1s"))))},
		{"a quarantine's queue", NewCatalog(one(fine), NewService("quarantine", Handles(NewCommand[int]("quarantine.a")),
			Answers(NewRequest[int, int]("quarantine.quarantine"))))},
		{"an event with one queue for two subscribers", func() *Catalog {
			e := NewEvent[int]("a.happened", At(Address{Queue: "shared"}))
			return NewCatalog(NewService("a", Publishes(e)), NewService("b", SubscribesTo(e)), NewService("c", SubscribesTo(e), SubscribesAs("more", e)))
		}()},
		{"two commands of one external queue", NewCatalog(NewService("a", Handles(
			NewCommand[int]("a.do", At(Address{Queue: "theirs", External: true})), NewCommand[int]("a.undo", At(Address{Queue: "theirs", External: true})))))},
		{"messages of one queue that cannot be told apart", NewCatalog(NewService("a", Handles(
			NewCommand[int]("a.do", At(Address{Queue: "theirs", External: true, Type: "do"})),
			NewCommand[int]("a.undo", At(Address{Queue: "theirs", External: true, Headers: map[string]string{"what": "undo"}})),
			NewCommand[int]("b.do", At(Address{Queue: "ours"})), NewCommand[int]("b.undo", At(Address{Queue: "ours"})))))},
		{"an earlier contract of a queue that leaves nothing to a later one", NewCatalog(NewService("a", Handles(
			NewCommand[int]("a.do", At(Address{Exchange: "e", Queue: "q", RoutingKey: "a.*", External: true})),
			NewCommand[int]("a.undo", At(Address{Exchange: "e", Queue: "q", RoutingKey: "a.undo", External: true})))))},
		{"a queue of commands and requests", NewCatalog(NewService("a", Handles(NewCommand[int]("a.do", At(Address{Queue: "q", Type: "do"}))),
			Answers(NewRequest[int, int]("a.ask", At(Address{Queue: "q", Type: "ask"})))))},
		{"headers that cannot be set", NewCatalog(NewService("a", Handles(
			NewCommand[int]("a.do", At(Address{Queue: "q", Headers: map[string]string{"leveret-attempt": "1"}})),
			NewCommand[int]("a.undo", At(Address{Queue: "r", Headers: map[string]string{"event": ""}})))))},
		{"a dead-letter queue where none can be", NewCatalog(NewService("a", Handles(NewCommand[int]("a.do", At(Address{Queue: "q", DeadLetterQueue: "d"}))),
			Answers(NewRequest[int, int]("a.ask", At(Address{Queue: "r", External: true, DeadLetterQueue: "d"})))))},
		{"two dead-letter queues of one queue", NewCatalog(NewService("a", Handles(
			NewCommand[int]("a.do", At(Address{Queue: "q", External: true, Type: "do", DeadLetterQueue: "d"})),
			NewCommand[int]("a.undo", At(Address{Queue: "q", External: true, Type: "undo"})))))},
		{"a dead-letter queue that is a work queue", NewCatalog(NewService("a", Handles(
			NewCommand[int]("a.do", At(Address{Queue: "q", External: true, DeadLetterQueue: "q"})),
			NewCommand[int]("a.undo", At(Address{Queue: "r", External: true, DeadLetterQueue: "a.redo"})), NewCommand[int]("a.redo"))))},
		{"queues whose messages say what they are, and one dead-letter queue for both", NewCatalog(
			NewService("a", Handles(
				NewCommand[int]("a.do", At(Address{Queue: "q", External: true, Type: "do", DeadLetterQueue: "d"})),
				NewCommand[int]("a.undo", At(Address{Queue: "q", External: true, Type: NoType, DeadLetterQueue: "d"})),
				NewCommand[int]("a.redo", At(Address{Queue: "r", External: true, DeadLetterQueue: "d"})),
				NewCommand[int]("a.one", At(Address{Queue: "o", RoutingKey: "one"})), NewCommand[int]("a.two", At(Address{Queue: "o", RoutingKey: "two"}))),
				Publishes(NewEvent[int]("a.happened", At(Address{Queue: "e", Type: "h"})), NewEvent[int]("a.seen", At(Address{Queue: "e", Type: "s"})))),
			NewService("b", SubscribesTo(NewEvent[int]("x.narrow", At(Address{Exchange: "e", Queue: "x", RoutingKey: "x.y", External: true})),
				NewEvent[int]("x.wide", At(Address{Exchange: "e", Queue: "x", RoutingKey: "x.#", External: true})))))},
		{"what cannot be kept", NewCatalog(NewService("a",
			Handles(NewCommand[int]("a.do", Kept(time.Hour, minKept))), Answers(NewRequest[int, int]("a.ask", Kept(time.Hour, minKept))),
			Publishes(NewEvent[int]("a.at-once", Kept(time.Millisecond, minKept)), NewEvent[int]("a.in-parts", Kept(1500*time.Millisecond, minKept)),
				NewEvent[int]("a.small", Kept(time.Hour, minKept-1)), NewEvent[struct{ Token Secret }]("a.secret", Kept(time.Hour, minKept)),
				NewEvent[int]("their.event", At(Address{Exchange: "e", RoutingKey: "k", External: true}), Kept(time.Hour, minKept)))))},
		{"a queue with the name of a stream", func() *Catalog {
			e := NewEvent[int]("a.happened", Kept(time.Hour, minKept))
			return NewCatalog(NewService("a", Publishes(e), Handles(NewCommand[int]("a.happened.kept"))), NewService("b", Reads(e)))
		}()},
		{"reading what is not kept, or no event", NewCatalog(NewService("a", Publishes(happened)), NewService("b", Reads(happened, fine, ask)))},
		{"a kept event that nobody publishes", NewCatalog(NewService("b", Reads(NewEvent[int]("a.happened", Kept(time.Hour, minKept)))))},
		{"an older version of a request", NewCatalog(one(NewRequest[int, int]("a.ask", Older(func([]byte) []byte { return nil }))))},
		{"kept and read", func() *Catalog {
			e := NewEvent[int]("a.happened", Kept(time.Second, minKept))
			return NewCatalog(NewService("a", Publishes(e), Reads(e)), NewService("b", Reads(e), SubscribesTo(e)), NewService("c", Reads(e)))
		}()},
		{"names that are too long together", func() *Catalog {
			e := NewEvent[int]("a." + strings.Repeat("e", 125))
			return NewCatalog(NewService("a", Publishes(e)), NewService(strings.Repeat("s", 63), SubscribesAs(strings.Repeat("n", 63), e)))
		}()},
		{"external things are nobody's here", NewCatalog(NewService("a",
			Sends(NewCommand[int]("their.do", At(Address{Exchange: "theirs", External: true}))),
			Handles(NewCommand[int]("old.do", At(Address{RoutingKey: "old", External: true}))),
			SubscribesTo(NewEvent[int]("old.event", At(Address{Queue: "old events", External: true})))))},
	} {
		out.WriteString("# " + test.what + "\n")
		if err := test.catalog.Err(); err != nil {
			out.WriteString(err.Error() + "\n")
		}
		out.WriteString("\n")
	}
	golden(t, "mistakes.golden", out.String())
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	do, ask := NewCommand[int]("b.do", Example(7)), NewRequest[int, string]("a.ask", Timeout(time.Second), Idempotent())
	happened := NewEvent[int]("a.happened", Retry(RetryPolicy{Attempts: 2}))
	b := NewService("b", Handles(do), SubscribesTo(happened), SubscribesAs("fraud", happened), Calls(ask))
	a := NewService("a", Publishes(happened), Answers(ask), Sends(do))
	c := NewCatalog(b, a)
	require.NoError(t, c.Err())
	require.Equal(t, []*Service{a, b}, c.Services())
	require.Equal(t, []Contract{ask, happened, do}, c.Contracts())
	require.Equal(t, []*Service{b}, c.ServicesWith(happened, RoleSubscribes))
	require.Empty(t, c.ServicesWith(do, RoleCalls))
	require.Equal(t, []Contract{happened}, b.Contracts(RoleSubscribes), "once, though it subscribes twice")
	found, ok := c.Lookup("a.happened")
	require.True(t, ok)
	require.Equal(t, Contract(happened), found)
	_, ok = c.Lookup("a.nothing")
	require.False(t, ok)

	spec := ask.Spec()
	require.Equal(t, "a", spec.Owner())
	require.Equal(t, time.Second, spec.Timeout)
	require.True(t, spec.Idempotent)
	require.Equal(t, 7, do.Spec().Example)
	require.Equal(t, 2, happened.Spec().Retry.Attempts)
	require.Equal(t, DefaultRetryPolicy().Delays, happened.Spec().Retry.Delays)
	require.Equal(t, DefaultTimeout, NewRequest[int, int]("a.ask").Spec().Timeout)

	queues := b.WorkQueues(topology.Names{Namespace: "x"})
	require.Len(t, queues, 3)
	require.Equal(t, WorkQueue{"x.b.fraud.on.a.happened", happened, "fraud", "x.b.fraud.on.a.happened.dlq", false}, queues[2])
}

// TestAddresses: where messages go, and what is declared for it.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		address              *Address
		exchange, key, queue string
		declares             bool
	}{
		{nil, "ns.commands", "ns.a.do", "ns.a.do", true},
		{&Address{Queue: "q"}, "ns.commands", "ns.a.do", "q", true},
		{&Address{RoutingKey: "k"}, "ns.commands", "k", "ns.a.do", true},
		{&Address{Exchange: "e"}, "e", "ns.a.do", "ns.a.do", true},
		{&Address{Exchange: "e", RoutingKey: "k", Queue: "q"}, "e", "k", "q", true},
		{&Address{Queue: "q", External: true}, "", "q", "q", false},
		{&Address{RoutingKey: "k", External: true}, "", "k", "k", false},
		{&Address{Exchange: "e", Queue: "q", External: true}, "e", "", "q", false},
		{&Address{Exchange: "e", RoutingKey: "k", Queue: "q", External: true}, "e", "k", "q", false},
	} {
		var options []ContractOption
		if test.address != nil {
			options = append(options, At(*test.address))
		}
		c := NewCommand[int]("a.do", options...)
		s := NewService("a", Handles(c), Sends(c))
		require.NoError(t, NewCatalog(s).Err(), "%+v", test.address)
		n := topology.Names{Namespace: "ns"}
		exchange, key := c.Spec().Route(n)
		require.Equal(t, test.exchange, exchange.Name, "%+v", test.address)
		require.Equal(t, test.key, key, "%+v", test.address)
		require.Equal(t, test.queue, QueueName(n, c, "a", ""), "%+v", test.address)
		top := s.Topology(n, "classic")
		var queues []string
		for _, q := range top.Queues {
			queues = append(queues, q.Name)
		}
		require.Equal(t, test.declares, slices.Contains(queues, test.queue), "%+v", test.address)
		require.Contains(t, queues, test.queue+".dlq", "its failures are ours: %+v", test.address)
		require.Contains(t, top.Bindings, topology.Binding{Exchange: "ns.retry.return", RoutingKey: test.queue, Queue: test.queue}, "and the way back from a tier")
	}
}

// TestLargeCatalog: what is asked of a catalog does not search through all of it. With a search for each contract, this
// test would take minutes.
func TestLargeCatalog(t *testing.T) {
	t.Parallel()
	const n = 20_000
	contracts := make([]Contract, n)
	for i := range contracts {
		contracts[i] = NewCommand[int]("a.do-" + strconv.Itoa(i))
	}
	a, b := NewService("a", Handles(contracts...)), NewService("b", Sends(contracts...))
	catalog := NewCatalog(a, b)
	require.NoError(t, catalog.Err())
	require.NoError(t, b.Err())
	require.Len(t, b.Contracts(RoleSends), n)
	for _, c := range catalog.Contracts() {
		found, _ := catalog.Lookup(c.Spec().Name)
		if users := catalog.ServicesWith(c, RoleHandles); found != c || len(users) != 1 || users[0] != a {
			require.Fail(t, "not found", "%s: %v, %v", c.Spec().Name, found, users)
		}
	}
	require.Len(t, a.Topology(topology.Names{}, topology.Classic).Queues, 2*n+len(DefaultRetryPolicy().Delays)+2)
	require.ErrorContains(t, NewService("c", Sends(slices.Concat(contracts, contracts)...)).Err(), "sends a.do-0 twice")
}
