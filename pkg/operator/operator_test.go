package operator_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

func TestMain(m *testing.M) {
	testmain.Waiting(8)
	testmain.Leaks(m)
}

// patience is for what takes milliseconds on an idle machine.
const patience = time.Minute

type parcel struct {
	N int `json:"n"`
}

var (
	pack      = leveret.NewCommand[parcel]("post.pack")
	weigh     = leveret.NewRequest[parcel, parcel]("post.weigh")
	post      = leveret.NewService("post", leveret.Handles(pack), leveret.Answers(weigh))
	sender    = leveret.NewService("sender", leveret.Sends(pack), leveret.Calls(weigh))
	errTooFat = leveret.NewError(leveret.FailedPrecondition, "too_fat", "it does not fit")
)

func connect(t *testing.T, url string, layout topology.Layout) *leveret.Conn {
	t.Helper()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{url}, Name: "post", Layout: layout, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		require.NoError(t, conn.Close(ctx))
	})
	return conn
}

// serve runs a process of the post that answers operators, until the test ends.
func serve(t *testing.T, conn *leveret.Conn, instance string, handle func(context.Context, parcel) error) {
	t.Helper()
	facts := &operator.Facts{}
	h := leveret.NewHandlers(post, leveret.HandlersConfig{Middleware: []leveret.Middleware{facts.Watch}})
	pack.Handle(h, handle)
	weigh.Answer(h, func(_ context.Context, p parcel) (parcel, error) { return p, nil })
	ready := make(chan struct{})
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{Concurrency: 1, OnReady: func() { close(ready) }})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	running.Go(func() {
		_ = operator.Serve(ctx, conn, operator.Config{Service: post, Instance: instance, Version: "1.2.3", Facts: facts, Logger: slog.New(slog.DiscardHandler)})
	})
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	select {
	case <-ready:
	case <-time.After(patience):
		require.FailNow(t, "the worker is not ready")
	}
}

// asker makes an asker that the test closes.
func asker(t *testing.T, conn *leveret.Conn) *operator.Asker {
	t.Helper()
	a := operator.NewAsker(conn)
	t.Cleanup(func() { require.NoError(t, a.Close(context.WithoutCancel(t.Context()))) })
	return a
}

// await asks until the reports are as wanted.
func await(t *testing.T, a *operator.Asker, enough int, wanted func([]operator.Report) bool) []operator.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		asking, stop := context.WithTimeout(ctx, time.Second)
		reports, err := a.Ask(asking, "post", enough)
		stop()
		require.NoError(t, err)
		if wanted(reports) {
			return reports
		}
		require.NoError(t, ctx.Err(), "%+v", reports)
	}
}

func TestEveryProcessAnswers(t *testing.T) {
	t.Parallel()
	for _, layout := range []topology.Layout{topology.Shared, topology.Isolated} {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			url := leverettest.Broker(t)
			began := time.Now()
			begun, release := make(chan int), make(chan struct{})
			handle := func(_ context.Context, p parcel) error {
				if p.N == 0 {
					return errTooFat
				}
				begun <- p.N
				<-release
				return nil
			}
			serve(t, connect(t, url, layout), "here/1-abcd", handle)
			conn := connect(t, url, layout)
			a := asker(t, conn)
			client, err := leveret.NewClient(conn, sender, leveret.ClientConfig{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.WithoutCancel(t.Context())) })

			// What was handled, and how it ended.
			require.NoError(t, pack.Send(t.Context(), client, parcel{0}))
			_, err = weigh.Call(t.Context(), client, parcel{1})
			require.NoError(t, err)
			r := await(t, a, 1, func(rs []operator.Report) bool {
				return len(rs) == 1 && len(rs[0].Queues) == 2 && rs[0].Queues[0].Handled == 1 && rs[0].Queues[1].Handled == 1
			})[0]
			require.Equal(t, "post", r.Service)
			require.Equal(t, "here/1-abcd", r.Instance)
			require.Equal(t, "1.2.3", r.Version)
			require.NotEmpty(t, r.Host)
			require.Positive(t, r.PID)
			require.WithinRange(t, r.Started, began, time.Now())
			require.Equal(t, "post.pack", r.Queues[0].Name)
			require.EqualValues(t, 1, r.Queues[0].Failed)
			require.Zero(t, r.Queues[0].InFlight)
			require.Nil(t, r.Queues[0].OldestSentAt)
			require.WithinRange(t, r.Queues[0].LastTakenAt, began, time.Now())
			require.WithinRange(t, *r.Queues[0].LastSentAt, began.Truncate(time.Second), time.Now())
			require.Equal(t, "post.weigh", r.Queues[1].Name)
			require.Zero(t, r.Queues[1].Failed)

			// What is being handled. The worker is not held up by questions, nor they by the handler.
			sent := time.Now()
			require.NoError(t, pack.Send(t.Context(), client, parcel{7}))
			require.Equal(t, 7, <-begun)
			q := await(t, a, 1, func(rs []operator.Report) bool { return len(rs) == 1 && rs[0].Queues[0].InFlight == 1 })[0].Queues[0]
			require.WithinRange(t, *q.OldestSentAt, sent.Truncate(time.Millisecond), time.Now())
			require.Equal(t, q.OldestSentAt, q.LastSentAt)

			// Another process answers for itself.
			serve(t, connect(t, url, layout), "there/2", handle)
			rs := await(t, a, 2, func(rs []operator.Report) bool { return len(rs) == 2 })
			require.Equal(t, "here/1-abcd", rs[0].Instance)
			require.Equal(t, "there/2", rs[1].Instance)
			require.NotNil(t, rs[1].Queues)
			require.Empty(t, rs[1].Queues, "it has taken nothing yet")
			close(release)
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	conn := connect(t, url, topology.Isolated)
	a := asker(t, conn)
	for _, declared := range []bool{false, true} { // without an exchange, and without a process
		if declared {
			require.NoError(t, rabbit.NewDeclarer(conn.Rabbit()).Declare(t.Context(), conn.Names().Serving("post")))
		}
		reports, err := a.Ask(t.Context(), "post", 1) // which ends at once, though its context does not
		require.NoError(t, err)
		require.Empty(t, reports)
	}
}

// Only direct reply-to is answered: a question must not make a service write to another queue.
func TestAnswersGoToCallersAlone(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	serve(t, connect(t, url, topology.Shared), "here/1", func(context.Context, parcel) error { return nil })
	conn := connect(t, url, topology.Shared)
	await(t, asker(t, conn), 1, func(rs []operator.Report) bool { return len(rs) == 1 })
	ch, err := conn.Rabbit().Channel(t.Context())
	require.NoError(t, err)
	_, err = ch.QueueDeclare("victim", true, false, false, false, nil)
	require.NoError(t, err)
	p := rabbit.NewPublisher(conn.Publishing(), rabbit.PublisherConfig{})
	t.Cleanup(func() { _ = p.Close(context.WithoutCancel(t.Context())) })
	require.NoError(t, p.Publish(t.Context(), &rabbit.Publication{Exchange: "operators", RoutingKey: "report.post", Mandatory: true, Publishing: rabbit.Publishing{
		Type: "leveret.report", CorrelationId: "1", MessageId: "1", ReplyTo: "victim",
	}}))
	// The next question is answered, so the one before it has been looked at.
	await(t, asker(t, conn), 1, func(rs []operator.Report) bool { return len(rs) == 1 })
	state, err := conn.Rabbit().Inspect(t.Context(), "victim")
	require.NoError(t, err)
	require.Zero(t, state.Ready)
}

func TestFactsOfAPanic(t *testing.T) {
	t.Parallel()
	facts := &operator.Facts{}
	h := leveret.NewHandlers(post, leveret.HandlersConfig{Middleware: []leveret.Middleware{facts.Watch}})
	pack.Handle(h, func(context.Context, parcel) error { panic("oh") })
	weigh.Answer(h, func(_ context.Context, p parcel) (parcel, error) { return p, errors.ErrUnsupported })
	o := h.Process(t.Context(), &leveret.Message{Contract: pack, Body: []byte(`{"n":1}`), Received: leveret.Received{Queue: "post.pack"}}, nil)
	require.Error(t, o.Err)
	_ = h.Process(t.Context(), &leveret.Message{Contract: pack, Body: []byte(`{"n":1}`)}, nil) // over another transport
	reports := operator.ReportOf(facts)
	require.Len(t, reports, 1)
	require.Equal(t, "post.pack", reports[0].Name)
	require.EqualValues(t, 1, reports[0].Handled)
	require.EqualValues(t, 1, reports[0].Failed)
	require.Zero(t, reports[0].InFlight)
}

// A command is for one process, which answers with a result or a problem.
func TestCommand(t *testing.T) {
	t.Parallel()
	for _, layout := range []topology.Layout{topology.Shared, topology.Isolated} {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			url := leverettest.Broker(t)
			conn := connect(t, url, layout)
			commands := func(mine string) map[string]operator.Command {
				return map[string]operator.Command{
					"echo": func(_ context.Context, argument json.RawMessage) (any, error) {
						return []string{mine, string(argument)}, nil
					},
					"fail":  func(context.Context, json.RawMessage) (any, error) { return nil, errTooFat },
					"panic": func(context.Context, json.RawMessage) (any, error) { panic("oh") },
				}
			}
			ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
			var running sync.WaitGroup
			for _, instance := range []string{"here/1", "there/2"} {
				running.Go(func() {
					_ = operator.Serve(ctx, conn, operator.Config{
						Service: post, Instance: instance, Commands: commands(instance), Logger: slog.New(slog.DiscardHandler),
					})
				})
			}
			t.Cleanup(running.Wait)
			t.Cleanup(stop)
			a := asker(t, connect(t, url, layout))
			await(t, a, 2, func(r []operator.Report) bool { return len(r) == 2 })

			asking, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for _, instance := range []string{"here/1", "there/2"} {
				var result []string
				require.NoError(t, a.Command(asking, "post", instance, "echo", 7, &result))
				require.Equal(t, []string{instance, "7"}, result)
			}
			err := a.Command(asking, "post", "here/1", "fail", nil, nil)
			require.ErrorIs(t, err, errTooFat)
			require.True(t, leveret.IsRemote(err))
			require.ErrorIs(t, a.Command(asking, "post", "here/1", "panic", nil, nil), leveret.Internal)
			require.ErrorIs(t, a.Command(asking, "post", "here/1", "nothing", nil, nil), leveret.Unimplemented)
			require.ErrorIs(t, a.Command(asking, "bank", "here/1", "echo", nil, nil), rabbit.ErrUnroutable)

			soon, end := context.WithCancel(asking) // there is no such process, and the others do not answer for it
			var nobody error
			running.Go(func() { nobody = a.Command(soon, "post", "nowhere/3", "echo", nil, nil); end() })
			require.NoError(t, a.Command(asking, "post", "there/2", "echo", nil, nil))
			end()
			<-soon.Done()
			stop()
			running.Wait()
			require.ErrorIs(t, nobody, context.Canceled)
		})
	}
}
