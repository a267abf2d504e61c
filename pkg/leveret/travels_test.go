package leveret_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// documentedKinds reads the table of headers in docs/wire.md: on which kinds of message each header may be.
func documentedKinds(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/wire.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "| header | on | what it holds |\n| --- | --- | --- |\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	documented := map[string][]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		var kinds []string
		for words, means := range map[string][]string{
			"messages that": {"command", "event", "request"}, "messages, ": {"command", "event", "request"}, "messages; ": {"command", "event", "request"},
			"requests": {"request"}, "replies": {"reply"}, "retries": {"retry"}, "dead letters": {"letter"}, "replays": {"replay"},
			"kept": {"retry", "letter", "replay"}, "copies": {"retry", "letter", "replay"},
		} {
			if strings.Contains(cells[2]+" ", words) {
				kinds = append(kinds, means...)
			}
		}
		require.NotEmpty(t, kinds, line)
		for name := range strings.SplitSeq(cells[1], ",") {
			documented[strings.Trim(name, " `")] = kinds
		}
	}
	return documented
}

// TestWhatTravels watches one message of each kind with the driver alone. Each has the headers that docs/wire.md says, and
// no others of ours.
func TestWhatTravels(t *testing.T) {
	t.Parallel()
	b := setup(t)
	start, do := leveret.NewCommand[thing]("a.start"), leveret.NewCommand[thing]("a.do")
	happened := leveret.NewEvent[thing]("a.happened", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{10 * time.Millisecond}}))
	ask := leveret.NewRequest[thing, answer]("a.ask")
	unheard, taken := leveret.NewRequest[thing, answer]("b.ask", leveret.Timeout(time.Hour)), make(chan struct{})
	service := leveret.NewService("a", leveret.Handles(start), leveret.Sends(do), leveret.Publishes(happened), leveret.SubscribesTo(happened),
		leveret.Answers(ask), leveret.Calls(unheard))
	conn := b.connect(leveret.ConnConfig{TracerProvider: sdktrace.NewTracerProvider()})
	client := b.client(conn, service, leveret.ClientConfig{})
	w := b.worker(conn, service, leveret.WorkerConfig{Stacks: true})
	start.Handle(w.Handlers, func(ctx context.Context, v thing) error {
		calling, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			defer cancel()
			<-taken
		}()
		if _, err := unheard.Call(calling, client, v); !errors.Is(err, leveret.Canceled) {
			return fmt.Errorf("it was not cancelled: %w", err)
		}
		return errors.Join(do.Send(ctx, client, v), happened.Publish(ctx, client, v))
	})
	happened.Subscribe(w.Handlers, func(ctx context.Context, _ thing) error {
		if leveret.MessageFrom(ctx).Attempt == 1 {
			return leveret.NewError(leveret.Unavailable, "away", "not now")
		}
		panic(leveret.NewError(leveret.Unavailable, "away", "not now"))
	})
	ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) { return answer{}, nil })
	foreign := b.peer()
	running := b.run(w)
	for tap, from := range map[string][2]string{
		"command": {"commands", "a.do"}, "event": {"events", "a.happened"}, "request": {"requests", "b.ask"},
		"retry": {"retry.10ms", ""}, "cancellation": {"control", "cancel.b.ask"},
	} {
		foreign.queue(tap, from[0], from[1])
	}
	trace := amqp.Table{
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b", "baggage": "tenant=blue",
		"leveret-conversation-id": "talk",
	}
	foreign.publish("commands", "a.start", amqp.Publishing{MessageId: "first", Headers: trace, Body: []byte(`{"n":1}`)})
	got := map[string]amqp.Delivery{"request": foreign.take("request")}
	close(taken)
	for _, kind := range []string{"cancellation", "command", "event", "retry"} {
		got[kind] = foreign.take(kind)
	}
	got["letter"] = foreign.take("a.on.a.happened.dlq")
	got["reply"] = foreign.ask("a.ask", amqp.Publishing{MessageId: "asked", Headers: trace, Body: []byte(`{"n":1}`), Expiration: "60000"})
	require.NoError(t, running.halt())
	foreign.publish("", "a.on.a.happened.dlq", amqp.Publishing{
		Headers: got["letter"].Headers, MessageId: got["letter"].MessageId, Expiration: "60000", UserId: "guest", Body: got["letter"].Body,
	})
	letters := deadletter.New(conn)
	_, err := letters.Replay(b.ctx, letters.DeadLetters("a.on.a.happened"), deadletter.Replay{})
	require.NoError(t, err)
	got["replay"] = foreign.take("a.on.a.happened")

	documented := documentedKinds(t)
	seen := map[string]bool{}
	for kind, d := range got {
		for name := range d.Headers {
			if !strings.HasPrefix(name, "x-") {
				require.Contains(t, documented[name], kind, "%s on a %s", name, kind)
				seen[name+" on a "+kind] = true
			}
		}
	}
	rarely := []string{"leveret-returned", "leveret-not-before", "leveret-headers-dropped", "leveret-replayed", "leveret-error-reason"}
	for name, kinds := range documented {
		for _, kind := range kinds {
			if !slices.Contains(rarely, name) { // not on each; see the page for when
				require.True(t, seen[name+" on a "+kind], "%s on a %s; it has %v", name, kind, slices.Sorted(maps.Keys(got[kind].Headers)))
			}
		}
	}
	for _, kind := range []string{"command", "event", "request"} {
		require.Equal(t, "first", got[kind].Headers["leveret-causation-id"])
		require.Equal(t, "talk", got[kind].Headers["leveret-conversation-id"])
	}
	require.Equal(t, "talk", got["reply"].Headers["leveret-conversation-id"])
	require.NotEmpty(t, got["reply"].MessageId)
	require.NotEqual(t, "asked", got["reply"].MessageId)
	require.NotEmpty(t, got["request"].Expiration)
	for _, kind := range []string{"retry", "letter", "replay"} {
		require.Equal(t, got["event"].MessageId, got[kind].MessageId)
		require.Empty(t, got[kind].Expiration, kind)
		require.Empty(t, got[kind].UserId, kind)
		require.Equal(t, "a.happened", got[kind].Headers["leveret-routing-key"], kind)
	}
	require.EqualValues(t, 1, got["replay"].Headers["leveret-replayed"])
	for name, kind := range map[string]string{"leveret-attempt": "letter", "leveret-error-code": "replay", "leveret-deadline": "retry"} {
		require.NotContains(t, got[kind].Headers, name)
	}
}

// TestWhatExpires: a request is gone; a command becomes a dead letter of the broker's, whose headers say so.
func TestWhatExpires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, ask := leveret.NewCommand[thing]("a.do"), leveret.NewRequest[thing, answer]("a.ask")
	w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("a", leveret.Handles(do), leveret.Answers(ask)), leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(context.Context, thing) error { return nil })
	ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) { return answer{}, nil })
	require.NoError(t, b.run(w).halt()) // it has declared
	foreign := b.peer()
	foreign.publish("requests", "a.ask", amqp.Publishing{Body: []byte(`{}`), Expiration: "1"})
	foreign.publish("commands", "a.do", amqp.Publishing{
		Body: []byte(`{}`), Expiration: "1", Headers: amqp.Table{"leveret-attempt": int64(2), "leveret-error-code": "unavailable"},
	})
	letter := foreign.take("a.do.dlq")
	require.NotContains(t, letter.Headers, "leveret-failed-queue")
	require.Equal(t, "unavailable", letter.Headers["leveret-error-code"], "of its last attempt")
	death := letter.Headers["x-death"].([]any)[0].(amqp.Table)
	require.Equal(t, []any{"a.do", "expired"}, []any{death["queue"], death["reason"]})
	require.Empty(t, letter.Expiration)
	b.eventually(func() bool { return foreign.count("a.ask") == 0 })
	require.Zero(t, foreign.count("a.do.dlq"), "a request is nowhere")
}

// TestDeadlinesThatAreNone: of what is no time, or one that no clock shows, the contract's timeout counts.
func TestDeadlinesThatAreNone(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(time.Hour))
	left := make(chan time.Duration, 9)
	b.answering(leveret.WorkerConfig{}, func(ctx context.Context, v thing) (answer, error) {
		left <- time.Until(leveret.MessageFrom(ctx).Deadline)
		return answer(v), nil
	})
	foreign := b.peer()
	for _, deadline := range []any{
		"18446744073709551615", int64(1<<63 - 1), time.Unix(-1, 0), []byte("18446744073709551615"), 1e19, nil, true, amqp.Table{},
	} {
		d := foreign.ask("a.ask", amqp.Publishing{Headers: amqp.Table{"leveret-deadline": deadline}, Body: []byte(`{"n":7}`)})
		require.JSONEq(t, `{"n":7}`, string(d.Body), "%v", deadline)
		require.InDelta(t, time.Hour, receive(t, left), float64(30*time.Minute), "%v", deadline)
	}
}

// TestWhatCountsAsAReturn: whether a message that a worker gives back becomes a dead letter one day depends on the broker.
func TestWhatCountsAsAReturn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := b.peer()
	version, _ := foreign.conn.Properties["version"].(string)
	older := !strings.HasPrefix(version, "4.3.")
	for how, counts := range map[string]bool{"nack": older, "reject": true, "channel": true} {
		foreign.queue(how+".dlq", "", "")
		_, err := foreign.QueueDeclare(how, true, false, false, false, amqp.Table{
			"x-queue-type": "quorum", "x-delivery-limit": int64(3), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": how + ".dlq",
		})
		require.NoError(t, err)
		foreign.publish("", how, amqp.Publishing{Body: []byte(how)})
		deliveries := 0
		for dead := false; deliveries < 10 && !dead; {
			ch, err := foreign.conn.Channel()
			require.NoError(t, err)
			d, ok, err := ch.Get(how, false)
			require.NoError(t, err)
			switch {
			case !ok:
				dead = foreign.count(how+".dlq") == 1
			case how == "nack":
				require.NoError(t, d.Nack(false, true))
			case how == "reject":
				require.NoError(t, d.Reject(true))
			}
			if ok {
				deliveries++
			}
			require.NoError(t, ch.Close())
		}
		require.Equal(t, map[bool]int{true: 4, false: 10}[counts], deliveries, "%s: the first delivery, and three returns", how)
	}
}
