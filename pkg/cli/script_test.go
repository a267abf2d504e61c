package cli_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

var update = flag.Bool("update", false, "write the golden output in the scripts instead of comparing with it")

// TestScripts runs the program as a person does. Each script has its own virtual host on a real broker.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			tb, ok := env.T().(testing.TB)
			require.True(t, ok)
			env.Values["tb"] = tb
			env.Setenv("LEVERET_BROKER_URL", leverettest.Broker(tb))
			env.Setenv("LEVERET_BROKER_MANAGEMENT_URL", leverettest.Node(tb).ManagementURL())
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "serve": serveCommand, "bury": buryCommand, "waitfor": waitFor, "declare": declareCommand,
			"open": openCommand, "sell": sellCommand, "state": stateCommand,
		},
	})
}

// exits runs a program that has to end with an exit code: exits 5 kitchen send ….
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, not %d", code, want)
	}
}

func tbOf(ts *testscript.TestScript) testing.TB {
	tb, ok := ts.Value("tb").(testing.TB)
	if !ok {
		ts.Fatalf("the script has no test")
	}
	return tb
}

// serveCommand runs the services for the rest of the script.
func serveCommand(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Defer(serve(tbOf(ts), ts.Getenv("LEVERET_BROKER_URL")))
}

// declareCommand makes all queues, as if the services had run.
func declareCommand(ts *testscript.TestScript, _ bool, _ []string) {
	onBroker(tbOf(ts), ts.Getenv("LEVERET_BROKER_URL"), declareAll)
}

// declareAll declares what both services need, in the shared layout.
func declareAll(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
	tb.Helper()
	declareIn(topology.Names{})(ctx, tb, conn)
}

// declareIn declares it under names.
func declareIn(names topology.Names) func(context.Context, testing.TB, *rabbit.Conn) {
	return func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		d := rabbit.NewDeclarer(conn)
		for _, s := range []*leveret.Service{oven, waiter} {
			require.NoError(tb, d.Declare(ctx, s.Topology(names, topology.Classic)))
		}
	}
}

// buryCommand makes dead letters as a worker does: bury queue count code [payload]. The first failed 90 minutes ago.
func buryCommand(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	payload := `{"dish_id":"d-%d","dish":"pie","minutes":%[1]d}`
	if len(args) > 3 {
		payload = args[3]
	}
	bury(tbOf(ts), ts.Getenv("LEVERET_BROKER_URL"), args[0], n, args[2], payload)
}

func bury(tb testing.TB, url, queue string, n int, code, payload string) {
	tb.Helper()
	onBroker(tb, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		pipeline := publisher.Pipeline()
		before, err := conn.Inspect(ctx, queue+topology.DeadLetterSuffix)
		require.NoError(tb, err)
		started := time.Now().Add(-36*time.Hour - 30*time.Minute) // their ages are shown in hours
		for i := range n {
			body := []byte(payload)
			if i >= 0 && payload[0] == '{' {
				body = fmt.Appendf(nil, payload, i+1)
			}
			require.NoError(tb, pipeline.Publish(ctx, &rabbit.Publication{
				Exchange: "dead-letters", RoutingKey: queue, Mandatory: true,
				Publishing: rabbit.Publishing{
					MessageId: fmt.Sprintf("%s-%d", code, i+1), Type: "oven.bake", ContentType: "application/json", DeliveryMode: 2, Body: body,
					Headers: rabbit.Table{
						"leveret-failed-queue": queue, "leveret-failed-at": started.Add(time.Duration(i) * time.Second).UTC().Format(time.RFC3339Nano),
						"leveret-attempts": int64(2), "leveret-error-code": code, "leveret-error-reason": "why", "leveret-error-message": "it went wrong\nin two lines",
						"leveret-service": "oven", "leveret-host": "here/1", "mine": "kept", "count": int32(i + 1),
					},
				},
			}, nil))
		}
		require.NoError(tb, pipeline.Flush(ctx))
		require.NoError(tb, publisher.Close(ctx))
		requireReady(ctx, tb, conn, queue+topology.DeadLetterSuffix, before.Ready+n)
	})
}

// waitFor waits until a queue has the given number of messages ready: waitfor oven.bake 3.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	onBroker(tbOf(ts), ts.Getenv("LEVERET_BROKER_URL"), func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		requireReady(ctx, tb, conn, args[0], n)
	})
}

func requireReady(ctx context.Context, tb testing.TB, conn *rabbit.Conn, queue string, want int) {
	tb.Helper()
	last := rabbit.QueueState{Ready: -1}
	require.Eventually(tb, func() bool {
		state, err := conn.Inspect(ctx, queue)
		if err == nil {
			last = state
		}
		return last.Ready == want && (want > 0 || isEmpty(ctx, conn, queue))
	}, patience, 10*time.Millisecond, "%s should have %d messages: %+v", queue, want, &last)
}

// isEmpty reports whether a queue gives nothing: a quorum queue that is busy counts 0 where it has messages. What it gives
// goes back.
func isEmpty(ctx context.Context, conn *rabbit.Conn, queue string) bool {
	ch, err := conn.Channel(ctx)
	if err != nil {
		return false
	}
	_, some, err := ch.Get(queue, false)
	return ch.End(ctx) == nil && err == nil && !some
}

// onBroker does something over its own connection.
func onBroker(tb testing.TB, url string, do func(context.Context, testing.TB, *rabbit.Conn)) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Minute)
	defer cancel()
	conn, err := rabbit.Dial(ctx, rabbit.Config{URLs: []string{url}})
	require.NoError(tb, err)
	defer func() { require.NoError(tb, conn.Close(context.WithoutCancel(ctx))) }()
	do(ctx, tb, conn)
}
