package shopcli

import (
	"context"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Nothing waits forever for a broker that keeps connections open and does not answer.
func TestDemoWhoseBrokerIsSilent(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	address, err := url.Parse(leverettest.Broker(t))
	require.NoError(t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	between := toxiproxy.NewProxy(server, "broker", "127.0.0.1:0", address.Host)
	require.NoError(t, between.Start())
	t.Cleanup(between.Stop)
	address.Host = between.Listen
	d := &demonstration{
		app:    &cli.App{IO: &term.Streams{Err: io.Discard}},
		system: &system{url: address.String()}, patience: time.Minute,
	}
	conn, client, err := d.connect(ctx)
	require.NoError(t, err)
	orders, err := placements(fewestOrders, "tok_mine")
	require.NoError(t, err)
	direct := orders[slices.IndexFunc(orders, func(o placement) bool { return o.direct })]

	_, err = between.Toxics.AddToxicJson(strings.NewReader(`{"name": "silence", "type": "timeout", "attributes": {"timeout": 0}}`))
	require.NoError(t, err)
	d.patience = 50 * time.Millisecond
	_, _, err = d.placeOne(ctx, client, direct)
	require.ErrorIs(t, err, errNoAnswer)
	_, err = d.leftInQueues(ctx, conn)
	require.ErrorIs(t, err, errNoAnswer)
	_, _, err = d.deadLetters(ctx, conn)
	require.ErrorIs(t, err, errNoAnswer)
	_, _, err = d.connect(ctx)
	require.ErrorIs(t, err, errNoAnswer)

	require.NoError(t, between.Toxics.RemoveToxic(ctx, "silence"))
	closing, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_ = client.Close(closing) // what was sent may never be confirmed
	require.NoError(t, conn.Close(closing))
}

// A service that is killed after it has dead-lettered an order, and before the ack, does so again when it is back.
func TestDemoCountsAnOrderThatIsDeadLetteredTwiceOnce(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	d := &demonstration{
		app:    &cli.App{IO: &term.Streams{Err: io.Discard}},
		system: &system{url: broker}, patience: time.Minute,
	}
	conn, client, err := d.connect(ctx)
	require.NoError(t, err)
	defer func() {
		require.NoError(t, client.Close(ctx))
		require.NoError(t, conn.Close(ctx))
	}()
	channel, err := conn.Rabbit().Channel(ctx)
	require.NoError(t, err)
	const letters = "order.place.dlq"
	_, err = channel.QueueDeclare(letters, true, false, false, false, rabbit.Table{"x-queue-type": "quorum"})
	require.NoError(t, err)
	publisher := rabbit.NewPublisher(conn.Publishing(), rabbit.PublisherConfig{})
	for _, id := range []string{"1", "2", "1"} {
		require.NoError(t, publisher.Publish(ctx, &rabbit.Publication{RoutingKey: letters, Mandatory: true, Publishing: rabbit.Publishing{
			MessageId: id, Headers: rabbit.Table{"leveret-error-code": "invalid_argument"},
		}}))
	}
	require.NoError(t, publisher.Close(ctx))
	ids, codes, err := d.deadLetters(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"1": true, "2": true}, ids)
	require.Equal(t, map[string]int{"invalid_argument": 2}, codes)
}
