package docs_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// PriceChange says which price is another one now.
type PriceChange struct {
	SKU   string `json:"sku"`
	Cents int64  `json:"cents"`
}

// PriceChanged announces a new price.
var PriceChanged = leveret.NewEvent[PriceChange]("price.changed")

// Storefront keeps prices in the memory of each of its processes.
var Storefront = leveret.NewService("storefront", leveret.SubscribesPerProcess(PriceChanged))

// Prices are those that this process has looked up.
type Prices struct {
	mu    sync.Mutex
	known map[string]int64
}

// Register has this process hear of every change.
func (p *Prices) Register(h *leveret.Handlers) {
	PriceChanged.Subscribe(h, p.Forget, leveret.PerProcess(), leveret.OnFresh(p.ForgetAll))
}

// Forget forgets one price: it is looked up when it is needed again.
func (p *Prices) Forget(_ context.Context, change PriceChange) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, change.SKU)
	return nil
}

// ForgetAll forgets all prices: changes may have been missed.
func (p *Prices) ForgetAll(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.known)
	return nil
}

func (p *Prices) put(sku string, cents int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[sku] = cents
}

func (p *Prices) knows(sku string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.known[sku]
	return ok
}

// Logged goes to everybody who listens, each with a queue of their own, as in the tutorial's receive_logs.
var Logged = leveret.NewEvent[string]("app.logged", leveret.Encoded(leveret.Text()), leveret.At(leveret.Address{
	Exchange: "logs", External: true,
	Topology: topology.Topology{Exchanges: []topology.Exchange{{Name: "logs", Type: topology.Fanout}}},
}))

// Watcher shows what is logged; each of its processes shows all of it.
var Watcher = leveret.NewService("watcher", leveret.SubscribesPerProcess(Logged))

// Reported goes to those who want reports in PDF: their exchange looks at headers.
var Reported = leveret.NewEvent[string]("report.made", leveret.Encoded(leveret.Text()), leveret.At(leveret.Address{
	Exchange: "reports", External: true,
	Topology: topology.Topology{
		Exchanges: []topology.Exchange{{Name: "reports", Type: "headers"}},
		Bindings:  []topology.Binding{{Exchange: "reports", Args: map[string]any{"x-match": "all", "format": "pdf"}}},
	},
}))

// workerOf runs a worker until the test ends, and returns once it is ready.
func workerOf(t *testing.T, url string, h *leveret.Handlers) {
	t.Helper()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{url}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ready := make(chan struct{})
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{OnReady: func() { close(ready) }})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
		require.NoError(t, conn.Close(context.WithoutCancel(ctx)))
	})
	select {
	case <-ready:
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "the worker is not ready", "%v", w.Ready())
	}
}

// The guide's cache: every process forgets the price, and everything when it may have missed something.
func TestEveryProcessForgets(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	price := leveret.NewService("price", leveret.Publishes(PriceChanged))
	require.NoError(t, leveret.NewCatalog(price, Storefront).Err())
	var processes []*Prices
	for range 2 {
		p := &Prices{known: map[string]int64{"old": 1}}
		h := leveret.NewHandlers(Storefront, leveret.HandlersConfig{})
		p.Register(h)
		workerOf(t, url, h)
		require.False(t, p.knows("old"), "the first queue is a new one, too")
		p.put("TEA", 250)
		p.put("MUG", 900)
		processes = append(processes, p)
	}
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{url}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	client, err := leveret.NewClient(conn, price, leveret.ClientConfig{})
	require.NoError(t, err)
	require.NoError(t, PriceChanged.Publish(t.Context(), client, PriceChange{SKU: "TEA", Cents: 300}))
	for _, p := range processes {
		require.Eventually(t, func() bool { return !p.knows("TEA") }, 2*time.Minute, time.Millisecond)
		require.True(t, p.knows("MUG"))
	}
}

// receive_logs moved, emit_log did not: each process has every line.
func TestReceiveLogsMoved(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	require.NoError(t, leveret.NewCatalog(Watcher).Err())
	lines := make(chan string, 9)
	for range 2 {
		h := leveret.NewHandlers(Watcher, leveret.HandlersConfig{})
		Logged.Subscribe(h, func(_ context.Context, line string) error { lines <- line; return nil }, leveret.PerProcess())
		workerOf(t, url, h)
	}
	raw, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = raw.Close() })
	ch, err := raw.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.ExchangeDeclare("logs", "fanout", true, false, false, false, nil), "as emit_log does")
	require.NoError(t, ch.PublishWithContext(t.Context(), "logs", "", false, false, amqp.Publishing{
		ContentType: "text/plain", Body: []byte("hello"),
	}))
	for range 2 {
		select {
		case text := <-lines:
			require.Equal(t, "hello", text)
		case <-time.After(2 * time.Minute):
			require.FailNow(t, "a process did not hear it")
		}
	}
}

// A headers exchange of theirs: each process of ours has what its binding asks for.
func TestHeadersExchangePerProcess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	reader := leveret.NewService("reader", leveret.SubscribesPerProcess(Reported))
	require.NoError(t, leveret.NewCatalog(reader).Err())
	handled := make(chan string, 9)
	h := leveret.NewHandlers(reader, leveret.HandlersConfig{})
	Reported.Subscribe(h, func(_ context.Context, report string) error { handled <- report; return nil }, leveret.PerProcess())
	b.run(t, h)
	require.NoError(t, b.ch.ExchangeDeclare("reports", "headers", true, false, false, false, nil))
	for _, format := range []string{"html", "pdf"} {
		require.NoError(t, b.ch.PublishWithContext(t.Context(), "reports", "", false, false, amqp.Publishing{
			Headers: amqp.Table{"format": format}, Body: []byte(format),
		}))
	}
	require.Equal(t, "pdf", takeText(t, handled), "the html, which came before, is not for us")
}
