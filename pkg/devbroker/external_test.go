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
		a, err := parseAddress(raw, "", nil)
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

// What is added to a URL, such as the way to log in, is for every virtual host.
func TestAddressWithAQuery(t *testing.T) {
	t.Parallel()
	a, err := parseAddress("amqps://ada:hunter2@host/?auth_mechanism=external", "", nil)
	require.NoError(t, err)
	require.Equal(t, "amqps://ada:hunter2@host:5671?auth_mechanism=external", a.url("/"))
	require.Equal(t, "amqps://ada:hunter2@host:5671/a%2Fb?auth_mechanism=external", a.url("a/b"))
}

// The management API is as safe as the broker, unless its address is given.
func TestManagementOfAnAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ raw, management, want string }{
		{"amqps://ada:hunter2@host/v", "", "https://host:15671"},
		{"amqps://ada:hunter2@[2001:db8::1]:5000/v", "", "https://[2001:db8::1]:15671"},
		{"amqp://ada:hunter2@[::1]:5000/v", "", ""}, // another broker's may be at 15672
		{"amqp://ada:hunter2@host:5000", "", "http://host:15672"},
		{"amqps://host", "http://ada:hunter2@other:15672/", "http://other:15672"},
	} {
		a, err := parseAddress(c.raw, c.management, nil)
		require.NoError(t, err)
		require.Equal(t, c.want, (&Broker{address: a}).ManagementURL())
	}
}

// Where no node can be started, the error says what to do there, not how to install RabbitMQ on Linux.
func TestWhereNoNodeCanBeStarted(t *testing.T) {
	t.Parallel()
	err := notHere("windows", "rabbitmq:4")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "no RabbitMQ is started on windows")
	require.ErrorContains(t, err, "docker run -d -p 127.0.0.1:5672:5672 -p 127.0.0.1:15672:15672 rabbitmq:4\n")
	require.ErrorContains(t, err, EnvBrokerURL)
	require.NotContains(t, err.Error(), "apt-get")
}
