package hello_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"

	"github.com/leveretmq/leveret/examples/hello"
)

// addresses are where the service serves.
type addresses struct {
	HTTP string `json:"http"`
	GRPC string `json:"grpc"`
}

// start runs the greeter on a real broker, and returns once it is ready.
func start(t *testing.T, url string) addresses {
	t.Helper()
	at, _ := launch(t, hello.Program(), url)
	return at
}

// launch runs a whole service on a real broker, and returns once it is ready. When stop is called, or when the test ends, it
// must shut down gracefully.
func launch(t *testing.T, program service.Program, url string) (at addresses, stop func()) {
	t.Helper()
	program.Overrides = map[string]string{
		"broker.url": url, "data.dir": t.TempDir(), "log.format": "json",
		"health.address": "off", "http.address": "127.0.0.1:0", "grpc.address": "127.0.0.1:0",
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	reader, writer := io.Pipe()
	ended, ready := make(chan int, 1), make(chan addresses, 1)
	go func() {
		code := program.Run(ctx, nil, io.Discard, writer)
		_ = writer.Close()
		ended <- code
	}()
	var log bytes.Buffer
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(ready)
		for lines := bufio.NewScanner(io.TeeReader(reader, &log)); lines.Scan(); {
			var record struct {
				addresses

				Message string `json:"msg"`
			}
			if json.Unmarshal(lines.Bytes(), &record) == nil && record.Message == "ready" {
				ready <- record.addresses
			}
		}
	})
	stop = sync.OnceFunc(func() {
		end()
		reading.Wait()
		require.Zero(t, <-ended, "%s", &log)
	})
	t.Cleanup(stop)
	at, ok := <-ready
	require.True(t, ok, "the service has ended")
	return at, stop
}

// TestProgram sends a command, and then sees its effect in the reply to a request, over each transport.
func TestProgram(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	url := leverettest.Broker(t)
	at := start(t, url)

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
	}, 2*time.Minute, 20*time.Millisecond)

	overHTTP, err := httprpc.NewCaller(httprpc.CallerConfig{Service: user, URLs: []string{"http://" + at.HTTP}})
	require.NoError(t, err)
	toGRPC := grpcrpc.CallerConfig{Service: user, Addresses: []string{at.GRPC}}
	overGRPC, err := grpcrpc.NewCaller(toGRPC, hello.CountMethod)
	require.NoError(t, err)
	for _, caller := range []leveret.Caller{client, overHTTP, overGRPC} {
		reply, err := hello.CountGreetings.Call(ctx, caller, hello.CountQuery{Name: "Ada"})
		require.NoError(t, err)
		require.Equal(t, 2, reply.Greetings)
		_, err = hello.CountGreetings.Call(ctx, caller, hello.CountQuery{Name: "Bob"})
		require.ErrorIs(t, err, leveret.NotFound)
		require.True(t, leveret.IsRemote(err))
	}
	require.NoError(t, errors.Join(overHTTP.Close(), overGRPC.Close(), client.Close(ctx), conn.Close(ctx)))
}
