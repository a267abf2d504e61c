package foreign_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for a fact.
const patience = 2 * time.Minute

// A dev is a running `leveret dev`: RabbitMQ and the shop.
type dev struct {
	binary string
	url    string // of RabbitMQ, with the login, in the form that dev prints
	config string // the file for other commands
}

// startDev builds the command and starts it as a person does, with nothing preset. It ends with the test.
func startDev(t *testing.T) *dev {
	t.Helper()
	d := &dev{binary: filepath.Join(t.TempDir(), "leveret.exe")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", d.binary, "./cmd/leveret")
	build.Dir = "../.."
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)

	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), d.binary, "dev")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "LEVERET_") && !strings.HasPrefix(v, "LEVERET_RABBITMQ_BIN=")
	})
	said, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var reading sync.WaitGroup
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		reading.Wait()
		require.NoError(t, cmd.Wait())
	})
	ready := make(chan string, 1)
	reading.Go(func() {
		var all strings.Builder
		for lines := bufio.NewScanner(said); lines.Scan(); {
			all.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "now that all services are ready") {
				ready <- all.String()
			}
		}
		_, _ = io.Copy(io.Discard, said)
		close(ready)
	})
	text, ok := <-ready
	require.True(t, ok, "dev has ended")
	find := func(pattern string) string {
		found := regexp.MustCompile(pattern).FindStringSubmatch(text)
		require.NotNil(t, found, "%s in:\n%s", pattern, text)
		return found[1]
	}
	u, err := url.Parse(find(`(?m)^ +AMQP +(\S+)$`))
	require.NoError(t, err)
	require.Empty(t, u.Path, "what dev prints is read alike by all clients")
	u.User = url.UserPassword("guest", find(`user guest, password (\S+)`))
	d.url, d.config = u.String(), find(`export LEVERET_CONFIG=(\S+)`)
	return d
}

// leveret runs another command, and returns what it prints.
func (d *dev) leveret(t *testing.T, args ...string) string {
	t.Helper()
	output, err := d.command(t, args...).Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		require.Fail(t, "leveret "+strings.Join(args, " "), "%s%s", output, failed.Stderr)
	}
	require.NoError(t, err)
	return string(output)
}

func (d *dev) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), d.binary, args...)
	cmd.Env = append(os.Environ(), "LEVERET_CONFIG="+d.config)
	return cmd
}

// channel returns a channel of the driver, in confirm mode.
func (d *dev) channel(t *testing.T) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(d.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.Confirm(false))
	return ch
}

// publish publishes a message, which the broker confirms.
func publish(t *testing.T, ch *amqp.Channel, exchange, key string, p amqp.Publishing) {
	t.Helper()
	confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), exchange, key, false, false, p)
	require.NoError(t, err)
	acked, err := confirm.WaitContext(t.Context())
	require.NoError(t, err)
	require.True(t, acked)
}

// take waits for a message, and acks it.
func take(t *testing.T, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	var d amqp.Delivery
	eventually(t, func() bool {
		var ok bool
		var err error
		d, ok, err = ch.Get(queue, true)
		require.NoError(t, err)
		return ok
	}, "a message in %s", queue)
	return d
}

func eventually(t *testing.T, ok func() bool, text string, args ...any) {
	t.Helper()
	require.Eventually(t, ok, patience, 50*time.Millisecond, append([]any{text}, args...)...)
}
