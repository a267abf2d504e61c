package leveret_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// subscribed is a service in every role that takes messages, and what it has handled.
type subscribed struct {
	*bench
	do       *leveret.Command[thing]
	happened *leveret.Event[thing]
	ask      *leveret.Request[thing, answer]
	service  *leveret.Service
	client   *leveret.Client // of an administrator
	conn     *leveret.Conn
	worker   *running
	handled  chan thing
}

// setupSubscribed runs the service's worker as a user with these permissions, and waits until it consumes. An
// administrator has declared everything before.
func setupSubscribed(t *testing.T, configure, write, read string) *subscribed {
	t.Helper()
	s := &subscribed{
		bench:    setup(t),
		do:       leveret.NewCommand[thing]("a.do", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{time.Second}})),
		happened: leveret.NewEvent[thing]("a.happened"), ask: leveret.NewRequest[thing, answer]("a.ask"),
		handled: make(chan thing, 9999),
	}
	s.service = leveret.NewService("a", leveret.Handles(s.do), leveret.Sends(s.do), leveret.SubscribesTo(s.happened),
		leveret.Publishes(s.happened), leveret.Answers(s.ask), leveret.Calls(s.ask))
	admin := s.connect(leveret.ConnConfig{})
	s.client = s.bench.client(admin, s.service, leveret.ClientConfig{})
	require.NoError(t, rabbit.NewDeclarer(admin.Rabbit()).Declare(s.ctx, s.service.Topology(admin.Names(), "classic")))
	s.conn = s.connect(leveret.ConnConfig{URLs: []string{s.user(configure, write, read)}})
	w := s.bench.worker(s.conn, s.service, leveret.WorkerConfig{})
	w.declares = time.Second
	s.do.Handle(w.Handlers, func(context.Context, thing) error { return nil })
	s.happened.Subscribe(w.Handlers, func(_ context.Context, v thing) error { s.handled <- v; return nil })
	s.ask.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) { return answer{N: v.N}, nil })
	s.worker = s.run(w)
	return s
}

// inTime is eventually for what is declared again, which takes a busy broker its time.
func (s *subscribed) inTime(condition func() bool, because ...any) {
	s.t.Helper()
	require.Eventually(s.t, condition, 2*patience, 10*time.Millisecond, because...)
}

// publishUntil publishes events until one is handled. No publish fails.
func (s *subscribed) publishUntil() {
	s.t.Helper()
	s.inTime(func() bool {
		require.NoError(s.t, s.happened.Publish(s.ctx, s.client, thing{}))
		return len(s.handled) > 0
	})
}

// permit gives the worker's user other permissions.
func (s *subscribed) permit(configure, write, read string) {
	s.t.Helper()
	api, err := leverettest.Node(s.t).Management()
	require.NoError(s.t, err)
	vhost := leverettest.VHost(s.t, s.url)
	require.NoError(s.t, api.Call(s.ctx, http.MethodPut, map[string]string{"configure": configure, "write": write, "read": read},
		nil, "permissions", vhost, vhost+"-user"))
}

// TestRefusedBinding: a worker whose subscription may not be bound takes what is in its queues, and is not ready. It is
// as soon as the user has the permission.
func TestRefusedBinding(t *testing.T) {
	t.Parallel()
	s := setupSubscribed(t, ".*", ".*", "^(?!events$).*")
	err := s.worker.Ready()
	require.ErrorIs(t, err, leveret.ErrRefused)
	require.Equal(t, leveret.PermissionDenied, leveret.CodeOf(err))
	require.ErrorContains(t, err, `messages for the queue a.on.a.happened may be lost: declare the binding of a.on.a.happened to events by "a.happened"`)
	require.ErrorContains(t, err, "broker.declare: false")
	s.peer().publish("", "a.on.a.happened", amqp.Publishing{Body: []byte(`{"n":7}`)})
	require.Equal(t, 7, receive(t, s.handled).N)

	s.permit(".*", ".*", ".*")
	s.inTime(func() bool { return s.worker.Ready() == nil })
	s.publishUntil()
}

// TestDeleted: what is deleted on the broker while a worker runs is there again, with its bindings. Exchanges cost no
// connection; a queue may, which is declared while the broker is deleting it.
func TestDeleted(t *testing.T) {
	t.Parallel()
	s := setupSubscribed(t, ".*", ".*", ".*")
	require.NoError(t, s.worker.Ready())
	admin := s.peer()
	exchanges := []string{"events", "commands", "requests", "control", "dead-letters", "retry.return", "retry.lost", "retry.1s", "quarantine.a"}
	for _, exchange := range exchanges {
		require.NoError(t, admin.ExchangeDelete(exchange, false, false))
	}
	s.publishUntil()
	returns := admin.NotifyReturn(make(chan amqp.Return, 99))
	s.complete(admin, returns)
	require.Zero(t, s.conn.Rabbit().State().Lost)

	for _, queue := range []string{"a.do.dlq", "a.on.a.happened.dlq", "retry.lost", "retry.1s", "quarantine.a"} {
		_, err := admin.QueueDelete(queue, false, false, false)
		require.NoError(t, err)
	}
	s.complete(admin, returns)
}

// complete waits until everything that the service needs is declared and bound, and the worker is ready. To returns
// come the messages that the broker returns to the administrator.
func (s *subscribed) complete(admin *peer, returns <-chan amqp.Return) {
	s.t.Helper()
	for _, way := range [][2]string{
		{"commands", "a.do"},
		{"requests", "a.ask"},
		{"control", "cancel.a.ask"},
		{"dead-letters", "a.do"},
		{"dead-letters", "a.on.a.happened"},
		{"retry.return", "a.do"},
		{"retry.return", "a.on.a.happened"},
		{"retry.lost", ""},
		{"retry.1s", ""},
		{"quarantine.a", ""},
	} {
		s.inTime(func() bool { // declared, and bound
			ch, err := admin.conn.Channel()
			require.NoError(s.t, err)
			defer ch.Close()
			return ch.ExchangeDeclarePassive(way[0], "", true, false, false, false, nil) == nil
		}, way)
		s.inTime(func() bool {
			admin.publish(way[0], way[1], amqp.Publishing{Body: []byte(`{}`), Expiration: "1"})
			select {
			case <-returns:
				return false
			default:
				return true
			}
		}, way)
	}
	s.inTime(func() bool { return s.worker.Ready() == nil })
}

// TestDeletedAndNotDeclared: what a worker misses and may not declare makes it not ready, until somebody else has
// declared it.
func TestDeletedAndNotDeclared(t *testing.T) {
	t.Parallel()
	s := setupSubscribed(t, "^(?!events$).*", ".*", ".*")
	require.NoError(t, s.worker.Ready(), "it may not declare the exchange, and need not")
	require.NoError(t, s.peer().ExchangeDelete("events", false, false))
	s.inTime(func() bool { return s.worker.Ready() != nil })
	err := s.worker.Ready()
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	require.Equal(t, leveret.NotFound, leveret.CodeOf(err))
	require.ErrorContains(t, err, "a.on.a.happened to events")

	s.publishUntil() // the publisher declares it, and then the worker can bind to it
	s.inTime(func() bool { return s.worker.Ready() == nil })
}
