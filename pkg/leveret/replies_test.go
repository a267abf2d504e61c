package leveret_test

import (
	"context"
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// isolatedAnswers runs a worker that answers in the isolated layout, and returns a client that calls it.
func isolatedAnswers(a *asking, config leveret.WorkerConfig, handlers ...leveret.HandlersConfig) *leveret.Client {
	a.t.Helper()
	w := a.worker(a.connect(leveret.ConnConfig{Layout: topology.Isolated}), a.service, config, handlers...)
	a.ask.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) { return answer{N: v.N}, nil })
	a.run(w)
	return a.client(a.connect(leveret.ConnConfig{Layout: topology.Isolated}), a.caller, leveret.ClientConfig{})
}

// TestRepliesThroughAnExchange: in the isolated layout replies go through the answering service's own exchange. Where
// that is deleted, it is declared and bound again by those who use it.
func TestRepliesThroughAnExchange(t *testing.T) {
	t.Parallel()
	a := setupAsking(t)
	client, foreign := isolatedAnswers(a, leveret.WorkerConfig{}), a.peer()
	const callers = 20 // at once, from the first call on
	errs := make(chan error, callers)
	for n := range callers {
		go func() {
			reply, err := a.ask.Call(a.ctx, client, thing{N: n})
			if err == nil && reply.N != n {
				err = errors.New("the reply to another call")
			}
			errs <- err
		}()
	}
	for range callers {
		require.NoError(t, receive(t, errs))
	}

	require.NoError(t, foreign.ExchangeDelete("replies.a", false, false))
	a.eventually(func() bool {
		ctx, cancel := context.WithTimeout(a.ctx, 2*time.Second) // the first replies have nowhere to go
		defer cancel()
		reply, err := a.ask.Call(ctx, client, thing{N: 7})
		return err == nil && reply.N == 7
	}, "the exchange is declared again, and the queue bound")
}

// TestCallerBeforeTheExchange: a caller that may declare makes the exchange of replies itself, and one that may not
// learns that it is missing.
func TestCallerBeforeTheExchange(t *testing.T) {
	t.Parallel()
	a := setupAsking(t)
	undeclared := a.client(a.connect(leveret.ConnConfig{Layout: topology.Isolated, NoDeclare: true}), a.caller, leveret.ClientConfig{})
	_, err := a.ask.Call(a.ctx, undeclared, thing{})
	require.ErrorIs(t, err, leveret.NotFound)
	require.ErrorContains(t, err, `the exchange of replies "replies.a"`)

	declares := a.client(a.connect(leveret.ConnConfig{Layout: topology.Isolated}), a.caller, leveret.ClientConfig{})
	_, err = a.ask.Call(a.ctx, declares, thing{})
	require.ErrorIs(t, err, leveret.ErrUnroutable, "no worker ever ran")
}

// TestForeignCallersOfTheIsolatedLayout: a caller that binds a queue of its own is answered; direct reply-to and queues
// that the broker has named are not, unless the worker is told so.
func TestForeignCallersOfTheIsolatedLayout(t *testing.T) {
	t.Parallel()
	a := setupAsking(t)
	var seen verdictsByID
	isolatedAnswers(a, leveret.WorkerConfig{ReplyTo: []string{"amq.gen-*"}}, leveret.HandlersConfig{OnOutcome: seen.report})
	foreign := a.peer()
	ask := func(replyTo string) leveret.Outcome {
		foreign.publish("requests.a", "a.ask", amqp.Publishing{ReplyTo: replyTo, MessageId: replyTo, CorrelationId: "c", Body: []byte(`{"n":3}`)})
		return seen.await(a.bench, replyTo)
	}
	bound, err := foreign.QueueDeclare("reply.billing.0b5e", false, false, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, foreign.QueueBind(bound.Name, bound.Name, "replies.a", false, nil))
	require.Equal(t, leveret.VerdictAck, ask(bound.Name).Verdict)
	require.Equal(t, "c", foreign.take(bound.Name).CorrelationId)
	named, err := foreign.QueueDeclare("", false, false, true, false, nil)
	require.NoError(t, err)
	require.Equal(t, leveret.VerdictAck, ask(named.Name).Verdict)
	require.Equal(t, "c", foreign.take(named.Name).CorrelationId, "through the default exchange, since the worker allows it")
	unbound, err := foreign.QueueDeclare("reply.billing.7c1d", false, false, true, false, nil)
	require.NoError(t, err)
	require.Equal(t, leveret.VerdictAck, ask(unbound.Name).Verdict)
	require.Equal(t, leveret.VerdictForbidden, ask("amq.rabbitmq.reply-to.x").Verdict)
	require.Equal(t, leveret.VerdictForbidden, ask("b.reserve").Verdict)
	require.Zero(t, foreign.count(unbound.Name), "no reply goes through the default exchange")
}

// TestExpiredRequestQueue: a worker that declares nothing declares the queue of its request again when that is gone, as
// it is a minute after the last worker.
func TestExpiredRequestQueue(t *testing.T) {
	t.Parallel()
	for _, layout := range []topology.Layout{topology.Shared, topology.Isolated} {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			a := setupAsking(t)
			declares := a.connect(leveret.ConnConfig{Layout: layout})
			w := a.worker(declares, a.service, leveret.WorkerConfig{})
			a.ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) { return answer{}, nil })
			require.NoError(t, a.run(w).halt())
			_, err := a.peer().QueueDelete("a.ask", false, false, false)
			require.NoError(t, err)

			quiet := a.connect(leveret.ConnConfig{Layout: layout, NoDeclare: true})
			w = a.worker(quiet, a.service, leveret.WorkerConfig{})
			a.ask.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) { return answer(v), nil })
			a.run(w)
			client := a.client(quiet, a.caller, leveret.ClientConfig{})
			reply, err := a.ask.Call(a.ctx, client, thing{N: 4})
			require.NoError(t, err)
			require.Equal(t, 4, reply.N)
			_, err = a.peer().QueueDelete("a.ask", false, false, false)
			require.NoError(t, err)
			a.eventually(func() bool {
				reply, err := a.ask.Call(a.ctx, client, thing{N: 5})
				return err == nil && reply.N == 5
			}, "while it runs, too")
		})
	}
}
