package devbroker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// AMQP clients use guest's password if a URL has only a user.
func TestAddressWithoutAPassword(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"amqp://localhost":         "guest",
		"amqp://guest@localhost":   "guest",
		"amqp://guest:x@localhost": "x",
		"amqp://guest:@localhost":  "",
	} {
		a, err := parseAddress(raw, "")
		require.NoError(t, err)
		require.Equal(t, want, a.Password, raw)
	}
}

// A bad URL is blamed on the environment only if it came from there.
func TestDeadBroker(t *testing.T) {
	const dead = "amqp://guest:hunter2@127.0.0.1:1/"
	t.Setenv(EnvBrokerURL, "amqp://127.0.0.1:2/")
	_, err := Start(t.Context(), Config{URL: dead})
	require.ErrorContains(t, err, "the broker at amqp://guest:xxxxx@127.0.0.1:1/ does not answer")
	require.NotContains(t, err.Error(), EnvBrokerURL)
	_, err = Start(t.Context(), Config{URL: "http://127.0.0.1"})
	require.NotContains(t, err.Error(), EnvBrokerURL)

	t.Setenv(EnvBrokerURL, dead)
	_, err = Start(t.Context(), Config{})
	require.ErrorContains(t, err, "unset "+EnvBrokerURL)
	require.NotContains(t, err.Error(), "hunter2")
}
