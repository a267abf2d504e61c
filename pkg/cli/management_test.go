package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// A management API that was configured with another broker is not asked, and gets no password.
func TestThePasswordIsNotForAnotherBrokersAPI(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	var asked atomic.Int64
	foreign := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(foreign.Close)
	file := filepath.Join(t.TempDir(), "leveret.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "broker:\n  url: amqp://127.0.0.1/\n  management_url: %s\n", foreign.URL), 0o600))
	for _, args := range [][]string{{"status"}, {"queues"}, {"queues", "show", "oven.bake"}, {"dlq", "ls"}, {"retry", "ls"}} {
		c := kitchenAt(t, strings.Replace(url, "127.0.0.1", "localhost", 1), append(args, "--config", file)...)
		code := c.run(t.Context())
		require.Contains(t, []cli.ExitCode{cli.ExitOK, cli.ExitUnhealthy}, code, "%s: %s", args, c.err.String())
		require.Zero(t, asked.Load(), args)
		if args[0] == "queues" {
			require.Equal(t, 1, strings.Count(c.err.String(), "warning: broker.management_url (set by "+file+":3) is not used"), c.err.String())
			require.Contains(t, c.err.String(), "on this machine, another port than 5672 and 5671 does not say where it is", args)
		}
	}
}
