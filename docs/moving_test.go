package docs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// theirWorker is the old program: it takes charges until it is stopped. It chooses by type, as many do, and ends with an
// error at one that it does not know.
type theirWorker struct {
	handled chan Charge
	got     chan amqp.Delivery // what it handled, as it came
	ch      *amqp.Channel
	ended   chan error
}

func (b *bench) theirWorker(t *testing.T) *theirWorker {
	t.Helper()
	w := &theirWorker{handled: make(chan Charge, 10), got: make(chan amqp.Delivery, 10), ch: b.channel(t), ended: make(chan error, 1)}
	require.NoError(t, w.ch.Qos(1, 0, false))
	deliveries, err := w.ch.Consume("billing.charge", "", false, false, false, false, nil)
	require.NoError(t, err)
	go func() { w.ended <- w.consume(deliveries) }()
	return w
}

func (w *theirWorker) consume(deliveries <-chan amqp.Delivery) error {
	defer close(w.handled)
	for d := range deliveries {
		switch d.Type {
		case "": // their senders set none
			var c Charge
			if err := json.Unmarshal(d.Body, &c); err != nil {
				_ = d.Nack(false, false)
				continue
			}
			_ = d.Ack(false) // before anybody stops it because of what it handled
			w.handled <- c
			w.got <- d
		default:
			return fmt.Errorf("what is a %s?", d.Type)
		}
	}
	return nil
}

func (w *theirWorker) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, w.ch.Close())
	require.NoError(t, <-w.ended)
}

// ours runs a worker of the same queue until the returned function is called.
func (b *bench) ours(t *testing.T, c *leveret.Command[Charge], handled chan<- Charge) (stop func()) {
	t.Helper()
	h := leveret.NewHandlers(leveret.NewService("billing", leveret.Handles(c)), leveret.HandlersConfig{})
	c.Handle(h, func(_ context.Context, c Charge) error { handled <- c; return nil })
	ready, ended := make(chan struct{}), make(chan error, 1)
	w, err := leveret.NewWorker(b.conn, h, leveret.WorkerConfig{OnReady: func() { close(ready) }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { ended <- w.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		require.NoError(t, err)
	}
	return func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

func next(t *testing.T, from <-chan Charge) string {
	t.Helper()
	select {
	case c := <-from:
		return c.ChargeID
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "nothing was handled")
		return ""
	}
}

// TestOneSideAtATime takes the steps of "In which order", with the page's old program on the other side of each.
func TestOneSideAtATime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, rawDeclare(b.ch))
	sender := b.channel(t)
	require.NoError(t, sender.Confirm(false))
	old := b.theirWorker(t)

	// The command line comes first: nothing else changes, and nothing is declared.
	desk := b.desk(t)
	require.Contains(t, desk("queues"), "billing.charge ")
	require.Contains(t, desk("send", "billing.charge", `{"charge_id":"by hand"}`), "confirmed")
	require.Equal(t, "by hand", next(t, old.handled))
	_, err := b.channel(t).QueueDeclarePassive("billing.charge.dlq", true, false, false, false, nil)
	require.ErrorContains(t, err, "NOT_FOUND", "the command line has declared nothing")

	// A worker moves. The sender stays, and so may the old worker; or it comes back.
	handled := make(chan Charge, 10)
	stop := b.ours(t, OldCharge, handled)
	old.stop(t)
	require.NoError(t, rawPublish(t.Context(), sender, Charge{ChargeID: "to ours"}))
	require.Equal(t, "to ours", next(t, handled))
	stop()
	old = b.theirWorker(t)
	require.NoError(t, rawPublish(t.Context(), sender, Charge{ChargeID: "back again"}))
	require.Equal(t, "back again", next(t, old.handled))

	// A sender moves. The old worker finds what it needs, and may ignore the rest.
	<-old.got
	client := b.client(t, leveret.NewService("shop", leveret.Sends(OldCharge)))
	require.NoError(t, OldCharge.Send(within(t, 2*time.Minute), client, Charge{ChargeID: "from ours"}))
	require.Equal(t, "from ours", next(t, old.handled))
	d := <-old.got
	require.Equal(t, []string{"", "application/json"}, []string{d.Type, d.ContentType})
	require.Equal(t, amqp.Persistent, d.DeliveryMode)
	require.NotEmpty(t, d.MessageId)
	require.Equal(t, "shop", d.AppId)
	require.NotEmpty(t, d.CorrelationId)
	require.False(t, d.Timestamp.IsZero())
	for header := range d.Headers {
		require.Regexp(t, `^(leveret-|trace)`, header)
	}
	old.stop(t)

	// The contract gets a queue of its own, under a new name; the old queue is emptied beside it.
	require.NoError(t, rawPublish(t.Context(), sender, Charge{ChargeID: "a straggler"}))
	defer b.ours(t, OldCharge, handled)()
	defer b.ours(t, PayCharge, handled)()
	require.Equal(t, "a straggler", next(t, handled))
	client = b.client(t, leveret.NewService("shop", leveret.Sends(PayCharge)))
	require.NoError(t, PayCharge.Send(within(t, 2*time.Minute), client, Charge{ChargeID: "to the new queue"}))
	require.Equal(t, "to the new queue", next(t, handled))
	require.Zero(t, b.count(t, "billing.charge"))
}

// desk builds examples/desk, and returns what runs it and returns what it prints.
func (b *bench) desk(t *testing.T) func(args ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "desk.exe")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../examples/desk").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = append(os.Environ(), "LEVERET_BROKER_URL="+b.url)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Run(), "%s%s", &out, &errs)
		return out.String()
	}
}

// TestMassTransitEnvelope: an event in MassTransit's envelope, in both directions.
func TestMassTransitEnvelope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	warehouse := leveret.NewService("warehouse", leveret.Publishes(OrderSubmitted), leveret.SubscribesTo(OrderSubmitted))
	handled := make(chan OrderSubmittedEvent, 1)
	h := leveret.NewHandlers(warehouse, leveret.HandlersConfig{})
	OrderSubmitted.Subscribe(h, func(_ context.Context, e Envelope[OrderSubmittedEvent]) error { handled <- e.Message; return nil })
	b.run(t, h)
	err := b.ch.PublishWithContext(t.Context(), "Shop.Contracts:OrderSubmitted", "", true, false, amqp.Publishing{
		ContentType: "application/vnd.masstransit+json", DeliveryMode: amqp.Persistent,
		Headers: amqp.Table{"MT-Activity-Id": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		Body: []byte(`{"messageId":"181c0000-6393-3630-36a4-08daf4e7c6da","requestId":null,"correlationId":null,"conversationId":"181c0000-6393-3630-2f3c-08daf4e7c6da",` +
			`"initiatorId":null,"sourceAddress":"rabbitmq://localhost/shop","destinationAddress":"rabbitmq://localhost/Shop.Contracts:OrderSubmitted",` +
			`"responseAddress":null,"faultAddress":null,"messageType":["urn:message:Shop.Contracts:OrderSubmitted"],"message":{"orderId":"o-1"},` +
			`"expirationTime":null,"sentTime":"2026-11-12T05:36:01.2345678Z","headers":{},"host":{"machineName":"m","processName":"shop","processId":1}}`),
	})
	require.NoError(t, err)
	require.Equal(t, OrderSubmittedEvent{OrderID: "o-1"}, <-handled)

	_, err = b.ch.QueueDeclare("theirs", true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, b.ch.QueueBind("theirs", "", "Shop.Contracts:OrderSubmitted", false, nil))
	require.NoError(t, OrderSubmitted.Publish(within(t, 2*time.Minute), b.client(t, warehouse), envelope(OrderSubmittedEvent{OrderID: "o-2"})))
	require.Equal(t, OrderSubmittedEvent{OrderID: "o-2"}, <-handled)
	theirs := b.deadLetter(t, "theirs")
	var sent struct {
		MessageID   string   `json:"messageId"`
		MessageType []string `json:"messageType"`
		Message     struct {
			OrderID string `json:"orderId"`
		} `json:"message"`
	}
	require.NoError(t, json.Unmarshal(theirs.Body, &sent))
	require.Equal(t, "o-2", sent.Message.OrderID)
	require.Equal(t, []string{"urn:message:Shop.Contracts:OrderSubmitted"}, sent.MessageType)
	require.NotEmpty(t, sent.MessageID)
	require.Empty(t, theirs.Type)
	require.Equal(t, "application/vnd.masstransit+json", theirs.ContentType)
	require.False(t, strings.HasPrefix(theirs.RoutingKey, "order"))
}

// TestOneSideOfACall moves either side of a call alone, with the page's own on the other.
func TestOneSideOfACall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.ch.ExchangeDeclare("billing", "direct", true, false, false, false, nil))
	_, err := b.ch.QueueDeclare("balances", true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, b.ch.QueueBind("balances", "balance", "billing", false, nil))

	// Their server, which knows nothing but reply_to and correlation_id.
	theirs := b.channel(t)
	requests, err := theirs.Consume("balances", "theirs", true, false, false, false, nil)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() {
		d := <-requests
		served <- theirs.PublishWithContext(context.Background(), "", d.ReplyTo, false, false,
			amqp.Publishing{CorrelationId: d.CorrelationId, Body: []byte(`{"amount": 7}`)})
	}()
	client := b.client(t, leveret.NewService("shop", leveret.Calls(OldBalance)))
	reply, err := OldBalance.Call(within(t, 2*time.Minute), client, BalanceQuery{Account: "a"})
	require.NoError(t, err)
	require.NoError(t, <-served)
	require.Equal(t, BalanceReply{Amount: 7}, reply)

	// Our server in its place. Their caller stays.
	h := leveret.NewHandlers(leveret.NewService("billing", leveret.Answers(OldBalance)), leveret.HandlersConfig{})
	OldBalance.Answer(h, func(context.Context, BalanceQuery) (BalanceReply, error) { return BalanceReply{Amount: 42}, nil })
	b.run(t, h)
	require.NoError(t, theirs.Cancel("theirs", false))
	reply, err = rawCall(within(t, 2*time.Minute), b.ch, BalanceQuery{Account: "a"})
	require.NoError(t, err)
	require.Equal(t, BalanceReply{Amount: 42}, reply)
}
