package devbroker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What other users can see of a container's start: the tool's arguments, and the ports. The tool here is a script that
// writes down how it was called.
func TestContainerKeepsItsSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	calls, env := filepath.Join(dir, "calls"), filepath.Join(dir, "env")
	tool := filepath.Join(dir, "docker")
	require.NoError(t, os.WriteFile(tool, []byte("#!/bin/sh\necho \"$@\" >>"+calls+"\n[ \"$1\" != create ] || env >"+env+"\n"), 0o700))
	cfg, err := Config{Private: true, Dir: filepath.Join(dir, "node")}.withDefaults()
	require.NoError(t, err)
	f, err := makeFolder(cfg)
	require.NoError(t, err)
	n := &node{cfg: cfg, source: Source{Kind: Container, Path: tool}, folder: f, ports: ports{AMQP: 1, Management: 2}}
	require.NoError(t, n.engine().configure(t.Context()))

	said, err := os.ReadFile(calls)
	require.NoError(t, err)
	created, copied, _ := strings.Cut(string(said), "\n")
	require.Contains(t, created, "--publish=127.0.0.1:1:5672 --publish=127.0.0.1:2:15672 ")
	require.Equal(t, 2, strings.Count(created, "--publish"))
	require.Contains(t, created, "-kernel inet_dist_use_interface {127,0,0,1} ")
	require.Contains(t, created, "--env=ERL_EPMD_ADDRESS=127.0.0.1 ")
	require.Contains(t, created, "--env=RABBITMQ_DEFAULT_PASS ")
	require.Contains(t, copied, f.sub(cookieFile)+" leveret-")
	require.NotContains(t, string(said), f.password)
	environment, err := os.ReadFile(env)
	require.NoError(t, err)
	require.Contains(t, string(environment), "RABBITMQ_DEFAULT_PASS="+f.password+"\n")
	for _, name := range []string{"rabbitmq.conf", "enabled_plugins"} { // others read them in the container
		text, err := os.ReadFile(f.sub(name))
		require.NoError(t, err)
		require.NotContains(t, string(text), f.password)
	}
}
