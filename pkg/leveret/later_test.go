package leveret_test

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// handlerRun is one run of a handler.
type handlerRun struct {
	at      time.Time
	worker  string
	attempt int
}

// TestRetryAfterLongestTier: a delay that no retry tier has is kept all the same, also by other workers, in both layouts
// and from a queue that belongs to somebody else. All of it is one attempt.
func TestRetryAfterLongestTier(t *testing.T) {
	t.Parallel()
	const tier, asked = 100 * time.Millisecond, 2 * time.Second
	for name, test := range map[string]struct {
		layout topology.Layout
		queue  string
		tier   string
		dead   string
	}{
		"shared":   {topology.Shared, "a.do", "retry.100ms", "a.do.dlq"},
		"isolated": {topology.Isolated, "a.do", "retry.a.100ms", "a.do.dlq"},
		"external": {topology.Shared, "theirs", "retry.100ms", "theirs.dlq"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := []leveret.ContractOption{leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{tier, tier / 2}})}
			b := setup(t)
			foreign := b.peer()
			if test.queue != "a.do" {
				foreign.queue(test.queue, "", "")
				options = append(options, leveret.At(leveret.Address{Queue: test.queue, External: true}))
			}
			do := leveret.NewCommand[thing]("a.do", options...)
			runs := make(chan handlerRun, 9)
			stop := make(chan context.CancelFunc, 1)
			start := func(instance string) *running {
				w := b.worker(b.connect(leveret.ConnConfig{Layout: test.layout}), leveret.NewService("a", leveret.Handles(do)), leveret.WorkerConfig{})
				do.Handle(w.Handlers, func(ctx context.Context, _ thing) error {
					runs <- handlerRun{time.Now(), instance, leveret.MessageFrom(ctx).Attempt}
					if instance == "one" {
						(<-stop)() // before there is a copy that it could take
					}
					return leveret.RetryAfter(asked, leveret.Errorf(leveret.Unavailable, "not yet"))
				})
				return b.run(w)
			}
			one := start("one")
			stop <- one.stop
			foreign.queue("tap", test.tier, "")
			foreign.publish("", test.queue, amqp.Publishing{MessageId: "m", Body: []byte(`{"n":1}`), Headers: amqp.Table{"mine": "kept"}})
			first := receive(t, runs)
			require.Equal(t, 1, first.attempt)
			copied := foreign.take("tap")
			notBefore, err := time.Parse(time.RFC3339Nano, copied.Headers["leveret-not-before"].(string))
			require.NoError(t, err)
			require.False(t, notBefore.Before(first.at.Add(asked)))
			require.NoError(t, one.wait())
			start("two") // another worker keeps the promise

			second := receive(t, runs)
			require.Equal(t, handlerRun{second.at, "two", 2}, second)
			require.False(t, second.at.Before(notBefore), "handled %v too soon", notBefore.Sub(second.at))
			d := foreign.take(test.dead)
			require.EqualValues(t, 2, d.Headers["leveret-attempts"])
			require.NotContains(t, d.Headers, "leveret-not-before")
			require.Equal(t, "kept", d.Headers["mine"])

			hops := foreign.count("tap")
			require.LessOrEqual(t, hops, int(asked/tier), "each is of the whole tier")
			for range hops {
				d := foreign.take("tap")
				require.Equal(t, "m", d.MessageId)
				require.EqualValues(t, 2, d.Headers["leveret-attempt"])
				if name, ok := d.Headers["leveret-not-before"]; ok {
					require.Equal(t, copied.Headers["leveret-not-before"], name, "each hop keeps it")
				}
			}
			require.Empty(t, runs)
		})
	}
}

// TestNotBefore: a sender's own leveret-not-before is kept as well, on commands and events. What is not a time, has
// passed, or is further away than any worker writes, is ignored; on a request it always is.
func TestNotBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do := leveret.NewCommand[thing]("a.do", leveret.Retry(leveret.RetryPolicy{Delays: []time.Duration{100 * time.Millisecond}}))
	ask := leveret.NewRequest[thing, answer]("a.ask", leveret.Timeout(patience))
	runs := make(chan *leveret.Message, 9)
	w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("a", leveret.Handles(do), leveret.Answers(ask)), leveret.WorkerConfig{})
	do.Handle(w.Handlers, func(ctx context.Context, _ thing) error { runs <- leveret.MessageFrom(ctx); return nil })
	ask.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) { return answer{N: v.N}, nil })
	b.run(w)
	foreign := b.peer()
	foreign.queue("tap", "retry.100ms", "")
	later := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339Nano) }
	for _, header := range []any{"soon", int64(7), true, nil, later(-time.Hour), later(10 * 365 * 24 * time.Hour), "9999-12-31T23:59:59Z"} {
		foreign.publish("commands", "a.do", amqp.Publishing{Body: []byte(`{}`), Headers: amqp.Table{"leveret-not-before": header}})
		require.Equal(t, 1, receive(t, runs).Attempt, "%v", header)
	}
	require.Zero(t, foreign.count("tap"), "none has waited")

	for wait := 6 * time.Second; ; wait *= 2 {
		until := time.Now().Add(wait)
		foreign.publish("commands", "a.do", amqp.Publishing{Body: []byte(`{}`), Headers: amqp.Table{"leveret-not-before": until.Format(time.RFC3339Nano)}})
		require.Equal(t, 1, receive(t, runs).Attempt, "waiting is no attempt")
		require.False(t, time.Now().Before(until))
		if _, waited, err := foreign.Get("tap", true); err == nil && waited {
			break
		}
		require.Less(t, wait, 20*time.Second, "none has waited: each came too late to have to")
	}

	answered := foreign.ask("a.ask", amqp.Publishing{Body: []byte(`{"n":3}`), CorrelationId: "c", Headers: amqp.Table{"leveret-not-before": later(time.Hour)}})
	require.JSONEq(t, `{"n":3}`, string(answered.Body))
}
