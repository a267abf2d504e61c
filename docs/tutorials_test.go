package docs_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// RabbitMQ's own tutorials, with one side moved: the other is written with the driver, as its tutorial says, and declares
// everything itself.

// The queues and exchanges of the tutorials.
var (
	hello = topology.Queue{Name: "hello", Args: map[string]any{"x-queue-type": "quorum"}}
	tasks = topology.Queue{Name: "task_queue", Args: map[string]any{"x-queue-type": "quorum"}}
	logs  = topology.Exchange{Name: "logs", Type: topology.Fanout}
	facts = topology.Exchange{Name: "logs_topic", Type: topology.Topic}
	calls = topology.Queue{Name: "rpc_queue"}
)

// The contracts of the tutorials.
var (
	SayHello = leveret.NewCommand[string]("tutorial.hello", leveret.Encoded(leveret.Text()), leveret.At(leveret.Address{
		Queue: "hello", External: true, Topology: topology.Topology{Queues: []topology.Queue{hello}},
	}))
	DoTask = leveret.NewCommand[string]("tutorial.task", leveret.Encoded(leveret.Text()), leveret.At(leveret.Address{
		Queue: "task_queue", External: true, Topology: topology.Topology{Queues: []topology.Queue{tasks}},
	}))
	Announced = leveret.NewEvent[string]("tutorial.logged", leveret.Encoded(leveret.Text()), leveret.At(leveret.Address{
		Exchange: "logs", External: true, Topology: topology.Topology{Exchanges: []topology.Exchange{logs}},
	}))
	Kernel = leveret.NewEvent[string]("tutorial.kernel", leveret.Encoded(leveret.Text()), leveret.At(leveret.Address{
		Exchange: "logs_topic", RoutingKey: "kern.*", External: true, Topology: topology.Topology{Exchanges: []topology.Exchange{facts}},
	}),
		leveret.RoutingKey(func(line string) string { return "kern." + line }))
	Fibonacci = leveret.NewRequest[int, int]("tutorial.fibonacci", leveret.At(leveret.Address{
		Queue: "rpc_queue", External: true, Topology: topology.Topology{Queues: []topology.Queue{calls}},
	}))
)

// Severe is heard by those who want warnings and errors, as in the tutorial's receive_logs_direct.
var Severe = leveret.NewEvent[string]("tutorial.severe", leveret.Encoded(leveret.Text()), leveret.At(leveret.Address{
	Exchange: "logs_direct", External: true,
	Topology: topology.Topology{
		Exchanges: []topology.Exchange{{Name: "logs_direct", Type: topology.Direct}},
		Bindings: []topology.Binding{
			{Exchange: "logs_direct", RoutingKey: "warning"},
			{Exchange: "logs_direct", RoutingKey: "error"},
		},
	},
}), leveret.RoutingKey(severity))

// severity is the first word of a line: "error: it burns".
func severity(line string) string {
	word, _, _ := strings.Cut(line, ":")
	return word
}

func text(body string) amqp.Publishing {
	return amqp.Publishing{ContentType: "text/plain", Body: []byte(body)}
}

// take returns the text of the next delivery.
func take(t *testing.T, from <-chan amqp.Delivery) string {
	t.Helper()
	select {
	case d := <-from:
		require.Equal(t, "text/plain; charset=utf-8", d.ContentType)
		return string(d.Body)
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "nothing came")
		return ""
	}
}

func takeText(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "nothing was handled")
		return ""
	}
}

// TestTutorialQueues: "Hello World" and "Work Queues".
func TestTutorialQueues(t *testing.T) {
	t.Parallel()
	for _, command := range []*leveret.Command[string]{SayHello, DoTask} {
		t.Run(command.Spec().Name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			queue := command.Spec().Address.Queue
			service := leveret.NewService("tutorial", leveret.Handles(command), leveret.Sends(command))
			require.NoError(t, leveret.NewCatalog(service).Err())

			// Ours sends first, to a new broker; their receiver declares the same and takes it.
			require.NoError(t, command.Send(within(t, 2*time.Minute), b.client(t, service), "Hello World!"))
			theirs := b.channel(t)
			_, err := theirs.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
			require.NoError(t, err)
			received, err := theirs.Consume(queue, "", true, false, false, false, nil)
			require.NoError(t, err)
			require.Equal(t, "Hello World!", take(t, received))
			require.NoError(t, theirs.Close())

			// Theirs sends, ours receives.
			handled := make(chan string, 10)
			h := leveret.NewHandlers(service, leveret.HandlersConfig{})
			command.Handle(h, func(_ context.Context, line string) error { handled <- line; return nil })
			b.run(t, h)
			require.NoError(t, b.ch.PublishWithContext(t.Context(), "", queue, false, false, text("A very hard task...")))
			require.Equal(t, "A very hard task...", takeText(t, handled))
		})
	}
}

// TestTutorialExchanges: "Publish/Subscribe" and "Topics".
func TestTutorialExchanges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		event    *leveret.Event[string]
		exchange topology.Exchange
		key      string
	}{{Announced, logs, ""}, {Kernel, facts, "kern.critical"}} {
		t.Run(test.exchange.Name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			service := leveret.NewService("tutorial", leveret.Publishes(test.event), leveret.SubscribesPerProcess(test.event))
			require.NoError(t, leveret.NewCatalog(service).Err())
			handled := make(chan string, 10)
			h := leveret.NewHandlers(service, leveret.HandlersConfig{})
			test.event.Subscribe(h, func(_ context.Context, line string) error { handled <- line; return nil }, leveret.PerProcess())
			b.run(t, h) // ours declares first

			// Their receiver: an exclusive queue that the broker names.
			require.NoError(t, b.ch.ExchangeDeclare(test.exchange.Name, test.exchange.Type, true, false, false, false, nil))
			q, err := b.ch.QueueDeclare("", false, false, true, false, nil)
			require.NoError(t, err)
			require.NoError(t, b.ch.QueueBind(q.Name, test.key, test.exchange.Name, false, nil))
			received, err := b.ch.Consume(q.Name, "", true, false, false, false, nil)
			require.NoError(t, err)

			require.NoError(t, test.event.Publish(within(t, 2*time.Minute), b.client(t, service), "critical"))
			require.Equal(t, "critical", take(t, received))
			require.Equal(t, "critical", takeText(t, handled))

			require.NoError(t, b.ch.PublishWithContext(t.Context(), test.exchange.Name, test.key, false, false, text("A critical kernel error")))
			require.Equal(t, "A critical kernel error", takeText(t, handled))
		})
	}
}

// TestTutorialRouting: "Routing", with two keys for each process.
func TestTutorialRouting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	service := leveret.NewService("tutorial", leveret.Publishes(Severe), leveret.SubscribesPerProcess(Severe))
	require.NoError(t, leveret.NewCatalog(service).Err())

	// Ours is their receive_logs_direct, twice, for warnings and errors.
	handled := make(chan string, 20)
	for range 2 {
		h := leveret.NewHandlers(service, leveret.HandlersConfig{})
		Severe.Subscribe(h, func(ctx context.Context, line string) error {
			handled <- leveret.MessageFrom(ctx).RoutingKey + " " + line
			return nil
		}, leveret.PerProcess())
		b.run(t, h)
	}

	// Their receiver is for errors only.
	require.NoError(t, b.ch.ExchangeDeclare("logs_direct", "direct", true, false, false, false, nil))
	q, err := b.ch.QueueDeclare("", false, false, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, b.ch.QueueBind(q.Name, "error", "logs_direct", false, nil))
	received, err := b.ch.Consume(q.Name, "", true, false, false, false, nil)
	require.NoError(t, err)

	// Their emit_log_direct, then ours. Nobody here hears an info.
	client := b.client(t, service)
	for _, key := range []string{"info", "warning", "error"} {
		require.NoError(t, b.ch.PublishWithContext(t.Context(), "logs_direct", key, false, false, text("theirs")))
		require.NoError(t, Severe.Publish(within(t, 2*time.Minute), client, key+": ours"))
	}
	var heard []string
	for range 8 {
		heard = append(heard, takeText(t, handled))
	}
	require.ElementsMatch(t, []string{
		"warning theirs", "warning theirs", "warning warning: ours", "warning warning: ours",
		"error theirs", "error theirs", "error error: ours", "error error: ours",
	}, heard)
	var theirs []string
	for range 2 {
		theirs = append(theirs, (<-received).RoutingKey)
	}
	require.Equal(t, []string{"error", "error"}, theirs)
	require.Empty(t, handled)
}

// TestTutorialConfirms: "Publisher Confirms". Send returns once the broker has confirmed the message, and says so if it
// refuses one.
func TestTutorialConfirms(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.ch.QueueDeclare("hello", true, false, false, false, amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	require.NoError(t, err)
	say := leveret.NewCommand[string]("tutorial.hello", leveret.Encoded(leveret.Text()), leveret.At(leveret.Address{Queue: "hello", External: true}))
	client := b.client(t, leveret.NewService("tutorial", leveret.Sends(say)))
	require.NoError(t, say.Send(within(t, 2*time.Minute), client, "there is room for one"))
	require.Equal(t, 1, b.count(t, "hello"), "it is there when Send returns")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.ErrorIs(t, say.Send(ctx, client, "and for no more"), leveret.ErrNacked)
}

// TestTutorialRPC: a number as text is a number in JSON, too.
func TestTutorialRPC(t *testing.T) {
	t.Parallel()
	b := setup(t)
	service := leveret.NewService("tutorial", leveret.Answers(Fibonacci), leveret.Calls(Fibonacci))
	require.NoError(t, leveret.NewCatalog(service).Err())

	// Their server, our caller.
	theirs := b.channel(t)
	_, err := theirs.QueueDeclare("rpc_queue", true, false, false, false, nil)
	require.NoError(t, err)
	requests, err := theirs.Consume("rpc_queue", "theirs", false, false, false, false, nil)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() {
		d := <-requests
		n, _ := strconv.Atoi(string(d.Body))
		reply := text(strconv.Itoa(n + 1))
		reply.CorrelationId = d.CorrelationId
		if err := theirs.PublishWithContext(context.Background(), "", d.ReplyTo, false, false, reply); err != nil {
			served <- err
			return
		}
		served <- d.Ack(false)
	}()
	reply, err := Fibonacci.Call(within(t, 2*time.Minute), b.client(t, service), 30)
	require.NoError(t, err)
	require.Equal(t, 31, reply)
	require.NoError(t, <-served)
	require.NoError(t, theirs.Close())

	// Our server, their caller.
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	Fibonacci.Answer(h, func(_ context.Context, n int) (int, error) { return n * 2, nil })
	b.run(t, h)
	q, err := b.ch.QueueDeclare("", false, false, true, false, nil)
	require.NoError(t, err)
	replies, err := b.ch.Consume(q.Name, "", true, false, false, false, nil)
	require.NoError(t, err)
	request := text("21")
	request.CorrelationId, request.ReplyTo = "1", q.Name
	require.NoError(t, b.ch.PublishWithContext(t.Context(), "", "rpc_queue", false, false, request))
	select {
	case d := <-replies:
		require.Equal(t, "42", string(d.Body))
		require.Equal(t, "1", d.CorrelationId)
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "no reply")
	}
}
