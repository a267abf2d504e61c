package definitions_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/definitions"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

var layouts = []topology.Layout{topology.Shared, topology.Isolated}

// What RabbitMQ has loaded is what the services would declare: the same arguments.
func TestWhatIsLoadedIsWhatServicesDeclare(t *testing.T) {
	t.Parallel()
	for _, layout := range layouts {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			s := imported(t, shop, layout)
			s.load() // twice is once
			s.same(s.broker)
		})
	}
}

// The same with rabbitmqctl.
func TestImportWithRabbitmqctl(t *testing.T) {
	t.Parallel()
	s := derive(t, shop, topology.Isolated)
	file := filepath.Join(t.TempDir(), "definitions.json")
	require.NoError(t, os.WriteFile(file, s.encoded(), 0o600))
	_, err := leverettest.Node(t).Ctl(t.Context(), "import_definitions", file)
	require.NoError(t, err)
	s.same(s.broker)
	dial(t, s.as("order"))
}

// A broker that starts with the definitions has everything, and nobody but these users. It starts again on the same
// data.
func TestABrokerStartsWithDefinitions(t *testing.T) {
	t.Parallel()
	s := &system{t: t, catalog: shop, names: topology.Names{Layout: topology.Isolated}}
	var err error
	s.definitions, err = definitions.Of(shop, definitions.Options{
		Names: s.names, Password: passwordOf, Administrator: "guest", AdministratorPassword: "of the guest",
	})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "definitions.json")
	require.NoError(t, os.WriteFile(file, s.encoded(), 0o600))
	// A node is asked whether it answers with the password that an earlier one has left in its folder.
	dir, err := os.MkdirTemp("", "leveret-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	for name, text := range map[string]string{"node-id": "definitions", "password": "of the guest"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	node, err := devbroker.Start(t.Context(), devbroker.Config{Private: true, Dir: dir, Conf: "load_definitions = " + file})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.WithoutCancel(t.Context()))) })
	for range 2 {
		s.broker = node.URL()
		var users []definitions.User
		require.NoError(t, patient(t, node.ManagementURL(), s.broker).Call(t.Context(), "GET", nil, &users, "users"))
		require.Len(t, users, len(s.definitions.Users))
		s.same(s.broker)
		dial(t, s.as("order"))
		require.NoError(t, node.Restart(t.Context()))
	}
}

// same declares everything, and finds no difference.
func (s *system) same(address string) {
	s.t.Helper()
	conn, err := rabbit.Dial(s.t.Context(), rabbit.Config{URLs: []string{address}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, conn.Close(context.WithoutCancel(s.t.Context()))) }()
	declarer := rabbit.NewDeclarer(conn)
	require.Eventually(s.t, func() bool { // a stream starts after its node
		err = declarer.Declare(s.t.Context(), s.topology())
		return !errors.Is(err, rabbit.ErrNotConnected)
	}, 2*time.Minute, 50*time.Millisecond)
	require.NoError(s.t, err)
	require.Zero(s.t, declarer.Mismatches())

	// And there is nothing else.
	var found, want struct {
		Exchanges []definitions.Exchange
		Queues    []definitions.Queue
		Bindings  []definitions.Binding
	}
	require.NoError(s.t, json.Unmarshal(s.encoded(), &want))
	require.Len(s.t, want.Queues, len(s.topology().Queues))
	u, err := url.Parse(address)
	require.NoError(s.t, err)
	if u.Path != "" {
		api := patient(s.t, leverettest.Node(s.t).ManagementURL(), address)
		require.NoError(s.t, api.Call(s.t.Context(), "GET", nil, &found, "definitions", leverettest.VHost(s.t, address)))
		require.Len(s.t, found.Exchanges, len(want.Exchanges))
		require.Len(s.t, found.Queues, len(want.Queues))
		require.Len(s.t, found.Bindings, len(want.Bindings))
	}
}
