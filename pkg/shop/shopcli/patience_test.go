package shopcli

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

// Nothing waits forever for a broker that keeps connections open and does not answer.
func TestDemoWhoseBrokerIsSilent(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	d := &demonstration{
		app:    &cli.App{IO: &term.Streams{Err: io.Discard}},
		system: &system{broker: b, url: b.URL()}, patience: time.Minute,
	}
	conn, client, err := d.connect(ctx)
	require.NoError(t, err)
	orders, err := placements(fewestOrders, customers, "tok_mine")
	require.NoError(t, err)
	direct := orders[slices.IndexFunc(orders, func(o placement) bool { return o.direct })]

	require.NoError(t, b.Pause())
	d.patience = 50 * time.Millisecond
	_, _, err = d.placeOne(ctx, client, direct)
	require.ErrorIs(t, err, errNoAnswer)
	_, err = d.leftInQueues(ctx, conn)
	require.ErrorIs(t, err, errNoAnswer)
	_, _, err = d.deadLetters(ctx, conn)
	require.ErrorIs(t, err, errNoAnswer)
	_, _, err = d.connect(ctx)
	require.ErrorIs(t, err, errNoAnswer)

	require.NoError(t, b.Resume())
	closing, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_ = client.Close(closing) // what was sent may never be confirmed
	require.NoError(t, conn.Close(closing))
}
