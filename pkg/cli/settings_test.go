package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestManagementLogin(t *testing.T) {
	t.Parallel()
	for broker, want := range map[string][2]string{
		"amqp://localhost/":              {"guest", "guest"},
		"amqp://guest@localhost/":        {"guest", "guest"},
		"amqp://guest:secret@localhost/": {"guest", "secret"},
		"amqp://guest:@localhost/":       {"guest", ""},
	} {
		c, err := settings{urls: []string{broker}}.managementConfig()
		require.NoError(t, err)
		require.Equal(t, "http://localhost:15672", c.URL)
		require.Equal(t, want, [2]string{c.Username, c.Password}, broker)
	}
}
