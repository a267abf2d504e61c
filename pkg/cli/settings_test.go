package cli

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/management"
)

// The management API is that of the first broker, and its settings are the broker's.
func TestManagementOfTheBroker(t *testing.T) {
	t.Parallel()
	secured := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, c := range []struct {
		urls []string
		want string
	}{
		{[]string{"amqps://ada:hunter2@one/", "amqp://ada:hunter2@two/"}, "https://one:15671"},
		// To where the password goes in clear text anyway.
		{[]string{"amqp://ada:hunter2@one/", "amqps://ada:hunter2@two/"}, "http://one:15672"},
	} {
		config := settings{access: func() ([]string, *tls.Config) { return c.urls, secured }}.managementConfig()
		client, err := management.New(config)
		require.NoError(t, err)
		require.Equal(t, c.want, client.URL())
	}
}
