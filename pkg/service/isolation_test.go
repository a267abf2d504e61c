package service_test

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// inventory is the service that order may send commands to; restricted, the payment service, is what it may not reach.
var (
	reserve   = leveret.NewCommand[unit]("inventory.reserve")
	inventory = leveret.NewService("inventory", leveret.Handles(reserve))
	order     = leveret.NewService("order", leveret.Sends(reserve))
)

// In the isolated layout a user who may send to one service reaches it, and no queue of another service, in any of the
// ways that AMQP has.
func TestIsolation(t *testing.T) {
	t.Parallel()
	s := setupIsolation(t, topology.Isolated, documented(t, "sends, isolated"))

	for _, noDeclare := range []bool{true, false} { // what it may not declare is used all the same
		conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{s.url}, Layout: topology.Isolated, NoDeclare: noDeclare})
		require.NoError(t, err)
		client, err := leveret.NewClient(conn, order, leveret.ClientConfig{})
		require.NoError(t, err)
		require.NoError(t, reserve.Send(t.Context(), client, unit{1}))
		require.NoError(t, client.Close(t.Context()))
		require.NoError(t, conn.Close(t.Context()))
	}
	require.Equal(t, 2, s.ready("inventory.reserve"))

	allowed := "commands.inventory"
	s.may(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("order.mine", true, false, false, false, nil)
		return err
	})
	s.may(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare("order.mine", "fanout", true, false, false, false, nil)
	})
	s.may(func(ch *amqp.Channel) error { return ch.QueueBind("order.mine", "", "order.mine", false, nil) })
	// One's own exchange in front of what one may write to leads there, and a dead letter of one's own too: no further.
	s.may(func(ch *amqp.Channel) error { return ch.ExchangeBind(allowed, "", "order.mine", false, nil) })
	s.may(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("order.dying", true, false, false, false, amqp.Table{
			"x-dead-letter-exchange": allowed, "x-dead-letter-routing-key": "payment.capture", "x-message-ttl": int32(1),
		})
		return err
	})
	s.may(func(ch *amqp.Channel) error { return ch.QueueBind("order.dying", "", "order.mine", false, nil) })
	for _, queue := range s.payment.Queues {
		message := amqp.Publishing{Body: []byte("1")}
		s.may(func(ch *amqp.Channel) error { return ch.Publish(allowed, queue.Name, false, false, message) })
		s.may(func(ch *amqp.Channel) error { return ch.Publish("order.mine", queue.Name, false, false, message) })
		copied := message
		copied.Headers = amqp.Table{"CC": []any{queue.Name}, "BCC": []any{queue.Name}}
		s.may(func(ch *amqp.Channel) error { return ch.Publish(allowed, "nowhere", false, false, copied) })
		s.mayNot("the default exchange", func(ch *amqp.Channel) error { return ch.Publish("", queue.Name, false, false, message) })
		s.mayNot("reading", func(ch *amqp.Channel) error { _, _, err := ch.Get(queue.Name, true); return err })
		s.mayNot("emptying", func(ch *amqp.Channel) error { _, err := ch.QueuePurge(queue.Name, false); return err })
		s.mayNot("deleting", func(ch *amqp.Channel) error { _, err := ch.QueueDelete(queue.Name, false, false, false); return err })
		s.mayNot("an exchange of one's own", func(ch *amqp.Channel) error { return ch.QueueBind(queue.Name, "", "order.mine", false, nil) })
		s.mayNot("an exchange that one may write to", func(ch *amqp.Channel) error {
			return ch.QueueBind(queue.Name, "inventory.reserve", allowed, false, nil)
		})
	}
	for _, exchange := range append(s.payment.Exchanges, topology.Exchange{}) {
		for _, b := range append(s.payment.Bindings, topology.Binding{RoutingKey: "payment.capture"}) {
			if b.Exchange == exchange.Name {
				s.mayNot("publishing", func(ch *amqp.Channel) error {
					return ch.Publish(exchange.Name, b.RoutingKey, false, false, amqp.Publishing{})
				})
			}
		}
		s.mayNot("a queue's dead letters", func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("order.dead", true, false, false, false, amqp.Table{
				"x-dead-letter-exchange": exchange.Name, "x-dead-letter-routing-key": "payment.capture", "x-message-ttl": int32(1),
			})
			return err
		})
		if exchange.Name == "" {
			continue // it cannot be bound, nor be an alternate
		}
		s.mayNot("an alternate exchange", func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare("order.alternate", "fanout", true, false, false, false, amqp.Table{"alternate-exchange": exchange.Name})
		})
		s.mayNot("a binding between exchanges", func(ch *amqp.Channel) error {
			return ch.ExchangeBind(exchange.Name, "payment.capture", "order.mine", false, nil)
		})
		s.mayNot("listening", func(ch *amqp.Channel) error { return ch.QueueBind("order.mine", "#", exchange.Name, false, nil) })
		s.mayNot("deleting", func(ch *amqp.Channel) error { return ch.ExchangeDelete(exchange.Name, false, false) })
	}
	require.Eventually(t, func() bool { return s.ready("order.dying") == 0 }, time.Minute, 10*time.Millisecond, "dead letters are on their way")
	for _, queue := range s.payment.Queues {
		require.Zero(t, s.ready(queue.Name), queue.Name)
	}
	publisher := rabbit.NewPublisher(s.own, rabbit.PublisherConfig{})
	for _, queue := range restricted.WorkQueues(topology.Names{}) { // what comes last is the only thing that came
		require.NoError(t, publisher.Publish(t.Context(), &rabbit.Publication{RoutingKey: queue.Name, Mandatory: true}))
		require.Eventually(t, func() bool { return s.ready(queue.Name) > 0 }, time.Minute, 10*time.Millisecond)
		require.Equal(t, 1, s.ready(queue.Name), queue.Name)
	}
	require.NoError(t, publisher.Close(t.Context()))
}

// In the shared layout the same right reaches every command: this is what the isolated layout is for.
func TestNoIsolationInTheSharedLayout(t *testing.T) {
	t.Parallel()
	s := setupIsolation(t, topology.Shared, map[string]string{"configure": "^$", "write": "^commands$", "read": "^$"})
	s.may(func(ch *amqp.Channel) error {
		return ch.Publish("commands", "payment.capture", false, false, amqp.Publishing{Body: []byte("1")})
	})
	require.Eventually(t, func() bool { return s.ready("payment.capture") == 1 }, time.Minute, 10*time.Millisecond)
}

// What docs/operations.md says that each right reaches in the shared layout, tried by a user who has no other. The user
// may also make queues of its own, which are called mine, where the right is one to read.
func TestWhatARightReaches(t *testing.T) {
	t.Parallel()
	publish := func(exchange, key string) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			return ch.Publish(exchange, key, false, false, amqp.Publishing{Body: []byte("1")})
		}
	}
	for write, c := range map[string]struct{ exchange, key, reaches string }{
		"^retry[.]1s$":           {"retry.1s", "payment.capture", "payment.capture"},
		"^retry[.]return$":       {"retry.return", "payment.on.payment.captured", "payment.on.payment.captured"},
		"^dead-letters$":         {"dead-letters", "inventory.reserve", "inventory.reserve.dlq"},
		"^amq[.]default$":        {"", "inventory.reserve", "inventory.reserve"},
		"^requests$":             {"requests", "payment.authorize", "payment.authorize"},
		"^events$":               {"events", "payment.captured", "payment.on.payment.captured"},
		"^quarantine[.]payment$": {"quarantine.payment", "inventory.reserve", "quarantine.payment"},
		"requests":               {"requests", "payment.authorize", "payment.authorize"}, // not anchored
	} {
		t.Run(write, func(t *testing.T) {
			t.Parallel()
			s := setupIsolation(t, topology.Shared, map[string]string{"configure": "^$", "write": write, "read": "^$"})
			s.may(publish(c.exchange, c.key))
			require.Eventually(t, func() bool { return s.ready(c.reaches) == 1 }, time.Minute, 10*time.Millisecond)
			s.mayNot("another exchange", publish("commands", c.key))
		})
	}
	for read, c := range map[string]struct{ exchange, binding, key string }{
		"^(mine|requests)$": {"requests", "payment.authorize", "payment.authorize"},
		"^(mine|commands)$": {"commands", "inventory.reserve", "inventory.reserve"},
		"^(mine|events)$":   {"events", "#", "payment.captured"},
	} {
		t.Run(read, func(t *testing.T) {
			t.Parallel()
			s := setupIsolation(t, topology.Shared, map[string]string{"configure": "^mine$", "write": "^mine$", "read": read})
			s.may(func(ch *amqp.Channel) error {
				if _, err := ch.QueueDeclare("mine", true, false, false, false, nil); err != nil {
					return err
				}
				return ch.QueueBind("mine", c.binding, c.exchange, false, nil)
			})
			publisher := rabbit.NewPublisher(s.own, rabbit.PublisherConfig{})
			require.NoError(t, publisher.Publish(t.Context(), &rabbit.Publication{Exchange: c.exchange, RoutingKey: c.key, Mandatory: true}))
			require.NoError(t, publisher.Close(t.Context()))
			require.Equal(t, 1, s.ready("mine"))
		})
	}
}

// isolation is a virtual host with two services' queues, and a user who may use one of them.
type isolation struct {
	t       *testing.T
	url     string // the user's
	payment topology.Topology
	own     *rabbit.Conn
}

func setupIsolation(t *testing.T, layout topology.Layout, permissions map[string]string) *isolation {
	t.Helper()
	broker := leverettest.Broker(t)
	n := topology.Names{Layout: layout}
	s := &isolation{t: t, payment: restricted.Topology(n, topology.Classic)}
	var err error
	s.own, err = rabbit.Dial(t.Context(), rabbit.Config{URLs: []string{broker}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.own.Close(context.WithoutCancel(t.Context()))) })
	declarer := rabbit.NewDeclarer(s.own)
	require.NoError(t, declarer.Declare(t.Context(), s.payment))
	require.NoError(t, declarer.Declare(t.Context(), inventory.Topology(n, topology.Classic)))
	require.Zero(t, declarer.Mismatches())
	s.url = restrictedUser(t, broker, permissions)
	return s
}

// try does something over its own connection, and returns the broker's refusal. What is sent on a channel that the
// broker is closing can end the connection, too.
func (s *isolation) try(do func(*amqp.Channel) error) error {
	s.t.Helper()
	conn, err := amqp.Dial(s.url)
	require.NoError(s.t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(s.t, err)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := do(ch); err != nil {
		return err
	}
	// A publish is refused by closing the channel: a call that comes after it is answered, or is not.
	if err := ch.Qos(1, 0, false); err != nil {
		if reason := <-closed; reason != nil {
			return reason
		}
		return err
	}
	return ch.Close()
}

func (s *isolation) may(do func(*amqp.Channel) error) {
	s.t.Helper()
	require.NoError(s.t, s.try(do))
}

func (s *isolation) mayNot(what string, do func(*amqp.Channel) error) {
	s.t.Helper()
	var refused *amqp.Error
	require.ErrorAs(s.t, s.try(do), &refused, what)
	require.Equal(s.t, amqp.AccessRefused, refused.Code, "%s: %v", what, refused)
}

func (s *isolation) ready(queue string) int {
	s.t.Helper()
	state, err := s.own.Inspect(s.t.Context(), queue)
	require.NoError(s.t, err)
	return state.Ready
}
