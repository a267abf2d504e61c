package management_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/management"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

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

// RabbitMQ 4.3 takes no regular expression of more than 1,024 bytes.
func TestQueuesByName(t *testing.T) {
	t.Parallel()
	c, vhost := api(t), leverettest.VHost(t, leverettest.Broker(t))
	declare := func(name string) {
		t.Helper()
		require.NoError(t, c.Call(t.Context(), http.MethodPut, map[string]any{"durable": true}, nil, "queues", vhost, name))
	}
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("%d.%s", i, strings.Repeat("name", 2*i)))
		declare(names[i])
	}
	declare("x" + names[0])
	require.Eventually(t, func() bool {
		found, err := c.Queues(t.Context(), vhost, append([]string{"none"}, names...)...)
		require.NoError(t, err)
		return slices.Equal(slices.Sorted(maps.Keys(found)), slices.Sorted(slices.Values(names)))
	}, patience, 50*time.Millisecond)
	found, err := c.Queues(t.Context(), vhost, names[0])
	require.NoError(t, err)
	require.Equal(t, names[:1], slices.Collect(maps.Keys(found)))
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

// One that stops in the middle of an answer is not there; the next node may be.
func TestHalfAnAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`[{"name": "rabbit@a"}`))
	}))
	t.Cleanup(server.Close)
	c, err := management.New(management.Config{URL: server.URL})
	require.NoError(t, err)
	_, err = c.Nodes(t.Context())
	require.ErrorIs(t, err, management.ErrUnreachable)
	require.NotContains(t, err.Error(), "not a management API")
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
		require.ErrorContains(t, err, "must look like https://host:15671 or http://host:15672", wrong)
		require.NotContains(t, err.Error(), "hunter2")
	}
	for _, wrong := range []string{"localhost:5672", "http://localhost", "amqp://", "amqp://ada:hunter2@[::1"} {
		_, err := management.New(management.Config{URL: "http://localhost", Broker: wrong})
		require.ErrorContains(t, err, "must look like amqps://user:password@host:port/vhost", wrong)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// The password is as safe on its way to the management API as on its way to the broker, unless the user chose
// otherwise.
func TestAddress(t *testing.T) {
	t.Parallel()
	const warning = "the password is sent unencrypted to the management API at http://"
	for _, c := range []struct{ broker, url, want, warning string }{
		{broker: "amqps://rabbit", want: "https://rabbit:15671"},
		{broker: "amqps://ada:hunter2@rabbit:5672/shop", want: "https://rabbit:15671"},
		{broker: "amqps://[::1]:5671", want: "https://[::1]:15671"},
		{broker: "amqp://rabbit:5671", want: "http://rabbit:15672"},
		{broker: "amqp://[::1]", want: "http://[::1]:15672"},
		{broker: "amqp://rabbit", url: "http://other:1/path/", want: "http://other:1/path"},
		{broker: "amqp://rabbit", url: "https://other", want: "https://other"},
		{broker: "amqps://rabbit", url: "https://ada:hunter2@other/?x=hunter2#hunter2", want: "https://other"},
		{broker: "amqps://rabbit", url: "http://ada:hunter2@other", want: "http://other", warning: warning + "other, though"},
		{broker: "amqps://rabbit", url: "HTTP://127.0.0.1:15672", want: "http://127.0.0.1:15672", warning: warning},
		{url: "http://other", want: "http://other"},
		{broker: "amqp://127.0.0.1:5672", want: "http://127.0.0.1:15672"},
		{broker: "amqps://LOCALHOST:5671", want: "https://LOCALHOST:15671"},
		{broker: "amqp://127.0.0.1:5673", want: ""},
		{broker: "amqps://[::1]:1", want: ""},
		{broker: "amqp://Localhost:15672", want: ""},
		{broker: "amqp://localhost.example:5673", want: "http://localhost.example:15672"},
		{broker: "amqp://127.0.0.1:5673", url: "http://127.0.0.1:15672", want: "http://127.0.0.1:15672"},
	} {
		client, err := management.New(management.Config{Broker: c.broker, URL: c.url})
		require.NoError(t, err)
		require.Equal(t, c.want, client.URL())
		if c.warning == "" {
			require.Empty(t, client.Warning(), c)
		}
		require.Contains(t, client.Warning(), c.warning)
	}
}

// Behind another port of this machine is a tunnel, or one broker of several: the login is for none of the others.
func TestNoAddress(t *testing.T) {
	t.Parallel()
	client, err := management.New(management.Config{Broker: "amqp://ada:hunter2@127.0.0.1:5673/v"})
	require.NoError(t, err)
	_, err = client.Nodes(t.Context())
	require.ErrorIs(t, err, management.ErrUnreachable)
	require.EqualError(t, err, "the management API of the broker at 127.0.0.1:5673 cannot be reached: "+
		"on this machine, another port than 5672 and 5671 does not say where it is")
}

// A recorder is a server that keeps what requests say about the user.
type recorder struct {
	*httptest.Server
	logins chan string // "" for a request without a login
}

func record(t *testing.T, start func(http.Handler) *httptest.Server, answer http.HandlerFunc) *recorder {
	t.Helper()
	r := &recorder{logins: make(chan string, 10)}
	r.Server = start(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		name, password, _ := request.BasicAuth()
		r.logins <- strings.Trim(name+":"+password, ":")
		answer(w, request)
	}))
	t.Cleanup(r.Close)
	return r
}

func empty(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"page_count": 0}`) }

func TestLogin(t *testing.T) {
	t.Parallel()
	api := record(t, httptest.NewServer, empty)
	for _, c := range []struct{ broker, user, want string }{
		{"amqp://rabbit", "", "guest:guest"},
		{"amqp://ada@rabbit", "", "ada:guest"}, // as AMQP clients do
		{"amqp://ada:@rabbit", "", "ada"},
		{"amqp://ada:hunter2@rabbit", "", "ada:hunter2"},
		{"amqps://ada:hunter%2f2@rabbit", "", "ada:hunter/2"},
		{"amqp://ada:hunter2@rabbit", "eve:secret@", "eve:secret"},
		{"amqp://ada:hunter2@rabbit", "eve@", "eve"},
	} {
		client, err := management.New(management.Config{Broker: c.broker, URL: strings.Replace(api.URL, "//", "//"+c.user, 1)})
		require.NoError(t, err)
		_, err = client.Queues(t.Context(), "/")
		require.NoError(t, err)
		require.Equal(t, c.want, <-api.logins)
	}
}

// Not even to another port of the same host: net/http would send a password on there, from https to http.
func TestNoRedirectIsFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		elsewhere := record(t, httptest.NewServer, empty)
		api := record(t, httptest.NewTLSServer, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.Replace(elsewhere.URL, "//", "//x:hunter2@", 1)+r.URL.Path+"?hunter2", status) //nolint:gosec // that is what must not work
		})
		trusted := x509.NewCertPool()
		trusted.AddCert(api.Certificate())
		client, err := management.New(management.Config{URL: api.URL, TLS: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}})
		require.NoError(t, err)
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			err = client.Call(t.Context(), method, struct{}{}, nil, "vhosts", "x")
			require.ErrorContains(t, err, fmt.Sprintf("answered %d", status))
			require.ErrorContains(t, err, fmt.Sprintf("a redirect to %q, which is not followed", elsewhere.URL))
			require.NotContains(t, err.Error(), "hunter2")
		}
		require.Len(t, api.logins, 2)
		require.Empty(t, elsewhere.logins)
	}
}

// A proxy would read the password. Like the broker, the API is reached directly.
func TestNoProxyIsUsed(t *testing.T) {
	api, proxy := record(t, httptest.NewServer, empty), record(t, httptest.NewServer, empty)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	// This machine, but not by an address that is exempt from proxies.
	client, err := management.New(management.Config{URL: strings.Replace(api.URL, "127.0.0.1", "0.0.0.0", 1)})
	require.NoError(t, err)
	_, err = client.Queues(t.Context(), "/")
	require.NoError(t, err)
	require.Len(t, api.logins, 1)
	require.Empty(t, proxy.logins)
}

// Arguments and policies may hold numbers of 64 bits.
func TestDigitsAreKept(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/bindings") {
			_, _ = w.Write([]byte(`[{"source":"a","routing_key":"b","arguments":{"id":1541815603606036481}}]`))
			return
		}
		_, _ = w.Write([]byte(`{"arguments":{"n":9007199254740993},"effective_policy_definition":{"n":18446744073709551615,"half":0.5}}`))
	}))
	t.Cleanup(server.Close)
	c, err := management.New(management.Config{URL: server.URL})
	require.NoError(t, err)
	q, err := c.Details(t.Context(), "/", "q")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"n": json.Number("9007199254740993")}, q.Arguments)
	require.Equal(t, map[string]any{"n": json.Number("18446744073709551615"), "half": json.Number("0.5")}, q.Effective.Value)
	bindings, err := c.Bindings(t.Context(), "/", "q")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"id": json.Number("1541815603606036481")}, bindings[0].Arguments)
}
