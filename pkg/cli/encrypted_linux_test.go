package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/encrypted"
	"github.com/leveretmq/leveret/pkg/cli"
)

// settings writes a file with the broker's URL, whose password belongs in no flag, and with more about the broker.
func settings(t *testing.T, b *encrypted.Broker, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "leveret.yaml")
	require.NoError(t, os.WriteFile(file, []byte("broker:\n  url: "+b.URL+"\n  connect_timeout: 10s\n"+more), 0o600))
	return file
}

// The management API of an amqps broker is asked over https, with the same authorities.
func TestQueuesOverTLS(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	file := settings(t, b, "")
	c := &command{args: []string{"queues", "--all", "--config", file, "--broker-tls-ca-file", b.CAFile}}
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Empty(t, c.err.String(), "the management API has answered")
	require.Zero(t, b.Dialed())

	// Without the authority, nothing is said to it.
	c = &command{args: []string{"queues", "--config", file, "--broker-tls-server-name", "elsewhere"}}
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()), c.err.String())
	require.Zero(t, b.Dialed())
}

// An http address is obeyed, since there may be a reason for it, but with a warning.
func TestQueuesOverHTTPWhereThatIsConfigured(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	file := settings(t, b, "  management_url: "+b.Plain+"\n  tls: {ca_file: "+b.CAFile+"}\n")
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
	file := settings(t, b, "")
	c := &command{args: []string{"queues", "--all", "--config", file, "--broker-tls-insecure"}}
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Equal(t, 1, strings.Count(c.err.String(), "\n"), c.err.String())
	require.Contains(t, c.err.String(), "warning: broker.tls.insecure is set: any certificate is accepted")
	require.Zero(t, b.Dialed())

	c = &command{args: []string{"contracts", "-o", "json", "--config", file, "--broker-tls-insecure"}}
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Contains(t, c.err.String(), `{"warning":"broker.tls.insecure is set`)
}
