package management_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/encrypted"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/management"
)

// Of several nodes the next one is asked where one cannot be reached, and the one that answered is asked first then.
func TestSeveralNodes(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	secured, err := config.TLS{CAFile: b.CAFile}.ClientConfig()
	require.NoError(t, err)
	n := make([]byte, 3)
	_, _ = rand.Read(n)
	host := net.IPv4(127, 1+n[0]%254, n[1], 1+n[2]%254).String()
	var asked atomic.Int64
	access := func(hosts ...string) management.Config {
		return management.Config{Timeout: time.Minute, Access: func() ([]string, *tls.Config) { return hosts, secured }}
	}
	dead := "amqps://ada:hunter2@" + host
	c, err := management.New(access(dead, b.URL))
	require.NoError(t, err)
	require.Equal(t, "https://"+host+":15671", c.URL())
	_, err = c.Queues(t.Context(), b.VHost)
	require.NoError(t, err, "nothing listens at the first one")

	l, err := net.Listen("tcp", host+":15671")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for { // it says nothing
			if _, err := l.Accept(); err != nil {
				return
			}
			asked.Add(1)
		}
	}()
	requireAsked := func(want int64) { // it counts in a goroutine of its own
		t.Helper()
		require.Eventually(t, func() bool { return asked.Load() == want }, time.Minute, time.Millisecond)
	}
	_, err = c.Queues(t.Context(), b.VHost)
	require.NoError(t, err)
	require.Zero(t, asked.Load(), "the second one has answered before")

	c, err = management.New(access(dead, b.URL))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = c.Queues(ctx, b.VHost)
	require.NoError(t, err, "the silent one has its share of the time")
	requireAsked(1)

	c, err = management.New(access(dead, strings.Replace(dead, host, "127.0.0.1", 1)))
	require.NoError(t, err)
	ctx, cancel = context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	_, err = c.Queues(ctx, b.VHost)
	require.ErrorIs(t, err, management.ErrUnreachable)
	require.Regexp(t, `^the management API at https://127[^\n]+ cannot be reached: [^\n]+\nthe management API at https://127.0.0.1:15671 cannot be reached: [^\n]+$`, err.Error())
	require.NotContains(t, err.Error(), "hunter2")

	requireAsked(2)
	c, err = management.New(access(dead, b.URL))
	require.NoError(t, err)
	ctx, cancel = context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	require.ErrorIs(t, c.Call(ctx, http.MethodPost, nil, nil, "nothing"), management.ErrUnreachable, "it may have been done")
	requireAsked(3)
}

// Each request uses the password and the authorities of that time.
func TestRotation(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	api, err := leverettest.Node(t).Management()
	require.NoError(t, err)
	name := "rotating-" + rand.Text()
	change := func(password string) {
		require.NoError(t, api.Call(t.Context(), http.MethodPut, map[string]string{"password": password, "tags": "monitoring"}, nil, "users", name))
	}
	change("one")
	t.Cleanup(func() {
		require.NoError(t, api.Call(context.WithoutCancel(t.Context()), http.MethodDelete, nil, nil, "users", name))
	})
	u, err := url.Parse(b.URL)
	require.NoError(t, err)
	password, authority := "one", b.CAFile
	c, err := management.New(management.Config{Access: func() ([]string, *tls.Config) {
		u.User = url.UserPassword(name, password)
		secured, err := config.TLS{CAFile: authority}.ClientConfig()
		require.NoError(t, err)
		return []string{u.String()}, secured
	}})
	require.NoError(t, err)
	ask := func() error { return c.Call(t.Context(), http.MethodGet, nil, nil, "whoami") }
	require.NoError(t, ask())
	change("two")
	require.ErrorIs(t, ask(), management.ErrRefused)
	password = "two"
	require.NoError(t, ask())
	renewed := b.Renew(t)
	require.ErrorContains(t, ask(), "certificate signed by unknown authority")
	authority = renewed
	require.NoError(t, ask())
}
