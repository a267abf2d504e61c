package cli_test

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/encrypted"
	"github.com/leveretmq/leveret/pkg/cli"
)

// A command that runs for long goes on when the password and the authority of the broker are replaced, over AMQP and over
// the management API.
func TestWatchThroughARotation(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	name, dir := "watcher-"+b.VHost, t.TempDir()
	setPassword := func(password string) {
		manage(t, http.MethodPut, map[string]string{"password": password, "tags": "monitoring"}, "users", name)
	}
	setPassword("first-secret")
	t.Cleanup(func() { manage(t, http.MethodDelete, nil, "users", name) })
	manage(t, http.MethodPut, map[string]string{"configure": ".*", "write": ".*", "read": ".*"}, "permissions", b.VHost, name)
	password, authority := filepath.Join(dir, "password"), filepath.Join(dir, "ca.pem")
	write := func(file, content string) { require.NoError(t, os.WriteFile(file, []byte(content), 0o600)) }
	content := func(file string) string {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(text)
	}
	write(password, "first-secret\n")
	write(authority, content(b.CAFile))
	u, err := url.Parse(b.URL)
	require.NoError(t, err)
	u.User = url.User(name)

	c := &command{args: []string{
		"queues", "oven.bake", "--watch=100ms", "-o", "jsonl", "--broker-url", u.String(), "--broker-password-file", password,
		"--broker-tls-ca-file", authority, "--broker-connect-timeout", "10s", "--log-level", "info",
	}}
	require.Equal(t, cli.ExitOK, (&command{args: []string{
		"send", "oven.bake", aPie, "--broker-url", u.String(), "--broker-password-file", password, "--broker-tls-ca-file", authority,
	}}).run(t.Context()))
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	ended := make(chan cli.ExitCode, 1)
	go func() { ended <- c.run(ctx) }()
	goesOn := func() { // more samples with what only the management API knows
		t.Helper()
		seen := func() int { return strings.Count(c.out.String(), `"unacked":0`) }
		before := seen()
		require.Eventually(t, func() bool { return seen() > before+1 }, patience, tick, "%s\n%s", c.out.String(), c.err.String())
	}
	says := func(what string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(c.err.String(), what) }, patience, tick, "%s\n%s", what, c.err.String())
	}
	goesOn()

	setPassword("second-secret")
	write(password, "")
	b.Cut()
	says("cannot read the broker's password again; using the one before")
	write(password, "second-secret\n")
	says("broker's password read again")
	goesOn()

	next := content(b.Renew(t))
	write(authority, next[:len(next)/2])
	b.Cut()
	says("cannot read the broker's authority again; using the one before")
	write(authority, next)
	says("broker's authority read again")
	goesOn()

	ctrlC()
	require.Equal(t, cli.ExitOK, <-ended, c.err.String())
	require.NotContains(t, c.err.String(), "-secret")
}
