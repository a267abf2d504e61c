package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

const event, other = "waiter.on.oven.baked", "waiter.bell.on.oven.baked"

// unsureWhenKilled is how many messages may be twice where a command is killed: those that await their confirm, and
// those of one batch, whose acks may be lost.
const unsureWhenKilled = 256 + 1000

// A process that is killed while it returns messages loses none, and leaves few of them in both queues.
func TestAKilledCommandLosesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args     []string
		exchange string // that leads to from
		from     string
	}{
		"retry release": {[]string{"retry", "release", event}, "retry.10m", "retry.10m"},
		"dlq replay":    {[]string{"dlq", "replay", event}, "dead-letters", event + ".dlq"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := leverettest.Broker(t)
			onBroker(t, url, declareAll)
			const n, others, read = 4000, 50, 200
			postpone(t, url, c.exchange, event, n, "unavailable")
			want := numbered(event, "unavailable", n)
			if c.from == "retry.10m" { // in the same queue, and not to be released
				postpone(t, url, c.exchange, other, others, "unavailable")
				want = append(want, numbered(other, "unavailable", others)...)
			}
			ready(t, url, c.from, len(want))

			kitchen, err := exec.LookPath("kitchen")
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), kitchen, append(c.args, "--yes", "-o", "jsonl")...)
			cmd.Env = append(os.Environ(), "LEVERET_BROKER_URL="+url)
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(stdout)
			for range read { // it cannot get far ahead: what it prints fills the pipe
				require.True(t, lines.Scan(), "it has ended")
				require.Contains(t, lines.Text(), `"result":"returned"`)
			}
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())

			back, left := map[string]int{}, map[string]int{}
			onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
				tb.Helper()
				ch, err := conn.Channel(ctx)
				require.NoError(tb, err)
				take := func(queue string, into map[string]int) {
					for {
						d, ok, err := ch.Get(queue, true)
						require.NoError(tb, err)
						if !ok {
							return
						}
						into[d.MessageId]++
					}
				}
				var lost []string
				require.Eventually(tb, func() bool { // what it held comes back a moment later
					take(event, back)
					take(c.from, left)
					lost = nil
					for _, id := range want {
						if back[id]+left[id] == 0 {
							lost = append(lost, id)
						}
					}
					return len(lost) == 0
				}, 4*patience, 50*time.Millisecond, "lost: %v", &lost)
			})
			twice := 0
			for _, id := range want {
				require.LessOrEqual(t, back[id], 1, id)
				require.LessOrEqual(t, left[id], 1, id)
				twice += back[id] + left[id] - 1
			}
			require.GreaterOrEqual(t, len(back), read)
			require.Less(t, len(back), n, "it was killed too late")
			require.LessOrEqual(t, twice, unsureWhenKilled)
			t.Logf("%d came back, %d of them are in both queues", len(back), twice)
		})
	}
}

// What is said of a command that was interrupted is true of all messages, not only of those that were read.
func TestWhatAnInterruptedCommandSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args           []string
		exchange, from string
		verb           string
		of, to, others string
	}{
		"retry release": {[]string{"retry", "release", event, "--rate", "5/s"}, "retry.10m", "retry.10m", "returned", "messages that wait", "to " + event, "still wait"},
		"dlq replay":    {[]string{"dlq", "replay", event, "--rate", "5/s"}, "dead-letters", event + ".dlq", "returned", "dead letters", "to " + event, "are still dead letters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := leverettest.Broker(t)
			onBroker(t, url, declareAll)
			const n = 300
			postpone(t, url, c.exchange, event, n, "unavailable")
			ready(t, url, c.from, n)
			run := kitchenAt(t, url, append(c.args, "--yes")...)
			ctx, ctrlC := context.WithCancel(t.Context())
			defer ctrlC()
			ended := make(chan cli.ExitCode, 1)
			go func() { ended <- run.run(ctx) }()
			state := func(queue string) (ready int) {
				onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
					tb.Helper()
					state, err := conn.Inspect(ctx, queue)
					require.NoError(tb, err)
					ready = state.Ready
				})
				return ready
			}
			require.Eventually(t, func() bool { return state(event) >= 3 }, patience, tick)
			ctrlC()
			require.Equal(t, cli.ExitInterrupted, <-ended, run.err.String())
			done := state(event)
			require.Less(t, done, n)
			require.Equal(t, fmt.Sprintf("%s %d of %d %s %s\n", c.verb, done, n, c.of, c.to), run.out.String(), run.err.String())
			require.Equal(t, fmt.Sprintf("error: interrupted: %d were %s; the others %s\nnext:  run the same command again: it goes on with the rest\n", done, c.verb, c.others), run.err.String())
			ready(t, url, c.from, n-done)
		})
	}
}

// Errors of the same code are distinguished, by the same pattern in both families of commands.
func TestErrorsOfOneCodeAreToldApart(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		for _, exchange := range []string{"retry.10m", "dead-letters"} {
			for i, text := range []string{"bank 17 is away", "bank 18 is away", "the shelf is locked"} {
				require.NoError(tb, publisher.Publish(ctx, &rabbit.Publication{
					Exchange: exchange, RoutingKey: event, Mandatory: true, Publishing: rabbit.Publishing{
						MessageId: fmt.Sprint(i), Type: "oven.baked", Headers: rabbit.Table{
							"leveret-attempt": int64(2), "leveret-attempts": int64(1), "leveret-error-code": "unavailable", "leveret-error-message": text,
							"leveret-failed-at": time.Now().UTC().Format(time.RFC3339Nano),
						},
					},
				}))
			}
		}
		require.NoError(tb, publisher.Close(ctx))
	})
	ready(t, url, event+".dlq", 3)
	type group struct {
		Queue, Service, Contract, Code, Error string
		Count                                 int
		Oldest                                time.Time `json:"oldest_at"`
		Newest                                time.Time `json:"newest_at"`
	}
	found := map[string][]group{}
	for _, family := range []string{"dlq", "retry"} {
		c := kitchenAt(t, url, family, "ls", "-o", "json")
		require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		var groups []group
		require.NoError(t, json.Unmarshal([]byte(c.out.String()), &groups))
		require.Len(t, groups, 2)
		for i := range groups {
			require.WithinRange(t, groups[i].Oldest, time.Now().Add(-time.Hour), groups[i].Newest)
			groups[i].Oldest, groups[i].Newest = time.Time{}, time.Time{}
		}
		found[family] = groups
	}
	require.Equal(t, group{Queue: event, Service: "waiter", Contract: "oven.baked", Code: "unavailable", Error: "bank 18 is away", Count: 2}, found["dlq"][0])
	require.Equal(t, found["dlq"], found["retry"])
}

// A message that was sent to be handled later, and whose queue is gone by then, has not failed: that is what is shown.
func TestADelayedMessageThatLostItsQueue(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	require.Equal(t, cli.ExitOK, kitchenAt(t, url, "send", "oven.bake", aPie, "--after", "100ms").run(t.Context()))
	drained(t, url, "oven.bake", 1)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		ch, err := conn.Channel(ctx)
		require.NoError(tb, err)
		_, err = ch.QueueDelete("oven.bake", false, false, false)
		require.NoError(tb, err)
	})
	c := kitchenAt(t, url, "send", "oven.bake", aPie, "--after", "100ms", "--broker-declare=false")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	ready(t, url, "retry.lost", 1)

	c = kitchenAt(t, url, "dlq", "ls", "retry.lost")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Regexp(t, `\nretry\.lost +1 +1 +delayed +\S+ +\S+ +the queue oven\.bake was gone: sent to be handled later\n$`, c.out.String())
	c = kitchenAt(t, url, "dlq", "show", "retry.lost", "--where", "delayed and service == 'oven'")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Regexp(t, `^QUEUE +ID +AGE +ATTEMPTS +REPLAYED +WHY +ERROR\noven\.bake +\S+ +\S+ +- +0 +delayed +sent to be handled later\n$`, c.out.String())
	id := strings.Fields(c.out.lines()[1])[1]
	c = kitchenAt(t, url, "dlq", "show", "retry.lost", id)
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Regexp(t, `(?m)^why +delayed\nlost +sent to be handled later; its queue was gone when it was due$`, c.out.String())
	c = kitchenAt(t, url, "dlq", "ls", "retry.lost", "-o", "jsonl")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Contains(t, c.out.String(), `{"queue":"retry.lost","lost_queue":"oven.bake","service":"oven","contract":"oven.bake","code":"","reason":"","error":"","delayed":true,"count":1,`)

	c = kitchenAt(t, url, "dlq", "replay", "retry.lost", "--yes") // its queue is still gone
	require.Equal(t, cli.ExitNotFound, c.run(t.Context()), c.err.String())
	require.Equal(t, "returned 0 of 1 dead letter; 1 could not be, and is still in retry.lost\n", c.out.String())
	require.Contains(t, c.err.String(), "error: the queue oven.bake is gone; what belongs there stays where it is\n")
	onBroker(t, url, declareAll)
	c = kitchenAt(t, url, "dlq", "replay", "retry.lost", "--yes", "-o", "json")
	require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
	require.Contains(t, c.out.String(), `"returned": 1`)
	drained(t, url, "oven.bake", 1)
}
