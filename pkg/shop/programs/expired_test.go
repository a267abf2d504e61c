package programs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/ledger"
	"github.com/leveretmq/leveret/pkg/shop/notify"
	orders "github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/pkg/shop/payment"
	"github.com/leveretmq/leveret/queues"
)

// within is for what takes seconds on an idle machine.
const within = 2 * time.Minute

// processes are programs of the shop, each in a process of its own. They call each other over RabbitMQ.
type processes struct {
	broker, dir string
	limit       time.Duration
	databases   map[string]string // by program; empty for a file in dir
	running     map[string]*exec.Cmd
	health      map[string]string
	client      *leveret.Client
	channel     *amqp.Channel
}

func startProcesses(t *testing.T, limit time.Duration, names ...string) *processes {
	t.Helper()
	p := &processes{
		broker: leverettest.Broker(t), dir: t.TempDir(), limit: limit,
		databases: map[string]string{}, running: map[string]*exec.Cmd{}, health: map[string]string{},
	}
	for _, name := range names {
		p.databases[name] = shoptest.Settings(t, name)["database.url"]
		p.start(t, name)
	}
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{p.broker}})
	require.NoError(t, err)
	tester := leveret.NewService("tester", leveret.Sends(queues.PlaceOrder, queues.AnnounceOrder), leveret.Calls(queues.CancelOrder, queues.AuthorizePayment, queues.ClosePayment))
	p.client, err = leveret.NewClient(conn, tester, leveret.ClientConfig{})
	require.NoError(t, err)
	foreign, err := amqp.Dial(p.broker)
	require.NoError(t, err)
	p.channel, err = foreign.Channel()
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, foreign.Close())
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, p.client.Close(ctx))
		require.NoError(t, conn.Close(ctx))
		for name := range p.running {
			p.kill(t, name)
		}
	})
	return p
}

// start starts a program, and waits until it is ready.
func (p *processes) start(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asProgram+"="+name, "LEVERET_BROKER_URL="+p.broker, "LEVERET_DATA_DIR="+p.dir,
		"LEVERET_ORDER_TIME_LIMIT="+p.limit.String(), "LEVERET_ORDER_PAYMENT_TRANSPORT=amqp", "LEVERET_LOG_FORMAT=json")
	for _, address := range []string{"HEALTH", "HTTP", "GRPC"} {
		if address != "GRPC" || name == "payment" {
			cmd.Env = append(cmd.Env, "LEVERET_"+address+"_ADDRESS=127.0.0.1:0")
		}
	}
	if url := p.databases[name]; url != "" {
		cmd.Env = append(cmd.Env, "LEVERET_DATABASE_URL="+url)
	}
	logged, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p.running[name] = cmd
	lines := bufio.NewScanner(logged)
	var text strings.Builder
	for lines.Scan() {
		_, _ = text.Write(append(lines.Bytes(), '\n'))
		var r ready
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.Msg == "ready" {
			p.health[name] = r.Health
			go func() { // ends with the process
				for lines.Scan() {
					continue
				}
			}()
			return
		}
	}
	require.Fail(t, "a program is not ready", text.String())
}

// kill ends a program as a crash would.
func (p *processes) kill(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, p.running[name].Process.Signal(syscall.SIGKILL))
	_ = p.running[name].Wait()
	delete(p.running, name)
}

// store is the source of a program's store.
func (p *processes) store(name string) string {
	if url := p.databases[name]; url != "" {
		return url
	}
	return filepath.Join(p.dir, name+".db")
}

func (p *processes) books(t *testing.T, sent []string) ledger.Ledger {
	t.Helper()
	l, err := ledger.Read(t.Context(), ledger.Paths{Order: p.store("order"), Inventory: p.store("inventory"), Payment: p.store("payment")}, sent)
	require.NoError(t, err)
	return l
}

// balanced waits until the books balance.
func (p *processes) balanced(t *testing.T, sent []string) ledger.Ledger {
	t.Helper()
	var l ledger.Ledger
	require.Eventually(t, func() bool {
		l = p.books(t, sent)
		return l.OK()
	}, within, 20*time.Millisecond, "%+v", &l)
	require.Equal(t, len(sent), l.Orders)
	return l
}

// place places orders, and returns their ids.
func (p *processes) place(t *testing.T, n int, sku string) (ids []string) {
	t.Helper()
	for range n {
		id := uuid.Must(uuid.NewV7()).String()
		require.NoError(t, queues.PlaceOrder.Send(t.Context(), p.client, queues.PlaceOrderCommand{
			OrderID: id, CustomerID: "c-1", CardToken: payment.TokenVisa,
			Lines: []queues.OrderLine{{SKU: sku, Quantity: 1, UnitPrice: queues.Money{Amount: 999, Currency: "EUR"}}},
		}))
		ids = append(ids, id)
	}
	return ids
}

// statuses returns what has become of orders.
func (p *processes) statuses(t *testing.T, ids []string) map[orders.Status]int {
	t.Helper()
	a, err := orders.ReadAudit(t.Context(), p.store("order"))
	require.NoError(t, err)
	n := map[orders.Status]int{}
	for _, o := range a.Orders {
		if slices.Contains(ids, o.OrderID) {
			n[orders.Status{State: o.State, Reason: o.Reason}]++
		}
	}
	return n
}

// lose deletes a queue with what is in it, and returns how much that was. A program that uses it must be away.
func (p *processes) lose(t *testing.T, queue string) int {
	t.Helper()
	n, err := p.channel.QueueDelete(queue, false, false, false)
	require.NoError(t, err)
	return n
}

// TestLostEvents: the queues of payment and inventory are deleted with the cancellations, and that of inventory with the
// commands, that are in them. In the end every order is finished, no customer is charged for one that is cancelled, and
// nothing is set aside for it.
func TestLostEvents(t *testing.T) {
	t.Parallel()
	const batch = 10
	p := startProcesses(t, 8*time.Second, "payment", "inventory", "order")
	var sent []string
	lost, wrong := map[string]int{}, 0
	enough := func() bool {
		return lost["payment.on.order.cancelled"] >= batch && lost["inventory.on.order.cancelled"] >= batch && lost["inventory.reserve"] >= batch && wrong > 0
	}
	for range 20 { // two or three do, unless this machine is slow
		if enough() {
			break
		}
		p.kill(t, "inventory")
		before := p.books(t, sent).Orders
		stuck := p.place(t, batch, "TEA-GREEN")
		sent = append(sent, stuck...)
		require.Eventually(t, func() bool { // those of this batch are paid, unless this machine is slow and their time is over
			n := p.statuses(t, stuck)
			return p.books(t, sent).Orders == before+batch && n[orders.Status{State: orders.StatePending}]+n[orders.Status{State: orders.StatePlaced}] == 0
		}, within, 5*time.Millisecond)
		if lost["inventory.reserve"] < batch {
			lost["inventory.reserve"] += p.lose(t, "inventory.reserve")
		}
		p.kill(t, "payment")
		for _, id := range stuck[:batch/2] {
			_, err := queues.CancelOrder.Call(t.Context(), p.client, queues.CancelOrderRequest{OrderID: id, CustomerID: "c-1"})
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool { // payment and inventory may have died with something to send
			a, err := orders.ReadAudit(t.Context(), p.store("order"))
			require.NoError(t, err)
			return a.Unsent == 0
		}, within, 5*time.Millisecond)
		wrong += len(p.books(t, sent).Wrong)
		for _, queue := range []string{"payment.on.order.cancelled", "inventory.on.order.cancelled"} {
			lost[queue] += p.lose(t, queue)
		}
		p.start(t, "inventory")
		p.start(t, "payment")
	}
	require.True(t, enough(), "lost %v, wrong %d", lost, wrong)
	l := p.balanced(t, sent)
	t.Logf("%d orders, messages that were lost: %v; confirmed %d, cancelled %v", l.Orders, lost, l.Confirmed, l.Cancelled)
	require.Positive(t, l.Cancelled[queues.CancelRequested])

	fine := p.place(t, batch, "TEA-BLACK")
	sent = append(sent, fine...)
	p.balanced(t, sent)
	require.Equal(t, batch, p.statuses(t, fine)[orders.Status{State: orders.StateConfirmed}]+p.statuses(t, fine)[orders.Status{State: orders.StateCancelled, Reason: queues.CancelExpired}])
}

// TestPaymentIsAway: the time of orders is over while payment is away, some of them paid and some without an answer of their
// card. They are overdue until it is back, though the order service is killed meanwhile. Then all are cancelled, and an
// authorization that comes late is declined.
func TestPaymentIsAway(t *testing.T) {
	t.Parallel()
	const n = 6
	p := startProcesses(t, time.Second, "payment", "inventory", "order")
	p.kill(t, "inventory")
	sent := p.place(t, n, "TEA-GREEN")
	require.Eventually(t, func() bool { return p.books(t, sent).Orders == n }, within, 5*time.Millisecond)
	p.kill(t, "payment")
	unanswered := p.place(t, n, "TEA-GREEN")
	sent = append(sent, unanswered...)
	overdue := func() bool {
		l := p.books(t, sent)
		_, metrics := get(t, "http://"+p.health["order"]+"/metrics")
		return len(l.Overdue) > 0 && len(l.Undecided) == len(l.Overdue) && l.Orders == 2*n &&
			strings.Contains(metrics, fmt.Sprintf("shop_orders_overdue %d\n", len(l.Overdue)))
	}
	require.Eventually(t, overdue, within, 20*time.Millisecond)
	closing := p.books(t, sent).Overdue
	require.Subset(t, closing, unanswered, "nobody has answered for them")
	got, err := queues.CancelOrder.Call(t.Context(), p.client, queues.CancelOrderRequest{OrderID: closing[0], CustomerID: "c-1"})
	require.NoError(t, err)
	require.Equal(t, "closing", got.State)
	for range 3 {
		p.kill(t, "order")
		p.start(t, "order")
		require.Eventually(t, overdue, within, 20*time.Millisecond)
		require.Equal(t, closing, p.books(t, sent).Overdue)
	}

	p.start(t, "payment")
	p.start(t, "inventory")
	l := p.balanced(t, sent)
	t.Logf("%d were overdue; cancelled %v, confirmed %d", len(closing), l.Cancelled, l.Confirmed)
	require.Equal(t, 2*n, l.Cancelled[queues.CancelExpired]+l.Confirmed)
	require.Equal(t, n, p.statuses(t, unanswered)[orders.Status{State: orders.StateCancelled, Reason: queues.CancelExpired}])
	require.Eventually(t, func() bool {
		_, metrics := get(t, "http://"+p.health["order"]+"/metrics")
		return strings.Contains(metrics, "shop_orders_overdue 0\n")
	}, within, 20*time.Millisecond)

	authorize := func(id string) queues.AuthorizePaymentReply {
		late, err := queues.AuthorizePayment.Call(t.Context(), p.client,
			queues.AuthorizePaymentRequest{OrderID: id, CardToken: payment.TokenVisa, Amount: queues.Money{Amount: 999, Currency: "EUR"}})
		require.NoError(t, err)
		return late
	}
	for _, id := range unanswered { // or payment has found the first request for it in its queue
		authorize(id)
	}
	p.balanced(t, sent)
	another := uuid.NewString()
	_, err = queues.ClosePayment.Call(t.Context(), p.client, queues.ClosePaymentRequest{OrderID: another})
	require.NoError(t, err)
	late := authorize(another)
	require.Equal(t, queues.PaymentDeclined, late.Status)
	require.Equal(t, payment.DeclineOrderCancelled, late.DeclineReason)
}

// TestAnnounceAgain: an operator has an event announced again that its subscriber has lost.
func TestAnnounceAgain(t *testing.T) {
	t.Parallel()
	p := startProcesses(t, time.Hour, "payment", "inventory", "notify", "order")
	p.kill(t, "notify")
	sent := p.place(t, 1, "TEA-GREEN")
	l := p.balanced(t, sent)
	require.Equal(t, 1, l.Confirmed)
	require.Equal(t, 1, p.lose(t, "notify.on.order.confirmed"))
	p.start(t, "notify")
	for range 2 {
		require.NoError(t, queues.AnnounceOrder.Send(t.Context(), p.client, queues.AnnounceOrderCommand{OrderID: sent[0]}))
	}
	require.Eventually(t, func() bool {
		notices, err := notify.ReadNotices(t.Context(), p.store("notify"))
		require.NoError(t, err)
		return len(notices) == 1 && notices[0].OrderID == sent[0] && notices[0].About == "order.confirmed"
	}, within, 5*time.Millisecond)
	p.balanced(t, sent)
}
