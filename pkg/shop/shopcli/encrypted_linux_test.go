package shopcli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/encrypted"
)

// on makes the command use a broker that only TLS reaches, with its authority at a relative path.
func (c *commandLine) on(t *testing.T, b *encrypted.Broker) {
	t.Helper()
	file, err := filepath.Rel(c.Dir, b.CAFile)
	require.NoError(t, err)
	c.Env = append(c.Env, "LEVERET_BROKER_URL="+b.URL, "LEVERET_BROKER_TLS_CA_FILE="+file)
}

// The demo, its services, and the management API that makes its virtual host: all by TLS, with broker.tls.
func TestDemoOverTLS(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	c := command(t, "demo", "--orders", "30", "--timeout", "10m", "-o", "json")
	c.on(t, b)
	require.NoError(t, c.Run(), "%s%s", c.out, c.err)
	require.Contains(t, c.out.String(), `"ok": true`)
	require.Contains(t, c.err.String(), "management UI "+b.Management)
	require.NotContains(t, c.err.String(), "unencrypted")
	require.Zero(t, b.Dialed(), "nothing was said in clear text")
	c.requireNoTrace(t)
}

func TestDevOverTLS(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	c := command(t, "dev")
	c.on(t, b)
	require.NoError(t, c.Start())
	all := regexp.MustCompile(`the REST API, now that all services are ready`)
	require.Eventually(t, func() bool { return all.MatchString(c.err.String()) }, patience, 10*time.Millisecond, "%s%s", c.out, c.err)

	// The command that it prints works in every folder.
	file := regexp.MustCompile(`export LEVERET_CONFIG=([^\s\\]+)`).FindStringSubmatch(c.err.String())
	require.NotNil(t, file, c.err.String())
	look := command(t, "--config", file[1], "queues", "--all", "-o", "jsonl")
	require.NoError(t, look.Run(), look.err.String())
	require.Contains(t, look.out.String(), `"order.place"`)
	require.Empty(t, look.err.String())
	require.Zero(t, b.Dialed(), "nothing was said in clear text")

	require.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGINT))
	require.Equal(t, 0, c.exitCode(t), c.err.String())
	c.requireNoTrace(t)
}

// A demo that does not check the broker's certificate says so once, and so does each of its services in its log.
func TestDemoThatIsInsecure(t *testing.T) {
	t.Parallel()
	b := encrypted.New(t)
	c := command(t, "demo", "--orders", "30", "--timeout", "1ms") // it fails, and keeps the logs
	c.Env = append(c.Env, "LEVERET_BROKER_URL="+b.URL, "LEVERET_BROKER_TLS_INSECURE=true", "LEVERET_BROKER_MANAGEMENT_URL="+b.Plain)
	require.NoError(t, c.Start())
	require.Equal(t, 1, c.exitCode(t), c.err.String())
	require.Equal(t, 1, strings.Count(c.err.String(), "warning: broker.tls.insecure is set"), c.err.String())
	require.Equal(t, 1, strings.Count(c.err.String(), "warning: the password is sent unencrypted to the management API at "+b.Plain), c.err.String())
	require.NotZero(t, b.Dialed(), "it was configured")
	kept := regexp.MustCompile(`kept in ([^"\s]+)`).FindStringSubmatch(c.err.String())
	require.NotNil(t, kept, c.err.String())
	log, err := os.ReadFile(filepath.Join(kept[1], "order.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), `"msg":"any certificate is accepted from the broker, so an impostor could read the password"`)
	c.requireEvidence(t, "order.log")
}

// What compare measures is plain, so it asks for another broker before it says anything to this one.
func TestCompareOverTLS(t *testing.T) {
	t.Parallel()
	c := command(t, "compare")
	c.Env = append(c.Env, "LEVERET_BROKER_URL=amqps://ada:hunter2@127.0.0.1:1/")
	require.NoError(t, c.Start())
	require.Equal(t, 2, c.exitCode(t), c.err.String())
	require.Contains(t, c.err.String(), "broker.url is amqps://ada:xxxxx@127.0.0.1:1/: compare measures plain connections")
	c.requireNoTrace(t)
}
