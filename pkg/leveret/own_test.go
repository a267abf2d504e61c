package leveret_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// queues returns the names of all queues on the broker.
func (b *bench) queues() []string {
	b.t.Helper()
	api, err := leverettest.Node(b.t).Management()
	require.NoError(b.t, err)
	var found []struct {
		Name string `json:"name"`
	}
	require.NoError(b.t, api.Call(b.ctx, "GET", nil, &found, "queues", leverettest.VHost(b.t, b.url)))
	names := []string{}
	for _, q := range found {
		names = append(names, q.Name)
	}
	return names
}

// cached is a service with an event for each of its processes.
type cached struct {
	*bench
	changed *leveret.Event[thing]
	service *leveret.Service
	meter   *meter
}

func setupCached(t *testing.T, options ...leveret.ContractOption) *cached {
	t.Helper()
	c := &cached{bench: setup(t), changed: leveret.NewEvent[thing]("price.changed", append(options, quick)...), meter: newMeter()}
	c.service = leveret.NewService("price", leveret.Publishes(c.changed), leveret.SubscribesPerProcess(c.changed))
	require.NoError(t, leveret.NewCatalog(c.service).Err())
	return c
}

// process runs a worker on a connection of its own.
func (c *cached) process(config leveret.ConnConfig, f func(context.Context, thing) error, options ...leveret.SubscribeOption) *running {
	c.t.Helper()
	config.MeterProvider = c.meter.provider
	w := c.worker(c.connect(config), c.service, leveret.WorkerConfig{})
	c.changed.Subscribe(w.Handlers, f, append(options, leveret.PerProcess())...)
	return c.run(w)
}

// Every process gets every event, beside what the service's other subscriptions get. A failure is counted once, and leaves
// no copy; and of a worker that has ended, nothing is left though its connection lives.
func TestPerProcess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	changed := leveret.NewEvent[thing]("price.changed", quick)
	service := leveret.NewService("price", leveret.Publishes(changed), leveret.SubscribesPerProcess(changed), leveret.SubscribesTo(changed))
	require.NoError(t, leveret.NewCatalog(service).Err())
	meter := newMeter()
	each, shared := make(chan *leveret.Message, 9), make(chan int, 9)
	var workers []*running
	for range 2 {
		w := b.worker(b.connect(leveret.ConnConfig{MeterProvider: meter.provider, Instance: "host/7"}), service, leveret.WorkerConfig{}, leveret.HandlersConfig{
			OnOutcome: func(_ context.Context, m *leveret.Message, o leveret.Outcome) {
				if m.Subscription == topology.PerProcess && o.Verdict != leveret.VerdictDropped {
					t.Errorf("the verdict is %s", o.Verdict)
				}
			},
		})
		changed.Subscribe(w.Handlers, func(_ context.Context, v thing) error { shared <- v.N; return nil })
		changed.Subscribe(w.Handlers, func(ctx context.Context, v thing) error {
			each <- leveret.MessageFrom(ctx)
			if v.N == 1 {
				panic("no")
			}
			return errors.New("no")
		}, leveret.PerProcess())
		workers = append(workers, b.run(w))
	}
	names := b.queues()
	client := b.client(b.connect(leveret.ConnConfig{}), service, leveret.ClientConfig{})
	for i := range 2 {
		require.NoError(t, changed.Publish(b.ctx, client, thing{N: i}))
		require.Equal(t, i, receive(t, shared))
		first, second := receive(t, each), receive(t, each)
		require.NotEqual(t, first.Queue, second.Queue)
		for _, m := range []*leveret.Message{first, second} {
			require.Regexp(t, `^price\.per-process\.on\.price\.changed\.host/7-[a-z0-9]{8}$`, m.Queue)
			require.Contains(t, names, m.Queue)
			require.Equal(t, "per-process", m.Subscription)
		}
	}
	b.eventually(func() bool {
		v := meter.by(t, "leveret.verdicts", "leveret.verdict")
		return v["dropped"] == 4 && v["ack"] == 2
	})
	require.Equal(t, map[string]int64{"price.per-process.on.price.changed.*": 4, "price.on.price.changed": 2},
		meter.by(t, "leveret.verdicts", "messaging.destination.name"), "a name for all processes")
	require.Empty(t, each, "no retry")
	for _, w := range workers {
		require.NoError(t, w.halt())
	}
	b.eventually(func() bool { return len(b.queues()) == len(names)-2 }, "they go with their workers")
	foreign := b.peer()
	for _, queue := range b.queues() {
		require.NotContains(t, queue, "per-process")
		require.Zero(t, foreign.count(queue), queue)
	}
	require.Empty(t, shared)
}

// A service that has nothing else needs no queue that lasts: after its end, the broker is as before.
func TestPerProcessLeavesNothing(t *testing.T) {
	t.Parallel()
	c := setupCached(t)
	require.Empty(t, c.service.Topology(topology.Names{}, topology.Classic).Queues)
	conn := c.connect(leveret.ConnConfig{})
	w := c.worker(conn, c.service, leveret.WorkerConfig{})
	began := make(chan struct{}, 9)
	c.changed.Subscribe(w.Handlers, func(context.Context, thing) error { began <- struct{}{}; return nil }, leveret.PerProcess())
	r := c.run(w)
	client := c.client(conn, c.service, leveret.ClientConfig{})
	require.NoError(t, c.changed.Publish(c.ctx, client, thing{}))
	receive(t, began)
	require.NoError(t, r.halt())
	c.eventually(func() bool { return len(c.queues()) == 0 })
	require.NoError(t, conn.Ready())
	require.NoError(t, c.changed.Publish(c.ctx, client, thing{}), "nobody listens")
}

// After each lost connection the queue is a new one. The process reads what it may have missed before it handles what is in
// it, and is not ready until that has worked.
func TestOnFresh(t *testing.T) {
	t.Parallel()
	c := setupCached(t)
	way := c.proxy()
	// What a process may have missed is what it reads here.
	var price atomic.Int64
	reads, handled := make(chan int64, 99), make(chan int, 99)
	var failures atomic.Int64
	failures.Store(1)
	r := c.process(leveret.ConnConfig{URLs: []string{way.url}}, func(_ context.Context, v thing) error { handled <- v.N; return nil },
		leveret.OnFresh(func(context.Context) error {
			switch failures.Add(-1) {
			case 0:
				return errors.New("the database does not answer")
			case 1:
				panic("no")
			}
			reads <- price.Load()
			return nil
		}))
	require.Zero(t, receive(t, reads), "the first attempt failed; the worker was ready after the second")
	client := c.client(c.connect(leveret.ConnConfig{}), c.service, leveret.ClientConfig{})
	for n := range 3 {
		way.refuse(true)
		way.cut()
		c.eventually(func() bool { return r.Ready() != nil })
		price.Store(int64(n))
		var err error
		c.eventually(func() bool { // RabbitMQ 4.3 nacks what meets a queue that goes with its connection
			err = c.changed.Publish(c.ctx, client, thing{N: 100 + n})
			return !errors.Is(err, leveret.ErrNacked)
		}, "missed, or not: the queue may still be there")
		require.NoError(t, err)
		failures.Store(2)
		way.refuse(false)
		require.EqualValues(t, n, receive(t, reads))
		c.eventually(func() bool { return r.Ready() == nil })
		for len(reads) > 0 {
			<-reads
		}
		require.NoError(t, c.changed.Publish(c.ctx, client, thing{N: n}))
		require.Equal(t, n, receive(t, handled), "nothing that was read already")
	}
}

// When a process stops, no publisher gets an error: the queue is deleted before the connection ends.
func TestPerProcessStops(t *testing.T) {
	t.Parallel()
	c := setupCached(t)
	client := c.client(c.connect(leveret.ConnConfig{}), c.service, leveret.ClientConfig{})
	c.process(leveret.ConnConfig{}, func(context.Context, thing) error { return nil }) // so that each event has a way
	for n := range 5 {
		r := c.process(leveret.ConnConfig{}, func(context.Context, thing) error { return nil })
		stopped := make(chan error, 1)
		go func() { stopped <- r.halt() }()
		for published := 0; len(stopped) == 0 || published < 50; published++ {
			require.NoError(t, c.changed.Publish(c.ctx, client, thing{N: n}))
		}
		require.NoError(t, receive(t, stopped))
	}
}

// A paused worker leaves its messages in the queue, and what fails meanwhile and could be tried again goes back.
func TestPerProcessPaused(t *testing.T) {
	t.Parallel()
	c := setupCached(t)
	began, goOn, handled := make(chan struct{}, 9), make(chan struct{}), make(chan int, 9)
	r := c.process(leveret.ConnConfig{}, func(_ context.Context, v thing) error {
		if v.N == 0 {
			began <- struct{}{}
			if <-goOn; c.meter.by(t, "leveret.verdicts", "leveret.verdict")["requeue"] == 0 {
				return errFull
			}
		}
		handled <- v.N
		return nil
	})
	client := c.client(c.connect(leveret.ConnConfig{}), c.service, leveret.ClientConfig{})
	require.NoError(t, c.changed.Publish(c.ctx, client, thing{N: 0}))
	receive(t, began)
	r.Pause(errFull)
	close(goOn)
	c.eventually(func() bool { return c.meter.by(t, "leveret.verdicts", "leveret.verdict")["requeue"] == 1 })
	require.NoError(t, c.changed.Publish(c.ctx, client, thing{N: 1}))
	r.Resume()
	require.ElementsMatch(t, []int{0, 1}, []int{receive(t, handled), receive(t, handled)})
}

// The official tutorial's receive_logs and emit_log, on either side: an exchange of theirs alone.
func TestPerProcessBesideTheTutorial(t *testing.T) {
	t.Parallel()
	for name, theirs := range map[string]topology.Topology{
		"declared by them":     {},
		"declared as they do":  {Exchanges: []topology.Exchange{{Name: "logs", Type: topology.Fanout}}},
		"with a queue of ours": {Exchanges: []topology.Exchange{{Name: "logs", Type: topology.Fanout}}, Queues: []topology.Queue{{Name: "archive"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setupCached(t, leveret.At(leveret.Address{Exchange: "logs", External: true, Topology: theirs}))
			foreign := c.peer()
			require.NoError(t, foreign.ExchangeDeclare("logs", "fanout", true, false, false, false, nil))
			q, err := foreign.QueueDeclare("", false, false, true, false, nil)
			require.NoError(t, err)
			require.NoError(t, foreign.QueueBind(q.Name, "", "logs", false, nil))
			received, err := foreign.Consume(q.Name, "", true, false, false, false, nil)
			require.NoError(t, err)

			handled := make(chan int, 9)
			f := func(_ context.Context, v thing) error { handled <- v.N; return nil }
			c.process(leveret.ConnConfig{}, f)
			c.process(leveret.ConnConfig{}, f)
			foreign.publish("logs", "", amqp.Publishing{ContentType: "text/plain", Body: []byte(`{"n":1}`)})
			require.Equal(t, []int{1, 1}, []int{receive(t, handled), receive(t, handled)})
			require.JSONEq(t, `{"n":1}`, string(receive(t, received).Body))
			client := c.client(c.connect(leveret.ConnConfig{}), c.service, leveret.ClientConfig{})
			require.NoError(t, c.changed.Publish(c.ctx, client, thing{N: 2}))
			require.Equal(t, []int{2, 2}, []int{receive(t, handled), receive(t, handled)})
			require.JSONEq(t, `{"n":2}`, string(receive(t, received).Body))
		})
	}
}

// An exclusive queue of somebody else's form is the worker's alone: its senders declare the rest, a second process gets
// an error in plain words until the first one has gone, and no dead-letter queue is left.
func TestTheirExclusiveQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	printed := leveret.NewCommand[thing]("printer.print", quick, leveret.At(leveret.Address{
		Exchange: "office", RoutingKey: "print", Queue: "printer-1", External: true,
		Topology: topology.Topology{
			Exchanges: []topology.Exchange{{Name: "office", Type: topology.Direct}},
			Queues:    []topology.Queue{{Name: "printer-1", Exclusive: true, AutoDelete: true, Args: map[string]any{"x-max-length": int32(100)}}},
			Bindings:  []topology.Binding{{Exchange: "office", RoutingKey: "print", Queue: "printer-1"}},
		},
	}))
	printer := leveret.NewService("printer", leveret.Handles(printed))
	require.NoError(t, leveret.NewCatalog(printer).Err())
	client := b.sender(leveret.Sends(printed))
	require.ErrorIs(t, printed.Send(b.ctx, client, thing{}), leveret.ErrUnroutable, "a sender declares the exchange, and no queue")

	handled := make(chan int, 9)
	start := func(first int) *worker {
		w := b.worker(b.connect(leveret.ConnConfig{}), printer, leveret.WorkerConfig{})
		printed.Handle(w.Handlers, func(_ context.Context, v thing) error { handled <- first + v.N; return errors.New("no") })
		return w
	}
	one := b.run(start(10))
	require.NoError(t, printed.Send(b.ctx, client, thing{N: 1}))
	require.Equal(t, 11, receive(t, handled))
	second := start(20)
	two := b.start(second)
	b.eventually(func() bool {
		err := two.Ready()
		return err != nil && strings.Contains(err.Error(), "declare the queue printer-1: only one connection can have an exclusive queue, and another has it")
	}, "%v", two.Ready())
	require.NoError(t, one.halt())
	receive(t, second.ready)
	require.NoError(t, printed.Send(b.ctx, client, thing{N: 2}))
	require.Equal(t, 22, receive(t, handled))
	require.Equal(t, []string{"printer-1"}, b.queues(), "no dead letters, no retries")
	require.NoError(t, two.halt())
	b.eventually(func() bool { return len(b.queues()) == 0 })
}

// A queue that is not exclusive, though the address says so, is neither consumed nor deleted.
func TestExclusiveInTheAddressAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	printed := leveret.NewCommand[thing]("printer.print", leveret.At(leveret.Address{
		Queue: "printer-1", External: true, Topology: topology.Topology{Queues: []topology.Queue{{Name: "printer-1", Exclusive: true}}},
	}))
	foreign := b.peer()
	_, err := foreign.QueueDeclare("printer-1", true, false, false, false, nil)
	require.NoError(t, err)
	foreign.publish("", "printer-1", amqp.Publishing{Body: []byte(`{"n":1}`)})
	w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("printer", leveret.Handles(printed)), leveret.WorkerConfig{})
	printed.Handle(w.Handlers, func(context.Context, thing) error { return errors.New("it is not ours") })
	r := b.start(w)
	b.eventually(func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "or it is not exclusive")
	}, "%v", r.Ready())
	require.NoError(t, r.halt())
	require.JSONEq(t, `{"n":1}`, string(foreign.take("printer-1").Body))
}

// Two workers of one connection share its exclusive queue, and the first to stop leaves it to the other.
func TestExclusiveQueueOfTwoWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	printed := leveret.NewCommand[thing]("printer.print", leveret.At(leveret.Address{
		Exchange: "office", RoutingKey: "print", Queue: "printer-1", External: true, Topology: topology.Topology{
			Exchanges: []topology.Exchange{{Name: "office", Type: topology.Direct}},
			Queues:    []topology.Queue{{Name: "printer-1", Exclusive: true}},
			Bindings:  []topology.Binding{{Exchange: "office", RoutingKey: "print", Queue: "printer-1"}},
		},
	}))
	conn, service, handled := b.connect(leveret.ConnConfig{}), leveret.NewService("printer", leveret.Handles(printed)), make(chan int, 9)
	run := func() *running {
		w := b.worker(conn, service, leveret.WorkerConfig{})
		printed.Handle(w.Handlers, func(_ context.Context, v thing) error { handled <- v.N; return nil })
		return b.run(w)
	}
	client := b.sender(leveret.Sends(printed))
	for life := range 3 { // also after the last has gone
		first, second := run(), run()
		require.NoError(t, first.halt())
		require.NoError(t, printed.Send(b.ctx, client, thing{N: life}))
		require.Equal(t, life, receive(t, handled))
		require.NoError(t, second.halt())
		require.ErrorIs(t, printed.Send(b.ctx, client, thing{}), leveret.ErrUnroutable)
	}
}

// The queue of a process can have several bindings, with arguments, and an address with headers takes only messages that
// have them.
func TestPerProcessBindings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		exchange    topology.Exchange
		bindings    []topology.Binding
		heard, deaf amqp.Publishing
		keys        [2]string // of both
	}{
		"keys": {
			topology.Exchange{Name: "logs_direct", Type: topology.Direct},
			[]topology.Binding{{Exchange: "logs_direct", RoutingKey: "warning"}, {Exchange: "logs_direct", RoutingKey: "error"}},
			amqp.Publishing{},
			amqp.Publishing{},
			[2]string{"error", "info"},
		},
		"headers": {
			topology.Exchange{Name: "logs_headers", Type: "headers"},
			[]topology.Binding{{Exchange: "logs_headers", Args: map[string]any{"x-match": "all", "severity": "error"}}},
			amqp.Publishing{Headers: amqp.Table{"severity": "error"}},
			amqp.Publishing{Headers: amqp.Table{"severity": "info"}},
			[2]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setupCached(t, leveret.At(leveret.Address{Exchange: test.exchange.Name, External: true, Topology: topology.Topology{
				Exchanges: []topology.Exchange{test.exchange}, Bindings: test.bindings,
			}}))
			handled := make(chan int, 9)
			c.process(leveret.ConnConfig{}, func(_ context.Context, v thing) error { handled <- v.N; return nil })
			foreign := c.peer()
			test.deaf.Body, test.heard.Body = []byte(`{"n":1}`), []byte(`{"n":2}`)
			foreign.publish(test.exchange.Name, test.keys[1], test.deaf)
			foreign.publish(test.exchange.Name, test.keys[0], test.heard)
			require.Equal(t, 2, receive(t, handled))
		})
	}
}

// Of what a fanout exchange hands to every process, an address with headers takes only what has them; the rest is no failure.
func TestPerProcessHeaders(t *testing.T) {
	t.Parallel()
	c := setupCached(t, leveret.At(leveret.Address{
		Exchange: "bus", External: true, Headers: map[string]string{"kind": "price"},
		Topology: topology.Topology{Exchanges: []topology.Exchange{{Name: "bus", Type: topology.Fanout}}},
	}))
	handled := make(chan int, 9)
	c.process(leveret.ConnConfig{}, func(_ context.Context, v thing) error { handled <- v.N; return nil })
	foreign := c.peer()
	foreign.publish("bus", "", amqp.Publishing{Body: []byte(`{"n":1}`)})
	foreign.publish("bus", "", amqp.Publishing{Headers: amqp.Table{"kind": "price"}, Body: []byte(`{"n":2}`)})
	require.Equal(t, 2, receive(t, handled))
	require.Empty(t, handled)
}

// Least privilege: with broker.declare: false a process still declares the queue that nobody else can, and needs the rights to
// that queue, and to read from the exchange, to bind it.
func TestPerProcessLeastPrivilege(t *testing.T) {
	t.Parallel()
	c := setupCached(t)
	require.NoError(t, c.peer().ExchangeDeclare("events", "topic", true, false, false, false, nil))
	own := `^price\.per-process\.on\..+$`
	handled := make(chan int, 9)
	c.process(leveret.ConnConfig{URLs: []string{c.user(own, own, `^(events|price\.per-process\.on\..+)$`)}, NoDeclare: true},
		func(_ context.Context, v thing) error { handled <- v.N; return nil })
	client := c.client(c.connect(leveret.ConnConfig{}), c.service, leveret.ClientConfig{})
	require.NoError(t, c.changed.Publish(c.ctx, client, thing{N: 7}))
	require.Equal(t, 7, receive(t, handled))
}

// Without the right to the queue, the error names it.
func TestPerProcessRefused(t *testing.T) {
	t.Parallel()
	c := setupCached(t)
	w := c.worker(c.connect(leveret.ConnConfig{URLs: []string{c.user("^events$", ".*", ".*")}}), c.service, leveret.WorkerConfig{})
	c.changed.Subscribe(w.Handlers, func(context.Context, thing) error { return nil }, leveret.PerProcess())
	r := c.start(w)
	c.eventually(func() bool { return leveret.CodeOf(r.Ready()) == leveret.PermissionDenied })
	require.ErrorContains(t, r.Ready(), "declare the queue price.per-process.on.price.changed.")
	require.ErrorContains(t, r.Ready(), "access to queue")
}

// What came as an event and must not be handled is dropped as well, and a time before which a message should not be handled
// is not waited for.
func TestPerProcessOddMessages(t *testing.T) {
	t.Parallel()
	c := setupCached(t)
	handled := make(chan int, 9)
	c.process(leveret.ConnConfig{}, func(_ context.Context, v thing) error { handled <- v.N; return nil })
	foreign := c.peer()
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	foreign.publish("events", "price.changed", amqp.Publishing{Body: []byte(`{"n":1}`), ContentType: "application/problem+json"})
	foreign.publish("events", "price.changed", amqp.Publishing{Body: []byte(`not JSON`)})
	foreign.publish("events", "price.changed", amqp.Publishing{Body: []byte(`{"n":2}`), Headers: amqp.Table{"leveret-not-before": later}})
	require.Equal(t, 2, receive(t, handled))
	c.eventually(func() bool { return c.meter.by(t, "leveret.verdicts", "leveret.verdict")["dropped"] == 2 })
	require.Len(t, c.queues(), 1)
}
