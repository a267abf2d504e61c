package definitions_test

import (
	"context"
	"log/slog"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A service that is asked learns where its caller wants the answer. With that it does not get the answers that others
// give the same caller, though it may listen to their replies, since it asks them too.
func TestAnAddressOfRepliesOpensNoOtherReplies(t *testing.T) {
	t.Parallel()
	both := leveret.NewService("both", leveret.Calls(price, flour))
	s := imported(t, leveret.NewCatalog(both, kitchen, mill), topology.Isolated)
	s.start(mill, func(rt *service.Runtime) {
		flour.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
	})
	address := make(chan string, 1)
	s.start(kitchen, func(rt *service.Runtime) {
		bake.Handle(rt.Handlers, func(context.Context, unit) error { return nil })
		price.Answer(rt.Handlers, func(ctx context.Context, u unit) (unit, error) {
			address <- leveret.MessageFrom(ctx).ReplyTo
			return u, nil
		})
	})
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{
		URLs: []string{s.as("both")}, Layout: s.names.Layout, NoDeclare: true, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	client, err := leveret.NewClient(conn, both, leveret.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close(context.WithoutCancel(t.Context())) })
	_, err = price.Call(t.Context(), client, unit{1})
	require.NoError(t, err)

	ch, err := dial(t, s.as("kitchen")).Channel()
	require.NoError(t, err)
	mine, learnt := s.names.ReplyQueue("kitchen", "mine"), <-address
	require.NoError(t, declareQueue(mine, true, nil)(ch))
	require.NoError(t, ch.QueueBind(mine, learnt, s.names.ReplyExchange("mill"), false, nil))
	_, err = flour.Call(t.Context(), client, unit{2})
	require.NoError(t, err)
	q, err := ch.QueueDeclarePassive(mine, false, false, true, false, amqp.Table{})
	require.NoError(t, err)
	require.Zero(t, q.Messages, "the kitchen has a copy of what the mill answered")
}
