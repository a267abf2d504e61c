package cli_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/encrypted"
	"github.com/leveretmq/leveret/pkg/cli"
)

// withoutLogin is a URL that a flag takes. The login that is left out is the default one.
func withoutLogin(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	u.User = nil
	return u.String()
}

// The management API of an amqps broker is asked over https, with the same authorities.
func TestQueuesOverTLS(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	c := &command{args: []string{
		"queues", "--all", "--broker-url", withoutLogin(t, b.URL), "--broker-tls-ca-file", b.CAFile, "--broker-connect-timeout", "10s",
	}}
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Empty(t, c.err.String(), "the management API has answered")
	require.Zero(t, b.Dialed())

	// Without the authority, nothing is said to it.
	c = &command{args: []string{
		"queues", "--broker-url", withoutLogin(t, b.URL), "--broker-tls-server-name", "elsewhere", "--broker-connect-timeout", "10s",
	}}
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()), c.err.String())
	require.Zero(t, b.Dialed())
}

// An http address is obeyed, for who sets it may have a reason, with one warning.
func TestQueuesOverHTTPWhereThatIsConfigured(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	file := filepath.Join(t.TempDir(), "leveret.yaml")
	require.NoError(t, os.WriteFile(file, []byte("broker:\n  url: "+b.URL+"\n  management_url: "+b.Plain+"\n  tls: {ca_file: "+b.CAFile+"}\n"), 0o600))
	c := &command{args: []string{"queues", "--all", "--config", file}}
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Equal(t, "warning: the password is sent unencrypted to the management API at "+b.Plain+", though the broker's own URL is "+
		"encrypted; set broker.management_url to an https address\n", c.err.String())

	c = &command{args: []string{"contracts", "--config", file}}
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Empty(t, c.err.String(), "nothing is sent")
}

// A certificate that is not checked protects the password from nobody.
func TestInsecureWarns(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	c := &command{args: []string{"queues", "--all", "--broker-url", withoutLogin(t, b.URL), "--broker-tls-insecure", "--broker-connect-timeout", "10s"}}
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Equal(t, 1, strings.Count(c.err.String(), "\n"), c.err.String())
	require.Contains(t, c.err.String(), "warning: broker.tls.insecure is set: any certificate is accepted")
	require.Zero(t, b.Dialed())

	c = &command{args: []string{"contracts", "-o", "json", "--broker-url", withoutLogin(t, b.URL), "--broker-tls-insecure"}}
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Contains(t, c.err.String(), `{"warning":"broker.tls.insecure is set`)
}
