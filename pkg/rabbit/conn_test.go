package rabbit_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

func TestDialRefused(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	spoiled := func(change func(*url.URL)) string {
		u, err := url.Parse(address)
		require.NoError(t, err)
		change(u)
		return u.String()
	}
	for name, c := range map[string]struct{ address, says string }{
		"password": {spoiled(func(u *url.URL) { u.User = url.UserPassword("guest", "hush") }), "login"},
		"vhost":    {spoiled(func(u *url.URL) { u.Path = "/no-such-vhost" }), "virtual host"},
		"access":   {spoiled(func(u *url.URL) { u.Path, u.User = "/", url.UserPassword(nobodys(t, address)) }), "virtual host"},
		"external": {address + "?auth_mechanism=external", "log in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := rabbit.Dial(within(t), rabbit.Config{URLs: []string{c.address}})
			require.ErrorIs(t, err, rabbit.ErrRefused)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "hush")
			require.NotContains(t, err.Error(), "was lost", "the broker says so; it does not just hang up, after 3 s")
		})
	}
}

// nobodys are name and password of a user who may enter only one virtual host.
func nobodys(t *testing.T, address string) (name, password string) {
	t.Helper()
	u, err := url.Parse(user(t, address, "", "", ""))
	require.NoError(t, err)
	password, _ = u.User.Password()
	return u.User.Username(), password
}

// A connection that breaks in the middle of the login is no wrong password.
func TestDialThroughAConnectionThatBreaksAtLogin(t *testing.T) {
	t.Parallel()
	upstream, err := url.Parse(leverettest.Broker(t))
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	defer served.Wait()
	defer listener.Close()
	served.Go(func() {
		for { // passes what the broker says first, and then hangs up
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", upstream.Host)
			if err == nil {
				buffer := make([]byte, 8)
				_, _ = near.Read(buffer)
				_, _ = far.Write(buffer)
				start := make([]byte, 4096)
				n, _ := far.Read(start)
				_, _ = near.Write(start[:n])
				_, _ = near.Read(start)
				far.Close()
			}
			near.Close()
		}
	})
	broken := *upstream
	broken.Host = listener.Addr().String()
	err = requireTriedAgain(t, rabbit.Config{URLs: []string{broken.String()}}, "lost during the login")
	require.NotErrorIs(t, err, rabbit.ErrRefused)

	// With another address beside it, it does no harm.
	conn := dial(t, rabbit.Config{URLs: []string{broken.String(), upstream.String()}})
	require.Contains(t, conn.State().Address, upstream.Host)
}

func TestDialTriesAllAddressesAndComesBackByAny(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	one, first := proxied(t, address)
	two, second := proxied(t, address)
	var failures atomic.Int64
	one.refuse(true)
	conn := dial(t, rabbit.Config{
		URLs: []string{"amqp://" + nobody, first, second}, Backoff: rabbit.NewBackoff(50 * time.Millisecond),
		OnFailure: func(error) { failures.Add(1) },
	})
	host := func(raw string) string {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		return u.Host
	}
	state := conn.State()
	require.Equal(t, rabbit.Connected, state.Phase)
	require.Equal(t, "connected", state.Phase.String())
	require.Contains(t, state.Address, host(second))
	require.Equal(t, leverettest.Node(t).Version(), state.Version)
	require.EqualValues(t, 2, failures.Load())

	one.refuse(false)
	two.refuse(true)
	two.cut()
	require.Eventually(t, func() bool {
		s := conn.State()
		return s.Phase == rabbit.Connected && s.Lost == 1
	}, 2*time.Minute, time.Millisecond)
	require.Contains(t, conn.State().Address, host(first))

	closing(t, conn)
	require.Equal(t, rabbit.Closed, conn.State().Phase)
	_, err := conn.Channel(within(t))
	require.ErrorIs(t, err, rabbit.ErrClosed)
	closing(t, conn)
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	require.NoError(t, err)
	defer silent.Close()
	ctx, cancel := context.WithTimeout(within(t), 100*time.Millisecond)
	defer cancel()
	_, err = rabbit.Dial(ctx, rabbit.Config{URLs: []string{"amqp://u:hush@" + silent.Addr().String()}})
	require.ErrorIs(t, err, rabbit.ErrNotConnected)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotContains(t, err.Error(), "hush")
}

// Of two connections that cannot be made, one finds that the broker is there: the other does not wait for its own turn.
func TestConnectionsThatShareABackoffComeBackTogether(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	network, through := proxied(t, address)
	network.refuse(true)
	backoff, failed, dialed := rabbit.NewSlowBackoff(1000*time.Hour), make(chan error, 1), make(chan error, 1)
	ctx := within(t)
	go func() {
		conn, err := rabbit.Dial(ctx, rabbit.Config{URLs: []string{through}, Backoff: backoff, OnFailure: func(err error) { failed <- err }})
		if err == nil {
			err = conn.Close(ctx)
		}
		dialed <- err
	}()
	require.Error(t, <-failed)
	network.refuse(false)
	dial(t, rabbit.Config{URLs: []string{address}, Backoff: backoff})
	require.NoError(t, <-dialed)
}

// A connection that is made and lost at once, again and again, is no hot loop.
func TestReconnectingBacksOff(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn := dial(t, rabbit.Config{URLs: []string{through}})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for enough := time.Now().Add(2 * time.Second); time.Now().Before(enough); <-tick.C {
		if conn.State().Phase == rabbit.Connected {
			network.cut()
		}
	}
	// Without the pauses there would be some hundred.
	require.Less(t, conn.State().Lost, 20)
	require.Eventually(t, func() bool { return conn.State().Lost > 0 }, 30*time.Second, time.Millisecond)
}

func TestCredentialsAreNotLogged(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(user(t, leverettest.Broker(t), ".*", ".*", ".*"))
	require.NoError(t, err)
	password, _ := u.User.Password()
	network, through := proxied(t, u.String())
	var log bytes.Buffer
	conn, err := rabbit.Dial(within(t), rabbit.Config{
		URLs: []string{through}, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	network.refuse(true)
	network.cut()
	require.Eventually(t, func() bool { return conn.State().Phase == rabbit.Connecting && conn.State().Err != nil }, 30*time.Second, time.Millisecond)
	network.refuse(false)
	require.Eventually(t, func() bool { return conn.State().Phase == rabbit.Connected }, 30*time.Second, time.Millisecond)
	closing(t, conn)
	require.Contains(t, log.String(), u.User.Username())
	require.NotContains(t, log.String(), ":"+password)
}

// A program that nobody watches says at least why it waits.
func TestABrokerThatIsNotThereIsWarnedOf(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	network.refuse(true)
	u, err := url.Parse(through)
	require.NoError(t, err)
	u.User = url.UserPassword("somebody", "hush")
	var log records
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	dialed := make(chan error, 1)
	go func() {
		_, err := rabbit.Dial(ctx, rabbit.Config{URLs: []string{u.String()}, Logger: log.logger()})
		dialed <- err
	}()
	require.Eventually(t, func() bool { return log.count(`msg="cannot connect"`) >= 3 }, time.Minute, time.Millisecond, "each try is logged, at a lower level")
	cancel()
	require.ErrorIs(t, <-dialed, rabbit.ErrNotConnected)
	require.Equal(t, 1, log.count("cannot connect to the broker; trying again"))
	require.NotZero(t, log.count(u.Host))
	require.Zero(t, log.count("hush"))
}

// Heartbeats find out that nothing comes any more.
func TestAStalledConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, ctx := dial(t, rabbit.Config{URLs: []string{through}, Heartbeat: time.Second, DialTimeout: time.Second}), within(t)
	declare(t, conn, queue("q", "quorum"))
	p := publishing(t, conn, rabbit.PublisherConfig{})
	require.NoError(t, p.Publish(ctx, to("q", "1")))
	lost := conn.State().Lost // so short a heartbeat may cost connections before
	network.stall(true)
	published := make(chan error, 1)
	go func() { published <- p.Publish(ctx, to("q", "2")) }()
	require.Eventually(t, func() bool { return conn.State().Lost > lost }, 30*time.Second, time.Millisecond)
	network.stall(false)
	require.NoError(t, <-published)
}

func TestCloseCutsWhatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	network, through := proxied(t, leverettest.Broker(t))
	conn, err := rabbit.Dial(within(t), rabbit.Config{URLs: []string{through}})
	require.NoError(t, err)
	network.stall(true)
	ctx, cancel := context.WithTimeout(within(t), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, conn.Close(ctx), context.DeadlineExceeded)
	require.Equal(t, rabbit.Closed, conn.State().Phase)
	network.stall(false)
}
