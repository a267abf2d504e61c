//go:build unix

package devbroker_test

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/management"
)

// requirePrivate checks that other machines cannot reach a node, and that other users of this one cannot get in.
func requirePrivate(t *testing.T, b *devbroker.Broker) {
	t.Helper()
	dir := b.About().Dir
	all := processes(t, markOf(t, dir), dir)
	require.GreaterOrEqual(t, len(listeners(t, all)), 4, "AMQP, the management API, Erlang's distribution, epmd")
	for _, address := range listeners(t, all) {
		require.True(t, address.IP.IsLoopback(), "%v listens on %v", all, address)
	}
	// The node that rabbitmqctl is meanwhile is asked by the broker.
	interfaces, err := b.Ctl(t.Context(), "eval", "[rpc:call(N, application, get_env, [kernel, inet_dist_use_interface]) || N <- nodes(hidden)].")
	require.NoError(t, err)
	require.Equal(t, "[{ok,{127,0,0,1}}]", strings.TrimSpace(string(interfaces)))

	requireNoLogin(t, b, "guest")

	cookie, err := os.ReadFile(filepath.Join(dir, "home", ".erlang.cookie"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(cookie), 26, "128 bits in base 32")
	used, err := b.Ctl(t.Context(), "eval", "erlang:get_cookie().")
	require.NoError(t, err)
	require.Equal(t, string(cookie), strings.Trim(strings.TrimSpace(string(used)), "'"))
	secrets := []string{b.Password(), string(cookie)}
	for _, process := range all {
		requireNone(t, process, secrets, process)
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil //nolint:nilerr // the node removes files meanwhile
		}
		info, err := entry.Info()
		if err != nil || info.Mode().Perm()&0o077 == 0 {
			return nil //nolint:nilerr // as above
		}
		text, err := os.ReadFile(path) //nolint:gosec // in a folder of this test
		if err == nil {
			requireNone(t, string(text), secrets, path)
		}
		return nil
	}))
}

func requireNone(t *testing.T, text string, secrets []string, where string) {
	t.Helper()
	for _, secret := range secrets {
		require.NotContains(t, text, secret, where)
	}
}

// requireNoLogin checks that the node's user has another password, over AMQP and in the management API.
func requireNoLogin(t *testing.T, b *devbroker.Broker, password string) {
	t.Helper()
	u, err := url.Parse(b.URL())
	require.NoError(t, err)
	u.User = url.UserPassword(b.Username(), password)
	_, err = amqp.Dial(u.String())
	require.ErrorIs(t, err, amqp.ErrCredentials)
	api, err := management.New(management.Config{URL: b.ManagementURL(), Broker: u.String()})
	require.NoError(t, err)
	require.ErrorIs(t, api.Call(t.Context(), http.MethodGet, nil, nil, "overview"), management.ErrRefused)
}

// listeners returns the addresses at which processes listen, each given by its id and command.
func listeners(t *testing.T, processes []string) (addresses []*net.TCPAddr) {
	t.Helper()
	var sockets []string
	for _, process := range processes {
		pid, _, _ := strings.Cut(process, " ")
		files, err := filepath.Glob("/proc/" + pid + "/fd/*")
		require.NoError(t, err)
		for _, file := range files {
			target, _ := os.Readlink(file) // it may be closed by now
			if inode, found := strings.CutPrefix(target, "socket:["); found {
				sockets = append(sockets, strings.TrimSuffix(inode, "]"))
			}
		}
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			const listening = "0A"
			if f := strings.Fields(line); len(f) > 9 && f[3] == listening && slices.Contains(sockets, f[9]) {
				addresses = append(addresses, parseAddress(t, f[1]))
			}
		}
	}
	return addresses
}

// parseAddress parses an address of /proc/net/tcp: words of four bytes in the machine's order, which is taken to be
// little-endian, and a port.
func parseAddress(t *testing.T, text string) *net.TCPAddr {
	t.Helper()
	host, port, found := strings.Cut(text, ":")
	require.True(t, found)
	number, err := strconv.ParseUint(port, 16, 16)
	require.NoError(t, err)
	var ip net.IP
	for ; len(host) >= 8; host = host[8:] {
		for at := 6; at >= 0; at -= 2 {
			octet, err := strconv.ParseUint(host[at:at+2], 16, 8)
			require.NoError(t, err)
			ip = append(ip, byte(octet))
		}
	}
	return &net.TCPAddr{IP: ip, Port: int(number)}
}

// A kept folder remembers the password, another one can be chosen, and the one that RabbitMQ gives its user is replaced.
func TestPasswordOfAKeptFolder(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := filepath.Join(shortTempDir(t), "node")
	require.NoError(t, os.Mkdir(dir, 0o755)) //nolint:gosec // as a user makes it, who expects no password in it
	start := func(password string) *devbroker.Broker {
		b, err := devbroker.Start(ctx, devbroker.Config{Private: true, Dir: dir, KeepData: true, Password: password})
		require.NoError(t, err)
		t.Cleanup(func() { _ = b.Close(context.Background()) })
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
		require.Contains(t, b.URL(), fmt.Sprintf("amqp://guest:%s@", url.PathEscape(b.Password())))
		conn, err := amqp.Dial(b.URL())
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		return b
	}
	const chosen = `it's "mine" # $1`
	b := start(chosen)
	require.Equal(t, chosen, b.Password())
	require.NoError(t, b.Close(ctx))

	b = start("")
	require.Equal(t, chosen, b.Password())
	api, err := b.Management() // as an earlier version left the folder
	require.NoError(t, err)
	require.NoError(t, api.Call(ctx, http.MethodPut, map[string]string{"password": "guest", "tags": "administrator"}, nil, "users", "guest"))
	require.NoError(t, os.Remove(filepath.Join(dir, "password")))
	require.NoError(t, b.Close(ctx))

	b = start("")
	require.Regexp(t, `^[A-Z2-7]{26,}$`, b.Password())
	requireNoLogin(t, b, "guest")
	require.NoError(t, b.Close(ctx))
}
