package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// requireChannels waits until so many channels are open in a virtual host.
func requireChannels(t *testing.T, url string, want int) {
	t.Helper()
	node, vhost := leverettest.Node(t), leverettest.VHost(t, url)
	last := -1
	for deadline := time.Now().Add(2 * time.Minute); last != want && time.Now().Before(deadline); {
		all, err := node.Ctl(within(t), "list_channels", "--silent", "vhost")
		require.NoError(t, err)
		last = 0
		for line := range strings.Lines(string(all)) {
			if strings.TrimSpace(line) == vhost {
				last++
			}
		}
	}
	require.Equal(t, want, last, "channels")
}

// Many publishers of a connection share a few channels, and each has a life and limits of its own.
func TestManyPublishers(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	network, through := proxied(t, url)
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}}), within(t)
	declare(t, conn, queue("q", "quorum"))
	const n = 20
	all := make([]*rabbit.Publisher, n)
	for i := range all {
		all[i] = rabbit.NewPublisher(conn, rabbit.PublisherConfig{MaxInFlight: 1 + i%2, MaxBody: 9 + i%2})
	}
	var sending sync.WaitGroup
	for i, p := range all {
		for k := range 5 {
			sending.Go(func() {
				m := to("q", fmt.Sprint(i, k))
				if k%2 == 1 {
					m.RoutingKey = "nobody"
				}
				if err := p.Publish(ctx, m); k%2 == 1 {
					assertIs(t, err, rabbit.ErrUnroutable)
				} else if err != nil {
					t.Errorf("%s: %v", m.MessageId, err)
				}
			})
		}
	}
	sending.Wait()
	requireChannels(t, url, 4+1) // and that of the declarer
	require.ErrorIs(t, all[0].Publish(ctx, to("q", "1234567890")), rabbit.ErrTooLarge)
	require.NoError(t, all[1].Publish(ctx, to("q", "1234567890")))

	// One that is closed while the broker is silent leaves the others what is theirs.
	network.stall(true)
	closed, others := make(chan error, n), make(chan error, n)
	for _, p := range all[:n/2] {
		go func() { closed <- p.Publish(ctx, to("q", "closed")) }()
	}
	for _, p := range all[n/2:] {
		go func() { others <- p.Publish(ctx, to("q", "other")) }()
	}
	for _, p := range all {
		require.Eventually(t, func() bool { return p.InFlight() == 1 }, 2*time.Minute, time.Millisecond)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	for _, p := range all[:n/2] {
		require.ErrorIs(t, p.Close(over), rabbit.ErrUnconfirmed)
		require.ErrorIs(t, <-closed, rabbit.ErrUnconfirmed)
		require.ErrorIs(t, p.Publish(ctx, to("q", "late")), rabbit.ErrClosed)
	}
	require.Empty(t, others)
	network.stall(false)
	for _, p := range all[n/2:] {
		require.NoError(t, <-others)
		closing(t, p)
	}
	requireChannels(t, url, 1)
	closing(t, all[0])
	again := publishing(t, conn, rabbit.PublisherConfig{})
	require.NoError(t, again.Publish(ctx, to("q", "again")))
}

func assertIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%v is not %v", err, want)
	}
}

// A pipeline that is not flushed keeps nobody else from publishing, and a message that the broker closes its channel for
// harms none of those that share it.
func TestPublishersDoNotHinderEachOther(t *testing.T) {
	t.Parallel()
	conn, ctx := connected(t), within(t)
	declare(t, conn, queue("q", "quorum"))
	var others []*rabbit.Publisher
	for range 8 {
		p := publishing(t, conn, rabbit.PublisherConfig{MaxInFlight: 3})
		others = append(others, p)
		l := p.Pipeline()
		for i := range 3 {
			m := to("q", fmt.Sprint(i))
			m.RoutingKey = "nobody"
			require.NoError(t, l.Publish(ctx, m, nil))
		}
		t.Cleanup(func() { require.ErrorIs(t, l.Flush(within(t)), rabbit.ErrUnroutable) })
	}
	free := make([]*rabbit.Publisher, 8)
	for i := range free {
		free[i] = publishing(t, conn, rabbit.PublisherConfig{})
	}
	for i := range 10 {
		bad := to("q", "bad")
		bad.Exchange = "missing"
		sent := make(chan error, 1)
		go func() { sent <- free[i%8].Publish(ctx, bad) }()
		require.NoError(t, free[(i+4)%8].Publish(ctx, to("q", "good")))
		require.ErrorIs(t, <-sent, rabbit.ErrNotFound)
	}
	require.Len(t, others, 8)
	require.Equal(t, 3, others[0].InFlight())
}
