package hello_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"

	"github.com/leveretmq/leveret/examples/hello"
)

// start runs the whole service on a real broker. When the test ends, the service is stopped and must shut down
// gracefully.
func start(t *testing.T, url string) {
	t.Helper()
	program := hello.Program()
	program.Overrides = map[string]string{"broker.url": url, "health.address": "off", "data.dir": t.TempDir()}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var stdout, stderr bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- program.Run(ctx, nil, &stdout, &stderr) }()
	t.Cleanup(func() {
		stop()
		require.Zero(t, <-ended, "%s", &stderr)
	})
}

// TestProgram sends a command, and then sees its effect in the reply to a request.
func TestProgram(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	url := leverettest.Broker(t)
	start(t, url)

	user := leveret.NewService("user", leveret.Sends(hello.Greet), leveret.Calls(hello.CountGreetings))
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}})
	require.NoError(t, err)
	client, err := leveret.NewClient(conn, user, leveret.ClientConfig{})
	require.NoError(t, err)

	for _, id := range []string{"g-1", "g-2", "g-2"} {
		require.NoError(t, hello.Greet.Send(ctx, client, hello.Greeting{GreetingID: id, Name: "Ada"}))
	}
	require.Eventually(t, func() bool {
		reply, err := hello.CountGreetings.Call(ctx, client, hello.CountQuery{Name: "Ada"})
		return err == nil && reply.Greetings == 2
	}, 30*time.Second, 20*time.Millisecond)

	_, err = hello.CountGreetings.Call(ctx, client, hello.CountQuery{Name: "Bob"})
	require.ErrorIs(t, err, leveret.NotFound)
	require.NoError(t, errors.Join(client.Close(ctx), conn.Close(ctx)))
}
