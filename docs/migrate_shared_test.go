package docs_test

import (
	"context"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// One queue of theirs holds two kinds of messages, which their programs tell apart by type.
var (
	PlaceOrder  = leveret.NewCommand[Order]("orders.place", leveret.At(inOrders("order_placed")))
	CancelOrder = leveret.NewCommand[Order]("orders.cancel", leveret.At(inOrders("order_cancelled")))
)

func inOrders(kind string) leveret.Address {
	return leveret.Address{Queue: "orders", External: true, Type: kind}
}

// ShipParcel is a command of theirs, in a queue with a dead-letter exchange of its own.
var ShipParcel = leveret.NewCommand[Order]("parcels.ship", leveret.At(leveret.Address{
	Queue: "parcels", External: true, DeadLetterQueue: "parcels-failed",
	Topology: topology.Topology{
		Exchanges: []topology.Exchange{{Name: "failed", Type: topology.Fanout}},
		Queues:    []topology.Queue{{Name: "parcels", Args: map[string]any{"x-dead-letter-exchange": "failed"}}, {Name: "parcels-failed"}},
		Bindings:  []topology.Binding{{Exchange: "failed", Queue: "parcels-failed"}},
	},
}))

// Order is what the shop of theirs knows of an order.
type Order struct {
	OrderID string `json:"order_id"`
}

// What the page shows has no mistakes, and needs no dead-letter queue of ours where they have their own.
func TestTheirQueues(t *testing.T) {
	t.Parallel()
	service := leveret.NewService("desk", leveret.Handles(PlaceOrder, CancelOrder, ShipParcel))
	require.NoError(t, leveret.NewCatalog(service).Err())
	var queues []string
	for _, q := range service.Topology(topology.Names{}, topology.Classic).Queues {
		queues = append(queues, q.Name)
	}
	require.Contains(t, queues, "orders.dlq")
	require.Contains(t, queues, "parcels-failed")
	require.NotContains(t, queues, "parcels.dlq")
}

// Their program puts two kinds of orders, and one that we do not know, into its queue; then ours does, and theirs reads.
func TestTwoKindsInOneQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.ch.QueueDeclare("orders", true, false, false, false, nil)
	require.NoError(t, err)
	service := leveret.NewService("orders", leveret.Handles(PlaceOrder, CancelOrder), leveret.Sends(PlaceOrder, CancelOrder))

	client := b.client(t, service)
	require.NoError(t, PlaceOrder.Send(within(t, 2*time.Minute), client, Order{"o-1"}))
	require.NoError(t, CancelOrder.Send(within(t, 2*time.Minute), client, Order{"o-1"}))
	var kinds []string
	for range 2 {
		d := b.deadLetter(t, "orders") // as their program reads it
		require.JSONEq(t, `{"order_id":"o-1"}`, string(d.Body))
		kinds = append(kinds, d.Type)
	}
	require.Equal(t, []string{"order_placed", "order_cancelled"}, kinds)

	handled := make(chan string, 10)
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	PlaceOrder.Handle(h, func(_ context.Context, o Order) error { handled <- "placed " + o.OrderID; return nil })
	CancelOrder.Handle(h, func(_ context.Context, o Order) error { handled <- "cancelled " + o.OrderID; return nil })
	b.run(t, h)
	for _, kind := range []string{"order_placed", "order_cancelled", "order_praised"} {
		require.NoError(t, b.ch.PublishWithContext(t.Context(), "", "orders", true, false, amqp.Publishing{Type: kind, Body: []byte(`{"order_id":"o-2"}`)}))
	}
	require.ElementsMatch(t, []string{"placed o-2", "cancelled o-2"}, []string{takeText(t, handled), takeText(t, handled)})
	dead := b.deadLetter(t, "orders.dlq")
	require.Equal(t, "order_praised", dead.Type)
	require.Equal(t, "unimplemented", dead.Headers["leveret-error-code"])
	require.Empty(t, handled)
}

// Our worker declares their queue and its dead-letter exchange; what it cannot ship ends where their program looks.
func TestTheirDeadLetters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	service := leveret.NewService("desk", leveret.Handles(ShipParcel))
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	ShipParcel.Handle(h, func(_ context.Context, o Order) error {
		return leveret.Errorf(leveret.FailedPrecondition, "%s has no address", o.OrderID)
	})
	b.run(t, h)

	// Their programs declare the same, send, and read what has failed.
	require.NoError(t, b.ch.ExchangeDeclare("failed", "fanout", true, false, false, false, nil))
	_, err := b.ch.QueueDeclare("parcels-failed", true, false, false, false, nil)
	require.NoError(t, err)
	_, err = b.ch.QueueDeclare("parcels", true, false, false, false, amqp.Table{"x-dead-letter-exchange": "failed"})
	require.NoError(t, err)
	require.NoError(t, b.ch.PublishWithContext(t.Context(), "", "parcels", true, false, amqp.Publishing{Body: []byte(`{"order_id":"o-1"}`)}))
	dead := b.deadLetter(t, "parcels-failed")
	require.JSONEq(t, `{"order_id":"o-1"}`, string(dead.Body))
	require.Equal(t, "rejected", dead.Headers["x-first-death-reason"])
	require.Equal(t, "parcels", dead.Headers["x-first-death-queue"])
	require.NotContains(t, dead.Headers, "leveret-error-code")
	require.Eventually(t, func() bool { return strings.Contains(b.log.String(), "message failed; rejecting it") }, 2*time.Minute, 10*time.Millisecond)
	_, err = b.channel(t).QueueDeclarePassive("parcels.dlq", true, false, false, false, nil)
	require.ErrorContains(t, err, "NOT_FOUND")
}
