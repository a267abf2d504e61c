package management_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/management"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what takes milliseconds on an idle machine.
const patience = 30 * time.Second

func api(t *testing.T) *management.Client {
	t.Helper()
	c, err := leverettest.Node(t).Management()
	require.NoError(t, err)
	return c
}

func TestQueuesPageByPage(t *testing.T) {
	t.Parallel()
	c, vhost := api(t), leverettest.VHost(t, leverettest.Broker(t))
	c.SetPageSize(2)
	none, err := c.Queues(t.Context(), vhost)
	require.NoError(t, err)
	require.Empty(t, none)

	for i := range 5 {
		name := fmt.Sprintf("a/b %%%d", i) // which a path must escape
		require.NoError(t, c.Call(t.Context(), http.MethodPut, map[string]any{"durable": true}, nil, "queues", vhost, name))
	}
	var found map[string]management.Queue
	require.Eventually(t, func() bool {
		found, err = c.Queues(t.Context(), vhost)
		require.NoError(t, err)
		q := found["a/b %4"]
		return len(found) == 5 && q.Ready != nil && *q.Ready == 0 && q.Consumers != nil
	}, patience, 50*time.Millisecond)
	require.Nil(t, found["a/b %0"].In(), "nothing was published, so nothing was counted")
}

func TestRefusedAndMissing(t *testing.T) {
	t.Parallel()
	node := leverettest.Node(t)
	wrong, err := management.New(management.Config{URL: strings.Replace(node.ManagementURL(), "//", "//ada:hunter2@", 1)})
	require.NoError(t, err)
	_, err = wrong.Queues(t.Context(), "/")
	require.ErrorIs(t, err, management.ErrRefused)
	require.ErrorContains(t, err, "refuses the user ada (401): the password is wrong, or the user has no tag monitoring or management")
	require.NotContains(t, err.Error(), "hunter2")

	err = api(t).Call(t.Context(), http.MethodDelete, nil, nil, "vhosts", "nowhere")
	require.ErrorIs(t, err, management.ErrNotFound)
	require.ErrorContains(t, err, "/api/vhosts/nowhere")

	err = api(t).Call(t.Context(), http.MethodPut, map[string]any{"x": 1}, nil, "permissions", "/", "guest")
	require.ErrorContains(t, err, "answered 400 Bad Request: ", "with the broker's own reason")
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // it accepts and says nothing
	require.NoError(t, err)
	defer l.Close()
	c, err := management.New(management.Config{URL: "http://ada:hunter2@" + l.Addr().String(), Timeout: 10 * time.Millisecond})
	require.NoError(t, err)
	_, err = c.Queues(t.Context(), "/")
	require.ErrorIs(t, err, management.ErrUnreachable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotContains(t, err.Error(), "hunter2")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err = management.New(management.Config{URL: "http://" + l.Addr().String()})
	require.NoError(t, err)
	_, err = c.Queues(ctx, "/")
	require.ErrorIs(t, err, context.Canceled)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	page := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }))
	defer page.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(page.Certificate())
	for _, c := range []struct {
		tls  *tls.Config
		want string
	}{
		{nil, "cannot be reached: tls: failed to verify certificate"},
		{&tls.Config{RootCAs: trusted}, "what answers at " + page.URL + " is not a management API"},
	} {
		client, err := management.New(management.Config{URL: page.URL, TLS: c.tls})
		require.NoError(t, err)
		_, err = client.Queues(t.Context(), "/")
		require.ErrorContains(t, err, c.want)
	}
}

func TestNoURL(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "localhost:15672", "amqp://localhost", "http://", "http://ada:hunter2@[::1"} {
		_, err := management.New(management.Config{URL: wrong})
		require.ErrorContains(t, err, "must look like http://host:15672", wrong)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
