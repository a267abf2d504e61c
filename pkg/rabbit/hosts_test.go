package rabbit_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// silent is a host that accepts connections and says nothing.
func silent(t *testing.T) (host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.Addr().String()
}

// nobody is a host at which nothing listens. A port that was free a moment ago may be a parallel test's now.
const nobody = "127.0.0.1:9"

// The first host that works is used, whatever is wrong with the others.
func TestOneHostOfSeveralWorks(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	wrong, err := url.Parse(address)
	require.NoError(t, err)
	wrong.User = url.UserPassword("somebody", "hush")
	others := map[string]string{
		"silent":             "amqp://" + silent(t),
		"silent at TLS":      "amqps://" + silent(t),
		"closed port":        "amqp://" + nobody,
		"unknown name":       "amqp://no-such-host.invalid",
		"wrong password":     wrong.String(),
		"no virtual host":    address + "-not",
		"authority unknown":  "amqps://" + untrusted(t),
		"not an AMQP broker": strings.Replace(leverettest.Node(t).ManagementURL(), "http:", "amqp:", 1),
	}
	for name, other := range others {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			var failed atomic.Int64
			config := rabbit.Config{
				URLs: []string{other, address}, Backoff: rabbit.NewBackoff(0), DialTimeout: 10 * time.Second,
				OnFailure: func(error) { failed.Add(1) }, Logger: slog.New(slog.DiscardHandler),
			}
			for range 2 { // the second one asks first what works for the first one
				conn, err := rabbit.Dial(ctx, config)
				require.NoError(t, err)
				defer closing(t, conn)
				require.Contains(t, conn.State().Address, "/"+leverettest.VHost(t, address))
				require.EqualValues(t, 1, failed.Load())
			}
		})
	}
}

// untrusted is a host with a certificate of an authority that nobody knows.
func untrusted(t *testing.T) (host string) {
	t.Helper()
	a := newAuthority(t)
	a.issue(t, "broker", a)
	l, err := tls.Listen("tcp", "127.0.0.1:0", a.config(t, "broker"))
	require.NoError(t, err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).HandshakeContext(t.Context())
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.Addr().String()
}

// The error has a line for each host, in their order, and no password: each had its share of the time.
func TestNoHostOfSeveralWorks(t *testing.T) {
	t.Parallel()
	dead := []string{"amqp://u:hush@" + silent(t), "amqps://u:hush@" + silent(t) + "/v", "amqp://u:hush@" + nobody, "amqp://u:hush@no-such-host.invalid"}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	_, err := rabbit.Dial(ctx, rabbit.Config{URLs: dead, Logger: slog.New(slog.DiscardHandler)})
	require.ErrorIs(t, err, rabbit.ErrNotConnected)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	text := err.Error()
	for i, raw := range dead {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		text = strings.ReplaceAll(text, u.Host, "host-"+string(rune('a'+i)))
	}
	text = regexp.MustCompile(`(?m)lookup host-d.*$`).ReplaceAllString(text, "lookup host-d: it depends on the machine")
	require.Equal(t, `not connected to the broker: context deadline exceeded: none of 4 addresses works
  amqp://u@host-a: the host accepted the connection, but did not answer in time
  amqps://u@host-b/v: the host accepted the connection, but did not answer in time
  amqp://u@host-c: dial tcp host-c: connect: connection refused
  amqp://u@host-d:5672: dial tcp: lookup host-d: it depends on the machine`, text)
}

// A refusal is not tried again at the start, if no other host works.
func TestRefusedByOneHostAndNoOtherWorks(t *testing.T) {
	t.Parallel()
	wrong, err := url.Parse(leverettest.Broker(t))
	require.NoError(t, err)
	wrong.User = url.UserPassword("guest", "hush")
	_, err = rabbit.Dial(within(t), rabbit.Config{URLs: []string{wrong.String(), "amqp://" + nobody}})
	require.ErrorIs(t, err, rabbit.ErrRefused)
	require.Regexp(t, `^the broker refused access: none of 2 addresses works
  amqp://guest@[^ ]+: the broker refused the login [^\n]+
  amqp://guest@[^ ]+: dial tcp [^ ]+: connect: connection refused$`, err.Error())
	require.NotContains(t, err.Error(), "hush")
}

// A connection that is made again uses what Access returns then, and goes on with the addresses before where that makes
// no sense.
func TestAccess(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	network, through := proxied(t, user(t, address, ".*", ".*", ".*"))
	u, err := url.Parse(through)
	require.NoError(t, err)
	var now atomic.Value
	now.Store([]string{through})
	var log records
	conn := dial(t, rabbit.Config{Access: func() ([]string, *tls.Config) { return now.Load().([]string), nil }, Logger: log.logger()})
	again := func(life int) {
		t.Helper()
		network.cut()
		require.Eventually(t, func() bool { s := conn.State(); return s.Phase == rabbit.Connected && s.Lost == life }, 90*time.Second, time.Millisecond)
	}
	node, name := leverettest.Node(t), u.User.Username()
	manage(t, node, "PUT", map[string]string{"password": "pw2", "tags": ""}, "users", name)
	network.cut()
	require.Eventually(t, func() bool {
		s := conn.State()
		return s.Err != nil && strings.Contains(s.Err.Error(), "the broker refused the login")
	}, 90*time.Second, time.Millisecond)
	u.User = url.UserPassword(name, "pw2")
	now.Store([]string{u.String()})
	require.NoError(t, conn.Await(within(t)))
	again(2)

	now.Store([]string{"amqp://" + name + ":p%w@host"})
	again(3)
	require.NotZero(t, log.count("the broker's new addresses are not used"))
	require.Zero(t, log.count("p%w"))
}
