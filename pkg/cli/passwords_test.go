package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Wherever a password stands in a URL, well formed or not, no command shows it, in data or errors.
func TestNoPasswordOfAURLIsShown(t *testing.T) {
	t.Parallel()
	for i, url := range []string{
		"amqp://ada:hunter2@127.0.0.1:1/v",
		"amqps://ada:hunter2@127.0.0.1:1/v",
		"amqp://ada:%68unter2@127.0.0.1:1/v",
		"amqp://ada:%68unter2%40@127.0.0.1:1/v",
		"amqp://ada:1/hunter2@127.0.0.1:1/",
		"amqp://ada:1#hunter2@127.0.0.1:1/",
		"amqp://ada:1?hunter2@127.0.0.1:1/",
		"amqp://ada:hunter2@127.0.0.1:1:2/",
		"amqp://ada:hunter2@::1/",
		"amqp://ada:hunter2@[::1/",
		"amqp://ada:hunter2@127.0.0.1:99999/",
		"amqp://ada:hunter2%zz@127.0.0.1:1/",
		"amqp://127.0.0.1:1/?password=hunter2",
		"amqp://127.0.0.1:1/?hunter2",
		"amqp://127.0.0.1:1/#hunter2",
		"amqp:ada:hunter2@127.0.0.1:1",
		"ada:hunter2@127.0.0.1:1",
	} {
		for _, key := range []string{"url", "management_url"} {
			file := filepath.Join(t.TempDir(), fmt.Sprintf("%d-%s.yaml", i, key))
			content := fmt.Sprintf("broker:\n  url: %q\n  connect_timeout: 10ms\n", url)
			if key != "url" {
				content = fmt.Sprintf("broker:\n  url: amqp://127.0.0.1:1/\n  connect_timeout: 10ms\n  management_url: %q\n",
					strings.Replace(url, "amqp", "http", 1))
			}
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			for _, args := range [][]string{
				{"config", "show", "--origin"},
				{"config", "show", "-o", "json"},
				{"queues", "--log-level", "debug"},
				{"queues", "--all", "-o", "json"},
				{"dlq", "ls"},
				{"queues", "--help"},
			} {
				c := &command{args: append(args, "--config", file)}
				_ = c.run(t.Context())
				shown := c.out.String() + c.err.String()
				require.NotEmpty(t, shown)
				require.NotContains(t, shown, "unter2", "%q of %s", args, content)
			}
		}
	}
}
