package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
)

// TestFirstStep runs the commands of "The first step", in a module that has nothing but the page's program, on a broker that
// has nothing but their queues. It takes this checkout, and what that requires, instead of the latest release.
func TestFirstStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, rawDeadLetters(b.ch))
	require.NoError(t, b.ch.ExchangeDeclare("billing", "direct", true, false, false, false, nil))
	require.NoError(t, b.ch.QueueBind("billing.charge", "charge", "billing", false, nil))
	_, err := b.ch.QueueDeclare("theirs", true, false, false, false, nil)
	require.NoError(t, err)
	old := b.theirWorker(t)
	require.NoError(t, b.ch.PublishWithContext(t.Context(), "billing", "charge", false, false, amqp.Publishing{Body: []byte("not JSON")}))
	require.Eventually(t, func() bool { return b.count(t, "dead-letters") == 1 }, 2*time.Minute, 10*time.Millisecond)

	output := firstStep(t, b.url)
	require.Equal(t, "c-1", next(t, old.handled))
	old.stop(t)
	require.Regexp(t, `(?s)queues.*\nbilling\.charge +0 .*\nretry\.1s .*not declared.*send.* confirmed.*dlq ls.*\nbilling\.charge +1 +1 +rejected`+
		`.*dlq show.*\nbilling\.charge +\w+ .* rejected.*status\nhealthy.*queues --all\n.*\ntheirs +0 `, output)
	require.Equal(t, 1, b.count(t, "dead-letters"), "it was only looked at")
	for _, queue := range []string{"billing.charge.dlq", "quarantine.billing", "retry.lost"} {
		_, err := b.channel(t).QueueDeclarePassive(queue, true, false, false, false, nil)
		require.ErrorContains(t, err, "NOT_FOUND", "nothing is declared")
	}
	require.ErrorContains(t, b.channel(t).ExchangeDeclarePassive("retry.return", "direct", true, false, false, false, nil), "NOT_FOUND")
}

// firstStep runs what the page shows, and returns what it prints.
func firstStep(t *testing.T, url string) string {
	t.Helper()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	_, section, found := strings.Cut(read(t, "docs/migrate-from-amqp091.md"), "\n## The first step")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(section, -1) {
		script.WriteString(block[1])
	}
	commands := script.String()
	for from, to := range map[string]string{
		"go get github.com/leveretmq/leveret@latest\n": "go mod edit -require github.com/leveretmq/leveret@v0.0.0 -replace github.com/leveretmq/leveret=" +
			quoted(root) + " -module example.com/theirs\n",
		"amqp://billing@rabbit.example:5672\n": quoted(url) + "\n",
		"LEVERET_BROKER_PASSWORD_FILE=":        "UNUSED=",
	} {
		require.Contains(t, commands, from)
		commands = strings.ReplaceAll(commands, from, to)
	}
	module := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(module, "desk"), 0o700))
	for file, from := range map[string]string{"desk/main.go": "examples/desk/main.go", "go.mod": "go.mod", "go.sum": "go.sum"} {
		require.NoError(t, os.WriteFile(filepath.Join(module, file), []byte(read(t, from)), 0o600))
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-euxc", commands)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOWORK=off", "LEVERET_BROKER_MANAGEMENT_URL="+leverettest.Node(t).ManagementURL())
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return string(output)
}
