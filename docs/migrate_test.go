package docs_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// The tests run both sides of migrate-from-amqp091.md on a real broker: what the page says becomes of the one, and of
// the other.

// bench is a virtual host with a connection and a channel of the driver, and a connection of ours.
type bench struct {
	url  string
	raw  *amqp.Connection
	ch   *amqp.Channel
	conn *leveret.Conn
	log  *testmain.Output
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{url: leverettest.Broker(t), log: &testmain.Output{}}
	var err error
	b.raw, err = amqp.Dial(b.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.raw.Close() })
	b.ch = b.channel(t)
	b.conn, err = connect(t.Context(), b.url, slog.New(slog.NewTextHandler(b.log, nil)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.conn.Close(context.WithoutCancel(t.Context()))) })
	return b
}

func (b *bench) channel(t *testing.T) *amqp.Channel {
	t.Helper()
	ch, err := b.raw.Channel()
	require.NoError(t, err)
	return ch
}

func (b *bench) client(t *testing.T, s *leveret.Service) *leveret.Client {
	t.Helper()
	client, err := leveret.NewClient(b.conn, s, leveret.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close(context.WithoutCancel(t.Context()))) })
	return client
}

// run runs a worker of handlers until the test ends, and returns when it consumes.
func (b *bench) run(t *testing.T, h *leveret.Handlers) {
	t.Helper()
	ready := make(chan struct{})
	w, err := leveret.NewWorker(b.conn, h, leveret.WorkerConfig{OnReady: func() { close(ready) }})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	select {
	case <-ready:
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "the worker is not ready")
	}
}

// worker is a worker that runs, with a handler for a command.
func (b *bench) worker(t *testing.T, c *leveret.Command[Charge], f func(context.Context, Charge) error) {
	t.Helper()
	h := leveret.NewHandlers(leveret.NewService("billing", leveret.Handles(c)), leveret.HandlersConfig{})
	c.Handle(h, f)
	b.run(t, h)
}

func (b *bench) count(t *testing.T, queue string) int {
	t.Helper()
	q, err := b.channel(t).QueueDeclarePassive(queue, true, false, false, false, nil)
	require.NoError(t, err)
	return q.Messages
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestConnectionLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	client := b.client(t, Shop)
	require.NoError(t, publish(within(t, 2*time.Minute), client, Charge{ChargeID: "c-1"}))

	ctx, stop := context.WithCancel(t.Context())
	uses := make(chan *amqp.Connection, 2)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		rawConnect(ctx, b.url, func(c *amqp.Connection) { uses <- c })
	}()
	first := <-uses
	ch, err := first.Channel()
	require.NoError(t, err)

	node, vhost := leverettest.Node(t), leverettest.VHost(t, b.url)
	_, err = node.Ctl(within(t, 5*time.Minute), "close_all_connections", "--vhost", vhost, "a test")
	require.NoError(t, err)

	second := <-uses
	require.ErrorIs(t, ch.PublishWithContext(t.Context(), "", "billing.charge", false, false, amqp.Publishing{}), amqp.ErrClosed,
		"what was opened on the old connection is dead, though there is a new one")
	stop()
	require.NoError(t, second.Close())
	<-ended

	require.NoError(t, publish(within(t, 2*time.Minute), client, Charge{ChargeID: "c-2"}), "the same client goes on")
	require.Contains(t, b.log.String(), "connection lost")
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	node := leverettest.Node(t)
	_, err := connect(within(t, 2*time.Minute), strings.Replace(node.URL(), node.Password()+"@", "wrong@", 1), nil)
	require.ErrorIs(t, err, leveret.ErrRefused)
	require.NotContains(t, err.Error(), "wrong@")
}

func TestDeclareMismatch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.ch.QueueDeclare("billing.charge", true, false, false, false, nil) // as it was years ago
	require.NoError(t, err)

	err = rawDeclare(b.ch)
	var refused *amqp.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, amqp.PreconditionFailed, refused.Code)
	require.True(t, b.ch.IsClosed(), "and with it everything else on the channel")

	handled := make(chan Charge, 1)
	b.worker(t, ChargeCard, func(_ context.Context, c Charge) error { handled <- c; return nil })
	require.NoError(t, publish(within(t, 2*time.Minute), b.client(t, Shop), Charge{ChargeID: "c-1"}))
	require.Equal(t, Charge{ChargeID: "c-1"}, <-handled)
	require.Contains(t, b.log.String(), "cannot declare; using what exists")
}

func TestConfirmedIsNotRouted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, rawDeclare(b.ch))
	require.NoError(t, b.ch.QueueUnbind("billing.charge", "charge", "billing", nil))
	require.NoError(t, b.ch.Confirm(false))
	require.NoError(t, rawPublish(t.Context(), b.ch, Charge{ChargeID: "c-1"}), "the broker confirms it")
	require.Zero(t, b.count(t, "billing.charge"), "and it is nowhere")

	client := b.client(t, leveret.NewService("shop", leveret.Sends(OldCharge)))
	err := OldCharge.Send(within(t, 2*time.Minute), client, Charge{ChargeID: "c-1"})
	require.ErrorIs(t, err, leveret.ErrUnroutable)
	require.Equal(t, "no queue is bound for it", explain(err))
}

// TestUnroutable: each of our sends learns that it was returned. Of the driver's the select decides, where return and
// confirm are both there; how often that goes wrong depends on the machine, so it is logged and not judged.
func TestUnroutable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.ch.ExchangeDeclare("billing", "direct", true, false, false, false, nil))
	wrong := 0
	client := b.client(t, leveret.NewService("shop", leveret.Sends(OldCharge)))
	for range 100 {
		ch := b.channel(t)
		require.NoError(t, ch.Confirm(false))
		if rawPublishMandatory(t.Context(), ch, []byte("{}")) == nil {
			wrong++
		}
		require.NoError(t, ch.Close())
		require.ErrorIs(t, OldCharge.Send(within(t, 2*time.Minute), client, Charge{}), leveret.ErrUnroutable)
	}
	t.Logf("%d of 100 unroutable messages passed as sent", wrong)
}

// cuttable is a network connection whose reading side can be cut, so that an answer is lost on its way.
type cuttable struct {
	net.Conn
	cut atomic.Bool
}

func (c *cuttable) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.cut.Load() {
		return 0, io.EOF
	}
	return n, err
}

// TestLostLooksLikeRefused: the message is in its queue, its confirm is lost, and the driver says that it was refused.
func TestLostLooksLikeRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, rawDeclare(b.ch))
	var wire *cuttable
	conn, err := amqp.DialConfig(b.url, amqp.Config{Dial: func(network, address string) (net.Conn, error) {
		n, err := net.Dial(network, address)
		wire = &cuttable{Conn: n}
		return wire, err
	}})
	require.NoError(t, err)
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.Confirm(false))
	wire.cut.Store(true)
	require.EqualError(t, rawPublish(t.Context(), ch, Charge{ChargeID: "c-1"}), "the broker refused the message")
	_ = wire.Close() // the driver may have closed it
	require.Eventually(t, func() bool { return b.count(t, "billing.charge") == 1 }, 2*time.Minute, 5*time.Millisecond)
}

func TestRequeueIsAHotLoop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.ch.QueueDeclare("billing.charge", true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, b.ch.PublishWithContext(t.Context(), "", "billing.charge", false, false, amqp.Publishing{Body: []byte("{}")}))
	var tries atomic.Int64
	ended := make(chan error, 1)
	go func() {
		ended <- rawConsume(b.ch, func(Charge) error { tries.Add(1); return context.DeadlineExceeded })
	}()
	require.Eventually(t, func() bool { return tries.Load() > 100 }, 2*time.Minute, time.Millisecond)
	require.NoError(t, b.raw.Close())
	require.NoError(t, <-ended, "and the loop ends without a word when the connection does")
}

// TestRetries: our side of the same: two tries, the policy's delay apart, then a dead letter that says why.
func TestRetries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	twice := leveret.NewCommand[Charge]("billing.charge", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{300 * time.Millisecond}}))
	var mu sync.Mutex
	var at []time.Time
	b.worker(t, twice, func(ctx context.Context, c Charge) error {
		mu.Lock()
		at = append(at, time.Now())
		mu.Unlock()
		return charge(ctx, c)
	})
	client := b.client(t, leveret.NewService("shop", leveret.Sends(twice)))
	require.NoError(t, twice.Send(within(t, 2*time.Minute), client, Charge{ChargeID: "c-1", Amount: 2_000_000}))
	dead := b.deadLetter(t, "billing.charge.dlq")
	require.JSONEq(t, `{"charge_id":"c-1","amount":2000000}`, string(dead.Body))
	require.Equal(t, "unavailable", dead.Headers["leveret-error-code"])
	require.Equal(t, "the bank does not answer", dead.Headers["leveret-error-message"])
	require.Equal(t, "billing.charge", dead.Headers["leveret-failed-queue"])
	require.EqualValues(t, 2, dead.Headers["leveret-attempts"])
	require.Len(t, at, 2)
	require.GreaterOrEqual(t, at[1].Sub(at[0]), 250*time.Millisecond)

	require.NoError(t, twice.Send(within(t, 2*time.Minute), client, Charge{ChargeID: "c-2", Amount: -1}))
	dead = b.deadLetter(t, "billing.charge.dlq")
	require.Equal(t, "invalid_argument", dead.Headers["leveret-error-code"])
	require.Equal(t, int64(1), dead.Headers["leveret-attempts"], "wrong messages are not tried again")
}

// deadLetter waits for a message in a queue, and takes it.
func (b *bench) deadLetter(t *testing.T, queue string) amqp.Delivery {
	t.Helper()
	ch := b.channel(t)
	var d amqp.Delivery
	require.Eventually(t, func() bool {
		got, ok, err := ch.Get(queue, true)
		d = got
		return err == nil && ok
	}, 2*time.Minute, 20*time.Millisecond)
	require.NoError(t, ch.Close())
	return d
}

// TestRawDeadLetter: it says from where it came, and nothing of the reason.
func TestRawDeadLetter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, rawDeadLetters(b.ch))
	require.NoError(t, b.ch.PublishWithContext(t.Context(), "", "billing.charge", false, false, amqp.Publishing{Body: []byte("not JSON")}))
	ended, ch := make(chan error, 1), b.channel(t)
	go func() { ended <- rawConsume(ch, func(Charge) error { return nil }) }()
	dead := b.deadLetter(t, "dead-letters")
	require.Equal(t, []byte("not JSON"), dead.Body)
	require.Equal(t, "rejected", dead.Headers["x-first-death-reason"])
	require.NoError(t, b.raw.Close())
	require.NoError(t, <-ended)
}

func TestCallNobodyAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.ch.ExchangeDeclare("billing", "direct", true, false, false, false, nil))
	_, err := rawCall(within(t, 500*time.Millisecond), b.ch, BalanceQuery{Account: "a"})
	require.ErrorIs(t, err, context.DeadlineExceeded, "nobody serves it, and the caller waits all the same")

	client := b.client(t, Shop)
	_, err = call(within(t, 2*time.Minute), client, "a")
	require.ErrorIs(t, err, leveret.ErrUnroutable)

	h := leveret.NewHandlers(leveret.NewService("billing", leveret.Answers(GetBalance)), leveret.HandlersConfig{})
	answer(h)
	b.run(t, h)
	reply, err := call(within(t, 2*time.Minute), client, "a")
	require.NoError(t, err)
	require.Equal(t, BalanceReply{Amount: 42}, reply)
	_, err = call(within(t, 2*time.Minute), client, "")
	require.ErrorIs(t, err, leveret.NotFound)
}

// TestShutdown: closing the connection under a handler loses its ack; a worker waits for it.
func TestShutdown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, rawDeclare(b.ch))
	require.NoError(t, b.ch.PublishWithContext(t.Context(), "billing", "charge", true, false, amqp.Publishing{Body: []byte("{}")}))
	raw, err := amqp.Dial(b.url)
	require.NoError(t, err)
	ch, err := raw.Channel()
	require.NoError(t, err)
	deliveries, err := ch.Consume("billing.charge", "", false, false, false, false, nil)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	begun, closed, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		rawShutdown(ctx, raw, deliveries, func(amqp.Delivery) {
			close(begun)
			<-closed
			close(done)
		})
		close(closed)
	}()
	<-begun
	stop()
	<-done
	again := b.deadLetter(t, "billing.charge")
	require.True(t, again.Redelivered, "it was handled, and comes again")

	running, begunHere, release := make(chan error, 1), make(chan struct{}), make(chan struct{})
	ctx, stop = context.WithCancel(t.Context())
	go func() {
		running <- consume(ctx, b.conn, func(context.Context, Charge) error {
			close(begunHere)
			<-release
			return nil
		})
	}()
	require.NoError(t, publish(within(t, 2*time.Minute), b.client(t, Shop), Charge{ChargeID: "c-1"}))
	<-begunHere
	stop()
	require.Never(t, func() bool { return len(running) > 0 }, 100*time.Millisecond, 10*time.Millisecond, "it waits for its handler")
	close(release)
	require.NoError(t, <-running)
	require.Zero(t, b.count(t, "billing.charge"))

	ctx, stop = context.WithCancel(t.Context())
	stop()
	_, err = shutdown(ctx, b.conn)
	require.NoError(t, err)
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, rawDeclare(b.ch))
	for range 4 {
		require.NoError(t, b.ch.PublishWithContext(t.Context(), "billing", "charge", true, false, amqp.Publishing{Body: []byte("{}")}))
	}
	var together sync.WaitGroup
	together.Add(4)
	ended := make(chan error, 1)
	ch := b.channel(t)
	go func() {
		ended <- rawConcurrent(ch, func(amqp.Delivery) {
			together.Done()
			together.Wait()
		})
	}()
	together.Wait()
	require.NoError(t, b.raw.Close())
	require.NoError(t, <-ended)

	h := leveret.NewHandlers(Billing, leveret.HandlersConfig{})
	ChargeCard.Handle(h, charge)
	answer(h)
	w, err := concurrent(b.conn, h)
	require.NoError(t, err)
	require.Same(t, Billing, w.Service())
}

// TestExistingQueues: the old queue stays unchanged, an old sender and an old worker go on beside ours.
func TestExistingQueues(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.ch.ExchangeDeclare("billing", "direct", true, false, false, false, nil))
	_, err := b.ch.QueueDeclare("billing.charge", true, false, false, false, amqp.Table{"x-max-length": 1000})
	require.NoError(t, err)
	require.NoError(t, b.ch.QueueBind("billing.charge", "charge", "billing", false, nil))

	var handled atomic.Int64
	b.worker(t, OldCharge, func(context.Context, Charge) error { handled.Add(1); return nil })
	go func() { _ = rawConsume(b.ch, func(Charge) error { handled.Add(1); return nil }) }()
	client := b.client(t, leveret.NewService("shop", leveret.Sends(OldCharge)))
	sender := b.channel(t)
	require.NoError(t, sender.Confirm(false))
	for range 20 {
		require.NoError(t, OldCharge.Send(within(t, 2*time.Minute), client, Charge{ChargeID: "new"}))
		require.NoError(t, rawPublish(t.Context(), sender, Charge{ChargeID: "old"}))
	}
	require.Eventually(t, func() bool { return handled.Load() == 40 }, 2*time.Minute, 5*time.Millisecond)
	require.NotContains(t, b.log.String(), "cannot declare")
	_, err = b.channel(t).QueueDeclare("billing.charge", true, false, false, false, amqp.Table{"x-max-length": 1000})
	require.NoError(t, err, "the queue is as it was")
}

// TestTheirDeclarations: on a new broker our side declares what their program declared, in its form, and their programs
// find the type that they choose by.
func TestTheirDeclarations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	plant := leveret.NewService("plant", leveret.Publishes(Alarm), leveret.SubscribesTo(Alarm))
	require.NoError(t, leveret.NewCatalog(plant).Err())
	handled := make(chan *leveret.Message, 1)
	h := leveret.NewHandlers(plant, leveret.HandlersConfig{})
	Alarm.Subscribe(h, func(ctx context.Context, _ Alert) error {
		handled <- leveret.MessageFrom(ctx)
		return nil
	})
	b.run(t, h)
	require.NoError(t, b.ch.ExchangeDeclare("alarms", "topic", true, false, false, false, nil))
	_, err := b.ch.QueueDeclare("alarms-to-pager", true, false, false, false, amqp.Table{"x-max-priority": int32(5)})
	require.NoError(t, err)
	err = b.ch.PublishWithContext(t.Context(), "alarms", "alarm.theirs", true, false, amqp.Publishing{Type: "theirs", Body: []byte(`{"severity":"theirs"}`)})
	require.NoError(t, err)
	m := <-handled
	require.Equal(t, []string{"theirs", "alarm.theirs"}, []string{m.Type, m.RoutingKey})

	_, err = b.ch.QueueDeclare("their-screen", true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, b.ch.QueueBind("their-screen", "alarm.high", "alarms", false, nil))
	client := b.client(t, plant)
	require.NoError(t, Alarm.Publish(within(t, 2*time.Minute), client, Alert{Severity: "high", Text: "fire"}, leveret.Priority(5)))
	theirs, ok, err := b.ch.Get("their-screen", true)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "alarm_raised", theirs.Type)
	require.Equal(t, uint8(5), theirs.Priority)
	require.Equal(t, "alarm.high", (<-handled).RoutingKey)
}

// TestForeignPeers: to a queue of ours, a sender in any language sends the body alone, and a caller sets reply_to and
// correlation_id.
func TestForeignPeers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	handled := make(chan Charge, 1)
	h := leveret.NewHandlers(Billing, leveret.HandlersConfig{})
	ChargeCard.Handle(h, func(_ context.Context, c Charge) error { handled <- c; return nil })
	answer(h)
	b.run(t, h)

	err := b.ch.PublishWithContext(t.Context(), "commands", "billing.charge", true, false, amqp.Publishing{Body: []byte(`{"charge_id":"c-1"}`)})
	require.NoError(t, err)
	require.Equal(t, Charge{ChargeID: "c-1"}, <-handled)

	require.NoError(t, b.ch.ExchangeDeclare("billing", "direct", true, false, false, false, nil))
	require.NoError(t, b.ch.QueueBind("billing.balance", "balance", "billing", false, nil))
	reply, err := rawCall(within(t, 2*time.Minute), b.ch, BalanceQuery{Account: "a"})
	require.NoError(t, err)
	require.Equal(t, BalanceReply{Amount: 42}, reply)
}

// TestNamesFollowFromTheContract: what migrate-from-amqp091.md says of queues that are there already.
func TestNamesFollowFromTheContract(t *testing.T) {
	t.Parallel()
	require.Equal(t, "billing.charge", leveret.QueueName(topology.Names{}, ChargeCard, "billing", ""))
	require.Equal(t, "accounting.on.billing.charged", leveret.QueueName(topology.Names{}, CardCharged, "accounting", ""))
	require.Equal(t, 3, ChargeCardSlowly.Spec().Retry.Attempts)
	require.NoError(t, leveret.NewCatalog(Billing, Shop).Err())
}
