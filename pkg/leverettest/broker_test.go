package leverettest_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

func connect(t *testing.T, url string) *leveret.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	return conn
}

// TestBrokersAreApart: two virtual hosts at once have the same queue, and in each is its own message alone.
func TestBrokersAreApart(t *testing.T) {
	t.Parallel()
	editor := leveret.NewService("editor", leveret.Sends(printPage))
	printer := leveret.NewService("press", leveret.Handles(printPage))
	conns := []*leveret.Conn{connect(t, leverettest.Broker(t)), connect(t, leverettest.Broker(t))}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // the brokers have taken their time before
	defer cancel()
	for i, conn := range conns {
		client, err := leveret.NewClient(conn, editor, leveret.ClientConfig{})
		require.NoError(t, err)
		require.NoError(t, printPage.Send(ctx, client, page{fmt.Sprint(i)}))
		require.NoError(t, client.Close(ctx))
	}
	for i, conn := range slices.Backward(conns) { // were it one queue, the message of the first would come first
		var got []string
		running, stop := context.WithCancel(ctx)
		h := leveret.NewHandlers(printer, leveret.HandlersConfig{})
		printPage.Handle(h, func(_ context.Context, p page) error { got = append(got, p.Text); stop(); return nil })
		w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
		require.NoError(t, err)
		require.NoError(t, w.Run(running))
		require.Equal(t, []string{fmt.Sprint(i)}, got)
	}
}

// TestBrokerIsGoneAfterwards: with everything in it, when its test has ended.
func TestBrokerIsGoneAfterwards(t *testing.T) { //nolint:tparallel // what is looked at is the end of the inner test
	t.Parallel()
	var url string
	t.Run("a test", func(t *testing.T) {
		url = leverettest.Broker(t)
		connect(t, url)
		require.Contains(t, vhosts(t), leverettest.VHost(t, url))
	})
	require.NotContains(t, vhosts(t), leverettest.VHost(t, url))
	_, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{url}})
	require.ErrorIs(t, err, leveret.ErrRefused)
}

func TestNodeIsOne(t *testing.T) {
	t.Parallel()
	node, same := leverettest.Node(t), leverettest.Node(t)
	require.Same(t, node, same)
	require.NotEmpty(t, node.Version())
	first, second := leverettest.Broker(t), leverettest.Broker(t)
	require.NotEqual(t, first, second)
}

func TestVHost(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"amqp://guest:guest@localhost:5672":       "/",
		"amqp://guest:guest@localhost:5672/":      "/",
		"amqp://guest:guest@localhost:5672/a":     "a",
		"amqp://guest:guest@localhost:5672/a%2Fb": "a/b",
	} {
		require.Equal(t, want, leverettest.VHost(t, url))
	}
}

// vhosts returns the names of the node's virtual hosts.
func vhosts(t *testing.T) []string {
	t.Helper()
	api, err := leverettest.Node(t).Management()
	require.NoError(t, err)
	var found []struct {
		Name string `json:"name"`
	}
	require.NoError(t, api.Call(t.Context(), http.MethodGet, nil, &found, "vhosts"))
	var names []string
	for _, v := range found {
		names = append(names, v.Name)
	}
	return names
}
