package leveret_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

const (
	// patience is for what takes milliseconds on an idle machine.
	patience = 2 * time.Minute
	tick     = 5 * time.Millisecond
)

type thing struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

func (v thing) Validate() error {
	if v.N < 0 {
		return errors.New("n: must not be negative")
	}
	return nil
}

type answer struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

// bench is a virtual host, and what a test does there. All that it makes ends with the test.
type bench struct {
	t   *testing.T
	ctx context.Context
	url string
	log *slog.Logger
}

func setup(t *testing.T) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // several times patience
	t.Cleanup(cancel)
	return &bench{t: t, ctx: ctx, url: leverettest.Broker(t), log: logger(t)}
}

// logger logs what happens to connections and messages into the test's output, which shows it when the test fails.
func logger(t *testing.T) *slog.Logger {
	out := &output{to: t.Output()}
	t.Cleanup(out.end)
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// output is the output of a test, as long as that lasts: a handler that is stuck on purpose may outlive it.
type output struct {
	mu sync.Mutex
	to io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(p)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = io.Discard
}

func (b *bench) connect(config leveret.ConnConfig) *leveret.Conn {
	b.t.Helper()
	if config.URLs == nil {
		config.URLs = []string{b.url}
	}
	if config.Logger == nil {
		config.Logger = b.log
	}
	conn, err := leveret.Connect(b.ctx, config)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, conn.Close(context.WithoutCancel(b.ctx))) })
	return conn
}

func (b *bench) client(conn *leveret.Conn, service *leveret.Service, config leveret.ClientConfig) *leveret.Client {
	b.t.Helper()
	client, err := leveret.NewClient(conn, service, config)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, client.Close(context.WithoutCancel(b.ctx))) })
	return client
}

// sender is a client of a service that does nothing but what is given.
func (b *bench) sender(options ...leveret.ServiceOption) *leveret.Client {
	b.t.Helper()
	return b.client(b.connect(leveret.ConnConfig{}), leveret.NewService("tester", options...), leveret.ClientConfig{})
}

// worker is a set of handlers, and the worker that serves them once it is started.
type worker struct {
	*leveret.Handlers
	*leveret.Worker
	conn     *leveret.Conn
	config   leveret.WorkerConfig
	ready    chan struct{}
	declares time.Duration // how often it declares again what it needs; 0 is as in use
}

func (b *bench) worker(conn *leveret.Conn, service *leveret.Service, config leveret.WorkerConfig, handlers ...leveret.HandlersConfig) *worker {
	b.t.Helper()
	w := &worker{Handlers: leveret.NewHandlers(service, append(handlers, leveret.HandlersConfig{})[0]), conn: conn, config: config, ready: make(chan struct{})}
	w.config.OnReady = func() { close(w.ready) }
	return w
}

// running is a worker that runs.
type running struct {
	*leveret.Worker
	stop  context.CancelFunc
	ended chan error
	once  sync.Once
	err   error
}

// run runs a worker until it is stopped or the test ends, and waits until it is ready.
func (b *bench) run(w *worker) *running {
	b.t.Helper()
	r := b.start(w)
	receive(b.t, w.ready)
	return r
}

// start is run without waiting.
func (b *bench) start(w *worker) *running {
	b.t.Helper()
	var err error
	w.Worker, err = leveret.NewWorker(w.conn, w.Handlers, w.config)
	require.NoError(b.t, err)
	if w.declares > 0 {
		w.Worker.DeclareEvery(w.declares)
	}
	ctx, stop := context.WithCancel(b.ctx)
	r := &running{Worker: w.Worker, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- w.Run(ctx) }()
	b.t.Cleanup(func() { _ = r.halt() })
	return r
}

// halt stops the worker and returns what Run did.
func (r *running) halt() error {
	r.stop()
	return r.wait()
}

func (r *running) wait() error {
	r.once.Do(func() { r.err = <-r.ended })
	return r.err
}

// write writes a command with a pipeline.
func write[T any](ctx context.Context, p *leveret.Pipeline, c *leveret.Command[T], payload T) error {
	m, err := c.Message(ctx, payload)
	if err != nil {
		return err
	}
	return p.Write(ctx, m)
}

func (b *bench) eventually(condition func() bool, because ...any) {
	b.t.Helper()
	require.Eventually(b.t, condition, patience, tick, because...)
}

// receive waits for something from a channel.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// peer is a client without Leveret: one channel of the driver, in confirm mode.
type peer struct {
	*amqp.Channel
	t    *testing.T
	conn *amqp.Connection
}

func (b *bench) peer() *peer { return b.peerAt(b.url) }

func (b *bench) peerAt(url string) *peer {
	b.t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(b.t, err)
	require.NoError(b.t, ch.Confirm(false))
	return &peer{ch, b.t, conn}
}

// publish publishes to an exchange, and waits for the confirm.
func (p *peer) publish(exchange, key string, m amqp.Publishing) {
	p.t.Helper()
	confirm, err := p.PublishWithDeferredConfirm(exchange, key, true, false, m)
	require.NoError(p.t, err)
	acked, err := confirm.WaitContext(p.t.Context())
	require.NoError(p.t, err)
	require.True(p.t, acked)
}

// queue makes a queue that is bound as asked.
func (p *peer) queue(name, exchange, key string) {
	p.t.Helper()
	_, err := p.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	require.NoError(p.t, err)
	if exchange != "" {
		require.NoError(p.t, p.QueueBind(name, key, exchange, false, nil))
	}
}

// take waits for the next message of a queue, and acks it.
func (p *peer) take(queue string) amqp.Delivery {
	p.t.Helper()
	var d amqp.Delivery
	require.Eventually(p.t, func() bool {
		var ok bool
		var err error
		d, ok, err = p.Get(queue, true)
		return err == nil && ok
	}, patience, tick, "nothing in %s", queue)
	return d
}

// count returns how many messages a queue holds that nobody has. Of a quorum queue whose leader is slow to answer,
// RabbitMQ says that it holds none: a test that wants some asks again.
func (p *peer) count(queue string) int {
	p.t.Helper()
	q, err := p.QueueDeclarePassive(queue, true, false, false, false, nil)
	require.NoError(p.t, err)
	return q.Messages
}

// ask publishes a request over direct reply-to, and waits for the answer.
func (p *peer) ask(key string, m amqp.Publishing) amqp.Delivery {
	p.t.Helper()
	ch, err := p.conn.Channel()
	require.NoError(p.t, err)
	defer ch.Close()
	replies, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	require.NoError(p.t, err)
	m.ReplyTo = "amq.rabbitmq.reply-to"
	require.NoError(p.t, ch.Publish("requests", key, true, false, m))
	return receive(p.t, replies)
}

// proxy passes a connection to the broker on, and cuts it when asked.
type proxy struct {
	t       *testing.T
	url     string
	target  string
	mu      sync.Mutex
	open    map[net.Conn]struct{}
	refuses bool
	watched func(io.Writer) io.Writer // stands between clients and the broker; nil: nobody does
}

func (b *bench) proxy() *proxy {
	b.t.Helper()
	u, err := url.Parse(b.url)
	require.NoError(b.t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b.t, err)
	p := &proxy{t: b.t, target: u.Host, open: map[net.Conn]struct{}{}}
	u.Host = listener.Addr().String()
	p.url = u.String()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.pass(conn) })
		}
	})
	b.t.Cleanup(func() {
		listener.Close()
		p.cut()
		all.Wait()
	})
	return p
}

func (p *proxy) pass(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer to.Close()
	p.mu.Lock()
	if p.refuses {
		p.mu.Unlock()
		return
	}
	p.open[from], p.open[to] = struct{}{}, struct{}{}
	var broker io.Writer = to
	if p.watched != nil {
		broker = p.watched(to)
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range []struct {
		to   io.Writer
		from io.Reader
	}{{from, to}, {broker, from}} {
		both.Go(func() {
			_, _ = io.Copy(way.to, way.from)
			from.Close()
			to.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	delete(p.open, from)
	delete(p.open, to)
	p.mu.Unlock()
}

// cut closes every connection that there is.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		conn.Close()
	}
}

// refuse makes new connections fail, or not.
func (p *proxy) refuse(on bool) {
	p.mu.Lock()
	p.refuses = on
	p.mu.Unlock()
}
