package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// noManagement is an address where nothing answers.
const noManagement = "http://127.0.0.1:1"

// cook runs the oven as package service would, until the test ends: a process that operators can ask.
func cook(t *testing.T, address string, handle func(context.Context, bake) error) *leveret.Worker {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{
		URLs: []string{address}, Name: "oven", Instance: "cellar/4711-abcd", Version: "1.2.3", Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	facts := &operator.Facts{}
	h := leveret.NewHandlers(oven, leveret.HandlersConfig{Middleware: []leveret.Middleware{facts.Watch}})
	ovenBake.Handle(h, handle)
	ovenClean.Handle(h, func(context.Context, string) error { return nil })
	ovenPrice.Answer(h, priceOf)
	ready := make(chan struct{})
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{OnReady: func() { close(ready) }})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	running.Go(func() {
		_ = operator.Serve(ctx, conn, operator.Config{Service: oven, Instance: "cellar/4711-abcd", Version: "1.2.3", Facts: facts})
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		require.NoError(t, conn.Close(closing))
	})
	select {
	case <-ready:
	case <-time.After(patience):
		require.FailNow(t, "the worker is not ready")
	}
	return w
}

// A broker does not know how old the messages of a quorum queue are; the processes that take them do.
func TestTheOldestMessageOfAQuorumQueue(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	begun, release := make(chan struct{}), make(chan struct{})
	w := cook(t, address, func(context.Context, bake) error {
		begun <- struct{}{}
		<-release
		return nil
	})
	send := func() {
		require.Equal(t, cli.ExitOK, kitchenAt(t, address, "send", "oven.bake", aPie).run(t.Context()))
	}
	seen := func(from string) {
		c := kitchenAt(t, address, "queues", "oven.bake", "--watch=100ms", "-o", "jsonl", "--broker-management-url", noManagement)
		all := watch(t, c, func(w watched) bool { return w.OldestFrom == from })
		last := all[len(all)-1]
		if from == "" {
			require.Nil(t, last.Oldest)
			return
		}
		require.GreaterOrEqual(t, *last.Oldest, 0.0)
	}
	send()
	<-begun
	seen("in_flight")
	release <- struct{}{}
	seen("") // the queue is empty, and nothing is being handled
	w.Pause(errBurnt)
	send()
	seen("last_taken")
	w.Resume()
	<-begun
	release <- struct{}{}
}

// details is what queues show prints.
type details struct {
	Name       string         `json:"name"`
	Ready      int            `json:"ready"`
	Consumers  int            `json:"consumers"`
	Type       string         `json:"type"`
	Arguments  map[string]any `json:"arguments"`
	Policy     string         `json:"policy"`
	Bindings   []map[string]string
	ConsumedBy []struct {
		Service, Instance, Host, Version, Tag string
		PID                                   int
		Consuming                             *bool
		InFlight                              *int   `json:"in_flight"`
		Handled                               *int64 `json:"handled"`
		Failed                                *int64 `json:"failed"`
	} `json:"consumed_by"`
}

// awaitShown runs queues show until it is as wanted: the management API is some seconds late.
func awaitShown(t *testing.T, address string, wanted func(details) bool, args ...string) details {
	t.Helper()
	var d details
	require.Eventually(t, func() bool {
		d = details{}
		c := kitchenAt(t, address, append([]string{"queues", "show", "-o", "json"}, args...)...)
		code := c.run(t.Context())
		require.Equal(t, cli.ExitOK, code, c.err.String())
		require.NoError(t, json.Unmarshal([]byte(c.out.String()), &d))
		return wanted(d)
	}, 2*patience, tick)
	return d
}

func TestShowAQueue(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	vhost := leverettest.VHost(t, address)
	onBroker(t, address, declareAll)
	manage(t, http.MethodPut, map[string]any{"pattern": "^oven", "apply-to": "queues", "definition": map[string]any{"max-length": 1000}}, "policies", vhost, "short")
	cook(t, address, bakeIt)
	for _, dish := range []string{"pie", "coal"} {
		require.Equal(t, cli.ExitOK, kitchenAt(t, address, "send", "oven.bake", `{"dish_id":"{{uuid}}","dish":"`+dish+`","minutes":1}`).run(t.Context()))
	}
	handled := func(d details) bool {
		return len(d.ConsumedBy) == 1 && d.ConsumedBy[0].Handled != nil && *d.ConsumedBy[0].Handled == 2
	}
	management := []string{"--broker-management-url", leverettest.Node(t).ManagementURL()}
	d := awaitShown(t, address, func(d details) bool { return handled(d) && d.ConsumedBy[0].Tag != "" && d.Policy != "" }, append(management, "oven.bake")...)
	require.Equal(t, "oven.bake", d.Name)
	require.Equal(t, 1, d.Consumers)
	require.Equal(t, "quorum", d.Type)
	require.Equal(t, "short", d.Policy)
	require.EqualValues(t, topology.DeliveryLimit, d.Arguments["x-delivery-limit"])
	require.Contains(t, d.Bindings, map[string]string{"exchange": "commands", "routing_key": "oven.bake"})
	by := d.ConsumedBy[0]
	require.Equal(t, []any{"oven", "cellar/4711-abcd", "1.2.3", true}, []any{by.Service, by.Instance, by.Version, *by.Consuming})
	require.Contains(t, by.Tag, "oven@cellar/4711-abcd 1.2.3#")
	require.EqualValues(t, 1, *by.Failed)
	require.Zero(t, *by.InFlight)

	// Without the management API, the process speaks for itself.
	d = awaitShown(t, address, handled, "oven.bake", "--broker-management-url", noManagement)
	require.Equal(t, 1, d.Consumers)
	require.Equal(t, "oven", d.ConsumedBy[0].Service)
	require.Equal(t, "1.2.3", d.ConsumedBy[0].Version)
	require.Nil(t, d.ConsumedBy[0].Consuming)

	// So it does where the API lists no consumers, as on a node that collects no metrics.
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/oven.bake"):
			fmt.Fprint(w, `{"name":"oven.bake","type":"quorum","consumer_details":[]}`)
		case strings.HasSuffix(r.URL.Path, "/bindings"):
			fmt.Fprint(w, `[]`)
		default:
			fmt.Fprint(w, `{"items":[],"page_count":1}`)
		}
	}))
	t.Cleanup(api.Close)
	d = awaitShown(t, address, handled, "oven.bake", "--broker-management-url", api.URL)
	require.Equal(t, "quorum", d.Type)
	require.Nil(t, d.ConsumedBy[0].Consuming, "there is a consumer; whose it is, is not known")

	for name, text := range map[string]string{"oven.bake": `(?s)^oven\.bake\nkind +oven\.bake to oven\n.*\nSERVICE +HOST +PROCESS`, "waiter.on.oven.baked": `consumers +0, no consumers: the service waiter does not run`} {
		c := kitchenAt(t, address, append([]string{"queues", "show", name}, management...)...)
		require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		require.Regexp(t, text, c.out.String())
	}
}

// Looking takes no message, counts no delivery and changes no order, however often one looks.
func TestLookingChangesNothing(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	queues := []string{"oven.bake", "oven.price", "retry.10m"} // a work queue, a request queue and a tier
	onBroker(t, address, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		declareAll(ctx, tb, conn)
		p := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		for _, q := range queues {
			for i := range 5 {
				require.NoError(tb, p.Publish(ctx, &rabbit.Publication{RoutingKey: q, Mandatory: true, Publishing: rabbit.Publishing{
					MessageId: fmt.Sprint(i), DeliveryMode: 2, Body: []byte("{}"),
				}}))
			}
		}
		require.NoError(tb, p.Close(ctx))
	})
	const each, watchers, shows = 80, 12, 14
	management := []string{"--broker-management-url", leverettest.Node(t).ManagementURL()}
	var looking sync.WaitGroup
	for range watchers {
		looking.Go(func() {
			looks, last := 0, time.Time{}
			watch(t, kitchenAt(t, address, append(management, "queues", "[or][ve]*", "--watch=100ms", "-o", "jsonl")...), func(w watched) bool {
				if !w.At.Equal(last) {
					looks, last = looks+1, w.At
				}
				return looks >= each
			})
		})
	}
	for _, q := range queues {
		looking.Go(func() {
			for range shows {
				c := kitchenAt(t, address, append(management, "queues", "show", q)...)
				if code := c.run(t.Context()); code != cli.ExitOK {
					t.Errorf("%d: %s", code, c.err.String())
				}
			}
		})
	}
	looking.Wait()
	require.GreaterOrEqual(t, each*watchers+shows*len(queues), 1000)
	onBroker(t, address, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		for _, q := range queues {
			browser, err := conn.Browse(ctx, q)
			require.NoError(tb, err)
			require.Equal(tb, 5, browser.State().Ready, q)
			for i := range 5 {
				d, ok, err := browser.Get(ctx)
				require.NoError(tb, err)
				require.True(tb, ok)
				require.Equal(tb, fmt.Sprint(i), d.MessageId, q)
				require.False(tb, d.Redelivered, q)
				require.Contains(tb, []string{"<nil>", "0"}, fmt.Sprint(d.Headers["x-delivery-count"]), q)
			}
			require.NoError(tb, browser.Close(ctx))
		}
	})
}

// distant puts a network between the test and a broker.
func distant(t *testing.T, address string, latency time.Duration) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	between := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "broker", "127.0.0.1:0", u.Host)
	require.NoError(t, between.Start())
	t.Cleanup(between.Stop)
	toxic, err := json.Marshal(map[string]any{"type": "latency", "stream": "downstream", "attributes": toxics.LatencyToxic{Latency: latency.Milliseconds()}})
	require.NoError(t, err)
	_, err = between.Toxics.AddToxicJson(strings.NewReader(string(toxic)))
	require.NoError(t, err)
	u.Host = between.Listen
	return u.String()
}

// Many queues far away: a look needs a round trip for each queue and none for channels, several at once, and lasts as
// long as it lasts.
func TestManyQueuesFarAway(t *testing.T) {
	t.Parallel()
	const count, latency = 300, 20 * time.Millisecond
	address := leverettest.Broker(t)
	var contracts []leveret.Contract
	for i := range count / 2 { // and a dead-letter queue each
		contracts = append(contracts, leveret.NewCommand[string](fmt.Sprintf("mill.grind-%d", i), leveret.Retry(leveret.RetryPolicy{Attempts: 1})))
	}
	mill := leveret.NewService("mill", leveret.Handles(contracts...))
	onBroker(t, address, func(ctx context.Context, tb testing.TB, conn *rabbitConn) {
		tb.Helper()
		ch, err := conn.Channel(ctx)
		require.NoError(tb, err)
		for _, c := range contracts { // classic ones are made faster, and that is all that the test is about
			for _, name := range []string{c.Spec().Name, c.Spec().Name + ".dlq"} {
				_, err := ch.QueueDeclare(name, true, false, false, false, nil)
				require.NoError(tb, err)
			}
		}
	})
	c := kitchenAt(t, distant(t, address, latency), "queues", "mill.*", "--watch=100ms", "-o", "jsonl", "--broker-connect-timeout", "10s",
		"--broker-management-url", noManagement)
	c.catalog = leveret.NewCatalog(mill)
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	ended, began := make(chan cli.ExitCode, 1), time.Now()
	go func() { ended <- c.run(ctx) }()
	var first time.Duration
	require.Eventually(t, func() bool {
		n := strings.Count(c.out.String(), "\n")
		if n >= count && first == 0 {
			first = time.Since(began)
		}
		return n >= 3*count
	}, 4*patience, tick)
	elapsed := time.Since(began)
	ctrlC()
	require.Equal(t, cli.ExitOK, <-ended, c.err.String())
	require.NotContains(t, c.err.String(), "does not answer")
	require.Contains(t, c.out.String(), `"declared":true,"ready":0`)
	t.Logf("%d queues, %v away: the first look came after %v, three after %v", count, latency, first, elapsed)
}

// An alarm is shown above the queues; it is the API's, since one of the test's broker would stop the other tests.
func TestAlarmsAreShown(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	onBroker(t, address, declareAll)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/nodes") {
			fmt.Fprint(w, `[{"name":"rabbit@a","mem_alarm":true,"disk_free_alarm":false},{"name":"rabbit@b","mem_alarm":false,"disk_free_alarm":true}]`)
			return
		}
		fmt.Fprint(w, `{"items":[],"page_count":1}`)
	}))
	t.Cleanup(api.Close)
	const alarm = "ALARM: low on memory (rabbit@a), low on disk (rabbit@b): until that is over, the broker takes no messages, and services cannot be asked what they do\n"
	c := kitchenAt(t, address, "queues", "oven.bake", "--broker-management-url", api.URL)
	require.Equal(t, cli.ExitOK, c.run(t.Context()))
	require.Equal(t, "warning: "+alarm, c.err.String())
	for _, terminal := range []bool{true, false} {
		c = kitchenAt(t, address, "queues", "oven.bake", "--watch", "0.1", "--color", "never", "--broker-management-url", api.URL)
		c.terminal = terminal
		ctx, ctrlC := context.WithCancel(t.Context())
		ended := make(chan cli.ExitCode, 1)
		go func() { ended <- c.run(ctx) }()
		require.Eventually(t, func() bool { // above the table, once the API has answered
			return strings.Contains(strings.ReplaceAll(c.out.String(), escape+"[K", ""), alarm+"QUEUE")
		}, 4*patience, tick)
		ctrlC()
		require.Equal(t, cli.ExitOK, <-ended)
	}
}

func TestIntervalsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--watch", "5x"},
		{"--watch=5x"},
		{"--watch=soon"},
		{"--watch", "0"},
		{"--watch=0"},
		{"--watch=-1s"},
		{"--watch=10ms"},
		{"--watch=NaN"},
		{"oven.bake", "--watch", "5parsecs"},
		{"--watch="},
	} {
		c := &command{args: append([]string{"queues"}, args...)}
		require.Equal(t, cli.ExitUsage, c.run(t.Context()), args)
		require.Regexp(t, `(must be a number of seconds, or a duration such as 500ms or 1m|it must be 100ms or more)\nnext:  `, c.err.String(), args)
	}
}

func TestIntervals(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	for text, args := range map[string][]string{
		"every 5s,": {"--watch", "5", "oven.bake"}, "every 1.5s,": {"oven.bake", "-w", "1.5"}, "every 1m,": {"--watch=1m", "oven.bake"},
		"every 500ms,": {"oven.bake", "--watch", "500ms"}, "every 2s,": {"oven.bake", "--watch"},
	} {
		c := kitchenAt(t, address, append([]string{"queues"}, args...)...)
		ctx, ctrlC := context.WithCancel(t.Context())
		ended := make(chan cli.ExitCode, 1)
		go func() { ended <- c.run(ctx) }()
		require.Eventually(t, func() bool { return strings.Contains(c.out.String(), "oven.bake") }, patience, tick)
		ctrlC()
		require.Equal(t, cli.ExitOK, <-ended)
		require.Contains(t, c.out.String(), text)
	}
}
