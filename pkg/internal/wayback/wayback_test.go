package wayback_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/internal/wayback"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

func dial(ctx context.Context, t *testing.T, address string) *rabbit.Conn {
	t.Helper()
	conn, err := rabbit.Dial(ctx, rabbit.Config{URLs: []string{address}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(ctx))) })
	return conn
}

// A user who may write to the exchange "back" alone goes through it. It does not report a queue that is gone: that is
// asked for until there is an answer.
func TestReachable(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	address := leverettest.Broker(t)
	asked := dial(ctx, t, address)
	owner, err := dial(ctx, t, address).Channel(ctx)
	require.NoError(t, err)
	require.NoError(t, owner.ExchangeDeclare("back", amqp.ExchangeDirect, true, false, false, false, nil))
	for queue, exclusive := range map[string]bool{"there": false, "another's": true} {
		_, err = owner.QueueDeclare(queue, !exclusive, false, exclusive, false, nil)
		require.NoError(t, err)
	}
	require.NoError(t, owner.QueueBind("there", "there", "back", false, nil))

	publisher := rabbit.NewPublisher(dial(ctx, t, userOfBack(t, address)), rabbit.PublisherConfig{})
	t.Cleanup(func() { require.NoError(t, publisher.Close(context.WithoutCancel(ctx))) })
	way := wayback.New(publisher, asked, "back")
	require.NoError(t, way.Reachable(ctx, "missing"), "the default exchange reports it")
	m := way.To("there", rabbit.Publishing{MessageId: "1"})
	require.NoError(t, way.Publish(ctx, m))
	require.Equal(t, "back", m.Exchange)
	require.True(t, way.Known())

	over, end := context.WithCancel(ctx)
	end()
	for _, queue := range []string{"missing", "another's"} {
		err = way.Reachable(over, queue)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, rabbit.ErrUnroutable)
	}
	require.ErrorIs(t, way.Reachable(ctx, "missing"), rabbit.ErrUnroutable)
	require.NoError(t, way.Reachable(ctx, "another's"), "it may not be asked for")
	for _, queue := range []string{"there", "another's"} {
		require.NoError(t, way.Reachable(over, queue), "it was there")
	}
}

// userOfBack returns the address as a user has it who may write to the exchange "back" alone.
func userOfBack(t *testing.T, address string) string {
	t.Helper()
	api, err := leverettest.Node(t).Management()
	require.NoError(t, err)
	name := rand.Text()
	put := func(body any, path ...string) {
		require.NoError(t, api.Call(t.Context(), http.MethodPut, body, nil, path...))
	}
	put(map[string]string{"password": "pw", "tags": ""}, "users", name)
	t.Cleanup(func() {
		require.NoError(t, api.Call(context.WithoutCancel(t.Context()), http.MethodDelete, nil, nil, "users", name))
	})
	put(map[string]string{"configure": "^$", "write": "^back$", "read": "^$"}, "permissions", leverettest.VHost(t, address), name)
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.User = url.UserPassword(name, "pw")
	return u.String()
}
