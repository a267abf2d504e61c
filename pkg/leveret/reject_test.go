package leveret_test

import (
	"context"
	"errors"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// graveyard makes, without Leveret, a queue with a dead-letter exchange of its own, and returns a program that reads what
// ends there.
func (p *peer) graveyard(queue string) <-chan amqp.Delivery {
	p.t.Helper()
	require.NoError(p.t, p.ExchangeDeclare("graveyard", "fanout", true, false, false, false, nil))
	_, err := p.QueueDeclare("graves", true, false, false, false, nil)
	require.NoError(p.t, err)
	require.NoError(p.t, p.QueueBind("graves", "", "graveyard", false, nil))
	_, err = p.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum", "x-dead-letter-exchange": "graveyard"})
	require.NoError(p.t, err)
	graves, err := p.Consume("graves", "", true, false, false, false, nil)
	require.NoError(p.t, err)
	return graves
}

// death is the newest entry of a message's x-death.
func death(t *testing.T, d amqp.Delivery) amqp.Table {
	t.Helper()
	deaths, _ := d.Headers["x-death"].([]any)
	require.NotEmpty(t, deaths)
	return deaths[0].(amqp.Table)
}

// What fails for good in a queue with a dead-letter exchange of its own is rejected, and ends where their program finds it.
func TestReject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := b.peer()
	graves := foreign.graveyard("orders")
	at := func(kind string) leveret.ContractOption {
		return leveret.At(leveret.Address{Queue: "orders", External: true, Type: kind, DeadLetterQueue: "graves"})
	}
	place, cancel := leveret.NewCommand[thing]("their.place", quick, at("place")), leveret.NewCommand[thing]("their.cancel", quick, at("cancel"))
	service := leveret.NewService("a", leveret.Handles(place, cancel))
	verdicts := make(chan leveret.Outcome, 20)
	run := func() *running {
		w := b.worker(b.connect(leveret.ConnConfig{}), service, leveret.WorkerConfig{}, leveret.HandlersConfig{
			OnOutcome: func(_ context.Context, m *leveret.Message, o leveret.Outcome) {
				if o.SettleErr != nil || m.Contract.Spec().Name == "" {
					o.Verdict = 0
				}
				verdicts <- o
			},
		})
		place.Handle(w.Handlers, func(context.Context, thing) error { return errors.New("no") })
		cancel.Handle(w.Handlers, func(context.Context, thing) error { return leveret.Errorf(leveret.NotFound, "no such order") })
		return b.run(w)
	}
	r := run()

	foreign.publish("", "orders", amqp.Publishing{Type: "cancel", MessageId: "wrong", Body: []byte(`{"n":1}`), Headers: amqp.Table{"their": "own"}})
	d := receive(t, graves)
	require.Equal(t, "wrong", d.MessageId)
	require.JSONEq(t, `{"n":1}`, string(d.Body))
	require.Equal(t, "own", d.Headers["their"])
	require.NotContains(t, d.Headers, "leveret-error-code")
	require.Equal(t, "orders", death(t, d)["queue"])
	require.Equal(t, "rejected", death(t, d)["reason"])
	require.Equal(t, leveret.VerdictReject, receive(t, verdicts).Verdict)

	foreign.publish("", "orders", amqp.Publishing{Type: "place", MessageId: "tried", Body: []byte(`{"n":2}`)})
	d = receive(t, graves)
	require.Equal(t, "tried", d.MessageId)
	require.EqualValues(t, 3, d.Headers["leveret-attempt"], "the copy of the last retry")
	require.Equal(t, "orders", death(t, d)["queue"])
	got := []leveret.Verdict{receive(t, verdicts).Verdict, receive(t, verdicts).Verdict, receive(t, verdicts).Verdict}
	require.ElementsMatch(t, []leveret.Verdict{leveret.VerdictRetry, leveret.VerdictRetry, leveret.VerdictReject}, got, "a copy may be reported first")

	foreign.publish("", "orders", amqp.Publishing{Type: "strange", MessageId: "nobody's", Body: []byte(`{}`)})
	require.Equal(t, "nobody's", receive(t, graves).MessageId)
	o := receive(t, verdicts)
	require.Equal(t, leveret.VerdictReject, o.Verdict)
	require.Equal(t, leveret.Unimplemented, leveret.CodeOf(o.Err))

	require.NoError(t, r.Ready())
	require.NoError(t, r.halt())

	// What was in the quarantine cannot be rejected: that queue leads nowhere.
	foreign.publish("quarantine.a", "orders", amqp.Publishing{Type: "cancel", MessageId: "suspect", Body: []byte(`{"n":3}`)})
	r = run()
	d = receive(t, graves)
	require.Equal(t, "suspect", d.MessageId)
	require.Equal(t, "orders", d.Headers["leveret-failed-queue"])
	require.Equal(t, "not_found", d.Headers["leveret-error-code"])
	require.NotContains(t, d.Headers, "x-death")
	require.NoError(t, r.Ready())
	require.NoError(t, r.halt())

	_, err := b.peer().QueueDeclarePassive("orders.dlq", true, false, false, false, nil)
	require.ErrorContains(t, err, "NOT_FOUND", "there is no dead-letter queue of ours")
	require.ErrorContains(t, b.peer().ExchangeDeclarePassive("dead-letters", "direct", true, false, false, false, nil), "NOT_FOUND")
}
