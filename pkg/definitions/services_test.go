package definitions_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A bakery of services that have every role: a shop that sends, calls, and hears in each process; a kitchen that does all
// the rest; a courier that only listens; and a historian who only reads what is kept.
var (
	bake    = leveret.NewCommand[unit]("kitchen.bake", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{time.Second}}))
	price   = leveret.NewRequest[unit, unit]("kitchen.price", leveret.Timeout(patience))
	flour   = leveret.NewRequest[unit, unit]("mill.flour", leveret.Timeout(patience))
	baked   = leveret.NewEvent[unit]("kitchen.baked", leveret.Kept(time.Hour, 1_000_000))
	counter = leveret.NewService("counter", leveret.Sends(bake), leveret.Calls(price), leveret.SubscribesPerProcess(baked))
	kitchen = leveret.NewService("kitchen", leveret.Handles(bake), leveret.Answers(price), leveret.Publishes(baked), leveret.Calls(flour))
	mill    = leveret.NewService("mill", leveret.Answers(flour))
	courier = leveret.NewService("courier", leveret.SubscribesTo(baked))
	history = leveret.NewService("historian", leveret.Reads(baked))
	bakery  = leveret.NewCatalog(counter, kitchen, mill, courier, history)
)

// Services that declare nothing do all that they do with the users of the definitions: commands, events, requests
// within requests, retries, dead letters, events for each process, and what operators ask. The operators' user runs the
// commands.
func TestServicesRunWithTheirUsers(t *testing.T) {
	t.Parallel()
	for _, layout := range layouts {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			work(t, imported(t, bakery, layout))
		})
	}
}

func work(t *testing.T, s *system) {
	t.Helper()
	heard, delivered, dead, called := make(chan int, 9), make(chan int, 9), make(chan int, 9), make(chan struct{}, 9)
	broken := make(chan struct{})
	courierd := s.start(courier, func(rt *service.Runtime) {
		baked.Subscribe(rt.Handlers, func(_ context.Context, u unit) error {
			delivered <- u.N
			return nil
		})
	})
	milld := s.start(mill, func(rt *service.Runtime) {
		flour.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
	})
	s.suspect("kitchen.bake", "5")
	kitchend := s.start(kitchen, func(rt *service.Runtime) {
		bake.Handle(rt.Handlers, func(ctx context.Context, u unit) error {
			switch m := leveret.MessageFrom(ctx); {
			case u.N == 1 && m.Attempt == 1:
				return leveret.Errorf(leveret.Unavailable, "again")
			case u.N == 2:
				dead <- u.N
				return leveret.Errorf(leveret.NotFound, "never")
			}
			return baked.Publish(ctx, rt.Client, u)
		})
		price.Answer(rt.Handlers, func(ctx context.Context, u unit) (unit, error) {
			if u.N == 9 {
				called <- struct{}{}
				<-ctx.Done()
				close(broken)
				return u, ctx.Err()
			}
			return flour.Call(ctx, rt.Client, u)
		})
	})
	require.Equal(t, 5, <-delivered, "from the quarantine")
	require.Contains(t, kitchend.log.String(), "may have crashed its worker")
	front := s.start(counter, func(rt *service.Runtime) {
		baked.Subscribe(rt.Handlers, func(_ context.Context, u unit) error {
			heard <- u.N
			return nil
		}, leveret.PerProcess())
	})
	client := front.rt.Client
	require.NoError(t, bake.Send(t.Context(), client, unit{1}))
	require.Equal(t, 1, <-heard)
	require.Equal(t, 1, <-delivered)
	require.NoError(t, bake.Send(t.Context(), client, unit{2}))
	require.Equal(t, 2, <-dead)
	answer, err := price.Call(t.Context(), client, unit{3})
	require.NoError(t, err)
	require.Equal(t, unit{3}, answer)

	// A caller that gives up is heard.
	ctx, giveUp := context.WithCancel(t.Context())
	go func() {
		<-called
		giveUp()
	}()
	_, err = price.Call(ctx, client, unit{9})
	require.ErrorIs(t, err, leveret.Canceled)
	<-broken

	// A request's queue that has expired is declared again, by its own worker.
	s.manage(http.MethodDelete, nil, "queues", leverettest.VHost(t, s.broker), "kitchen.price")
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := price.Call(ctx, client, unit{4})
		return err == nil
	}, patience, 10*time.Millisecond)

	s.remember()
	s.asks()
	s.operate()
	require.Equal(t, 2, <-dead, "it was replayed")
	require.Eventually(t, func() bool { return strings.Contains(s.run("dlq", "ls"), "kitchen.bake") }, patience, 10*time.Millisecond)
	s.run("dlq", "rm", "kitchen.bake", "--all", "--yes")
	for _, p := range []*program{front, kitchend, milld, courierd} {
		p.end()
	}
}

// suspect leaves a message in a command's queue that has come back so often that it may have crashed its worker.
func (s *system) suspect(queue, number string) {
	s.t.Helper()
	ch, err := dial(s.t, s.broker).Channel()
	require.NoError(s.t, err)
	require.NoError(s.t, ch.Confirm(false))
	confirm, err := ch.PublishWithDeferredConfirm(s.names.CommandExchange("kitchen"), queue, false, false, amqp.Publishing{
		MessageId: "suspect", Type: queue, ContentType: "application/json", Body: []byte(`{"n":` + number + `}`), DeliveryMode: amqp.Persistent,
	})
	require.NoError(s.t, err)
	require.True(s.t, confirm.Wait())
	for range 4 {
		var d amqp.Delivery
		require.True(s.t, eventually(func() bool {
			var found bool
			d, found, err = ch.Get(queue, false)
			return found || err != nil
		}))
		require.NoError(s.t, err)
		require.NoError(s.t, d.Reject(true))
	}
}

// remember reads the kept events as the historian's user, who needs no more for it.
func (s *system) remember() {
	s.t.Helper()
	ch, err := dial(s.t, s.as("historian")).Channel()
	require.NoError(s.t, err)
	require.NoError(s.t, ch.Qos(10, 0, false))
	deliveries, err := ch.Consume(s.names.KeptStream("kitchen.baked"), "", false, false, false, false, amqp.Table{"x-stream-offset": "first"})
	require.NoError(s.t, err)
	for _, body := range []string{`{"n":5}`, `{"n":1}`} {
		d := <-deliveries
		require.JSONEq(s.t, body, string(d.Body))
		require.NoError(s.t, d.Ack(false))
	}
}

// asks has operators ask the processes. In the shared layout, a service that may not write to the default exchange
// cannot answer.
func (s *system) asks() {
	t := s.t
	t.Helper()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{
		URLs: []string{s.as(operatorUser)}, Layout: s.names.Layout, NoDeclare: true, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	asker := operator.NewAsker(conn)
	defer func() { require.NoError(t, asker.Close(context.WithoutCancel(t.Context()))) }()
	asked := []string{"kitchen", "mill"}
	if s.names.Layout == topology.Isolated {
		asked = append(asked, "courier", "counter")
	}
	for _, name := range asked {
		require.Eventually(t, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			reports, err := asker.Ask(ctx, name, 1)
			return err == nil && len(reports) == 1
		}, patience, 10*time.Millisecond, name)
	}
}

// operate runs what operators run, as their user.
func (s *system) operate() {
	t := s.t
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(s.run("dlq", "ls"), "kitchen.bake") }, patience, 10*time.Millisecond)
	require.Contains(t, s.run("queues"), "kitchen.bake")
	s.run("queues", "show", "kitchen.bake")
	require.Contains(t, s.run("status"), "kitchen")
	letters := s.run("dlq", "show", "kitchen.bake")
	require.Contains(t, letters, "never")
	s.run("retry", "ls")
	s.run("retry", "release")
	s.run("dlq", "replay", "kitchen.bake", "--yes")
}

// run runs a command of the command line as the operators' user, and returns what it prints.
func (s *system) run(args ...string) string {
	s.t.Helper()
	u, err := url.Parse(s.as(operatorUser))
	require.NoError(s.t, err)
	password, _ := u.User.Password()
	file := filepath.Join(s.t.TempDir(), "password")
	require.NoError(s.t, os.WriteFile(file, []byte(password), 0o600))
	u.User = url.User(u.User.Username())
	api, err := url.Parse(leverettest.Node(s.t).ManagementURL())
	require.NoError(s.t, err)
	api.User = nil
	var out, errs bytes.Buffer
	code := cli.Run(s.t.Context(), cli.Config{
		Catalog: s.catalog, Name: "bakery",
		Args: append(args, "--broker-url", u.String(), "--broker-password-file", file, "--broker-layout", string(s.names.Layout),
			"--broker-management-url", api.String(), "--broker-connect-timeout", patience.String()),
		Streams: &term.Streams{In: strings.NewReader(""), Out: &out, Err: &errs, Env: func(string) string { return "" }, Size: func() (int, int) { return 200, 50 }},
	})
	if args[0] != "status" { // it fails where something waits for people
		require.Equal(s.t, cli.ExitOK, code, "%v: %s", args, errs.String())
	}
	require.NotContains(s.t, strings.ToLower(errs.String()), "refused", args)
	return out.String()
}

// program is a service that runs in this process.
type program struct {
	t     *testing.T
	name  string
	rt    *service.Runtime
	log   *testmain.Output
	stop  context.CancelFunc
	ended chan int
}

// start runs a service with its user, and waits until it is ready.
func (s *system) start(declared *leveret.Service, setup func(*service.Runtime)) *program {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	p := &program{t: s.t, name: declared.Name(), log: &testmain.Output{}, stop: stop, ended: make(chan int, 1)}
	run := service.Program{
		Service: declared,
		Setup: func(_ context.Context, rt *service.Runtime) error {
			p.rt = rt
			setup(rt)
			return nil
		},
		Overrides: map[string]string{
			"broker.url": s.as(p.name), "broker.declare": "false", "broker.layout": string(s.names.Layout), "data.dir": s.t.TempDir(),
			"health.address": "127.0.0.1:0", "log.level": "debug", "log.format": "json",
		},
	}
	go func() {
		defer close(p.ended)
		p.ended <- run.Run(ctx, nil, io.Discard, p.log)
	}()
	s.t.Cleanup(func() {
		stop()
		for range p.ended {
		}
		if s.t.Failed() {
			s.t.Log(p.log)
		}
	})
	require.Eventually(s.t, func() bool { return strings.Contains(p.log.String(), `"msg":"ready"`) }, patience, 10*time.Millisecond, p.name)
	return p
}

// end stops the program. Its log says nothing of a right that it has not, but for what it does without.
func (p *program) end() {
	p.t.Helper()
	p.stop()
	require.Equal(p.t, 0, <-p.ended)
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, "its queue was deleted") {
			continue // by this test
		}
		for _, wrong := range []string{"refused", "cannot declare", "not consuming", "no control queue", "cannot be"} {
			require.NotContains(p.t, strings.ToLower(line), wrong, p.name)
		}
	}
}
