package notify_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/notify"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) {
	for _, pair := range os.Environ() { // the program must not see the settings of the person who runs the tests
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, config.EnvPrefix) && name != "LEVERET_RABBITMQ_BIN" && name != "LEVERET_BROKER_URL" && name != "LEVERET_BROKER_MANAGEMENT_URL" {
			_ = os.Unsetenv(name)
		}
	}
	testmain.Leaks(m)
}

const orderID = "0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41"

var total = queues.Money{Amount: 1998, Currency: "EUR"}

// bundle is a service with its own store and log.
type bundle struct {
	path     string
	log      bytes.Buffer
	handlers *leveret.Handlers
	store    *notify.Store
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{path: shoptest.Source(t, "notify")}
	b.open(t)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })
	return b
}

func (b *bundle) open(t *testing.T) {
	t.Helper()
	var err error
	b.store, err = notify.OpenStore(t.Context(), b.path)
	require.NoError(t, err)
	b.handlers = leveret.NewHandlers(notify.Declaration, leveret.HandlersConfig{})
	notify.New(b.store, slog.New(slog.NewTextHandler(&b.log, nil))).Register(b.handlers)
	require.NoError(t, b.handlers.Err())
}

func (b *bundle) notices(t *testing.T) []notify.Notice {
	t.Helper()
	all, err := notify.ReadNotices(t.Context(), b.path)
	require.NoError(t, err)
	return all
}

func cancelled(reason string) queues.OrderCancelledEvent {
	return queues.OrderCancelledEvent{OrderID: orderID, Reason: reason, CancelledAt: time.Now()}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, leverettest.Deliver(t.Context(), b.handlers, queues.OrderConfirmed,
		queues.OrderConfirmedEvent{OrderID: orderID, Total: total, ConfirmedAt: time.Now()}).Err)
	want := []notify.Notice{{orderID, "order.confirmed", "Your order " + orderID + " is confirmed. We are packing it now."}}
	for reason, because := range map[string]string{
		queues.CancelDeclined: ", because your card was declined.", queues.CancelOutOfStock: ", because some of the goods are out of stock.",
		queues.CancelRequested: ", as you asked us to.", "lost_at_sea": ".",
		queues.CancelExpired: ", because we could not complete it in time. You are not charged for it.",
	} {
		o := cancelled(reason)
		o.OrderID = uuid.NewString()
		require.NoError(t, leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, o).Err)
		want = append(want, notify.Notice{o.OrderID, "order.cancelled", "Your order " + o.OrderID + " is cancelled" + because})
	}
	require.NoError(t, leverettest.Deliver(t.Context(), b.handlers, queues.PaymentRefunded,
		queues.PaymentRefundedEvent{OrderID: orderID, AuthorizationID: orderID, Amount: total, RefundedAt: time.Now()}).Err)
	want = append(want, notify.Notice{orderID, "payment.refunded", "The payment for your order " + orderID + " is refunded."})
	require.Equal(t, want, b.notices(t))
	require.Equal(t, 7, strings.Count(b.log.String(), "customer notified"))
	require.NotContains(t, b.log.String(), "Your order", "the text is not logged")
}

// TestOnce: an event that is delivered again, also to a new process, or announced again, is one notice.
func TestOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, cancelled(queues.CancelRequested))
	require.NoError(t, first.Err)
	require.NoError(t, first.Again(t.Context()).Err)
	require.NoError(t, b.store.Close())
	b.open(t)
	again := leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, cancelled(queues.CancelRequested),
		leverettest.With(leveret.MessageID(first.Message.ID)), leverettest.Redelivered())
	require.NoError(t, again.Err)
	require.Len(t, b.notices(t), 1)
	require.Equal(t, 1, strings.Count(b.log.String(), "customer notified"))

	anonymous := leverettest.Change(func(m *leveret.Message) { m.ID = "" })
	for range 2 {
		require.NoError(t, leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, cancelled("requested")).Err)
		require.NoError(t, leverettest.Deliver(t.Context(), b.handlers, queues.OrderCancelled, cancelled("requested"), anonymous).Err)
	}
	require.Len(t, b.notices(t), 1)
}

// TestNoChangeToThePublishers: the declaration fits a catalog with the services that publish the events, as they are.
func TestNoChangeToThePublishers(t *testing.T) {
	t.Parallel()
	require.NoError(t, leveret.NewCatalog(append(queues.Catalog.Services(), notify.Declaration)...).Err())
}

// TestProgram runs the program beside a publisher that knows nothing of it.
func TestProgram(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	source := shoptest.Source(t, "notify")
	p := notify.Program(config.Key{Name: "payment.delay", Type: config.Duration, Default: "0s", Usage: "of another program"})
	p.Overrides = map[string]string{"broker.url": broker, "data.dir": t.TempDir(), "database.url": source, "health.address": "127.0.0.1:0"}
	ready := make(chan struct{})
	p.Worker.OnReady = func() { close(ready) }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	var logged bytes.Buffer
	go func() { ended <- p.Run(ctx, nil, &bytes.Buffer{}, &logged) }()
	select {
	case <-ready:
	case code := <-ended:
		require.Fail(t, "notifyd ended", "%d: %s", code, logged.String())
	}

	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	client, err := leveret.NewClient(conn, queues.Order, leveret.ClientConfig{})
	require.NoError(t, err)
	id := leveret.MessageID(uuid.NewString())
	for range 2 {
		require.NoError(t, queues.OrderCancelled.Publish(t.Context(), client, cancelled("lost_at_sea"), id))
	}
	require.Eventually(t, func() bool {
		all, err := notify.ReadNotices(t.Context(), source)
		return err == nil && len(all) == 1
	}, time.Minute, 5*time.Millisecond)
	cancel()
	require.Equal(t, 0, <-ended, logged.String())
}
