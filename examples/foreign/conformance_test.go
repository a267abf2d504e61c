package foreign_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/conformance"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// The clients of this folder keep all rules of docs/wire.md. They need Debian's python3-pika, and `npm ci` in node.
func TestClientsKeepTheRules(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]struct {
		role    conformance.Role
		command string
	}{
		"worker in Python":   {conformance.Worker, "/usr/bin/python3 python/conformance_worker.py"},
		"sender in Python":   {conformance.Sender, "/usr/bin/python3 python/sender.py"},
		"answerer for Node":  {conformance.Answerer, "node node/answerer.js"},
		"listener in Python": {conformance.Listener, "/usr/bin/python3 python/conformance_listener.py"},
		"caller in Python":   {conformance.Caller, "/usr/bin/python3 python/caller.py"},
		"caller for Node":    {conformance.Caller, "node node/caller.js"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := strings.Fields(client.command)
			run, err := conformance.Exec(command[0], command[1:]...)
			require.NoError(t, err)
			report, err := conformance.Run(t.Context(), conformance.Config{
				Role: client.role, Client: run, URL: leverettest.Broker(t), Patience: 2 * time.Minute, Stderr: t.Output(),
			})
			require.NoError(t, err)
			require.NotEmpty(t, report.Results)
			for _, r := range report.Results {
				require.Equal(t, conformance.Kept, r.State, "%s: %s", r.Rule, r.Why)
			}
		})
	}
}
