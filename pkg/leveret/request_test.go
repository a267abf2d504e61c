package leveret_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// asking is a request, the service that answers it, and a client that makes it.
type asking struct {
	*bench
	ask     *leveret.Request[thing, answer]
	service *leveret.Service
	caller  *leveret.Service
}

// setupAsking gives the request a timeout that no test waits out, where the options have no other. It is shorter than
// patience, so that a call that may be lost can be made again.
func setupAsking(t *testing.T, options ...leveret.ContractOption) *asking {
	t.Helper()
	ask := leveret.NewRequest[thing, answer]("a.ask", append([]leveret.ContractOption{leveret.Timeout(time.Minute)}, options...)...)
	return &asking{setup(t), ask, leveret.NewService("a", leveret.Answers(ask)), leveret.NewService("tester", leveret.Calls(ask))}
}

// answering runs a worker with its own connections.
func (a *asking) answering(config leveret.WorkerConfig, h func(context.Context, thing) (answer, error), handlers ...leveret.HandlersConfig) *running {
	a.t.Helper()
	w := a.worker(a.connect(leveret.ConnConfig{}), a.service, config, handlers...)
	a.ask.Answer(w.Handlers, h)
	return a.run(w)
}

// hear waits until n workers hear of callers that give up. They may be ready before.
func (a *asking) hear(n int) {
	a.t.Helper()
	api, err := leverettest.Node(a.t).Management()
	require.NoError(a.t, err)
	a.eventually(func() bool {
		var bindings []struct{}
		err := api.Call(a.ctx, http.MethodGet, nil, &bindings, "exchanges", leverettest.VHost(a.t, a.url), "control", "bindings", "source")
		return err == nil && len(bindings) == n
	}, "each has bound its queue")
}

func (a *asking) newCaller() *leveret.Client {
	a.t.Helper()
	return a.client(a.connect(leveret.ConnConfig{}), a.caller, leveret.ClientConfig{})
}

// expired is a call that began in its handler and whose deadline came before its reply: on a busy machine others may
// expire on their way.
func (a *asking) expired(caller *leveret.Client, began <-chan struct{}) (took time.Duration, err error) {
	a.t.Helper()
	for len(began) == 0 {
		start := time.Now()
		_, err = a.ask.Call(a.ctx, caller, thing{})
		took = time.Since(start)
		require.ErrorIs(a.t, err, leveret.DeadlineExceeded)
	}
	return took, err
}

var errDeclined = leveret.NewError(leveret.FailedPrecondition, "card_declined", "the card was declined")

// TestCall is the plain way, with both ways to get replies and both types of queue.
func TestCall(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]struct {
		replyQueue bool
		queueType  topology.QueueType
	}{"direct reply-to": {}, "reply queue": {replyQueue: true}, "quorum": {queueType: "quorum"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupAsking(t, leveret.Timeout(patience))
			conn := b.connect(leveret.ConnConfig{RequestQueueType: config.queueType, Instance: "here/1"})
			client := b.client(conn, b.caller, leveret.ClientConfig{ReplyQueue: config.replyQueue})
			_, err := b.ask.Call(b.ctx, client, thing{N: 1})
			require.ErrorIs(t, err, leveret.ErrUnroutable, "nobody answers yet")
			require.ErrorContains(t, err, "a.ask: no service answers it now")

			w := b.worker(conn, b.service, leveret.WorkerConfig{})
			b.ask.Answer(w.Handlers, func(ctx context.Context, v thing) (answer, error) {
				switch m := leveret.MessageFrom(ctx); v.N {
				case 1:
					return answer{}, errDeclined
				case 2:
					panic("boom")
				case 3:
					return answer{}, leveret.Discard(errors.New("of no use"))
				case 4:
					return answer{}, errors.New("uncoded")
				case 5:
					return answer{Text: strings.Repeat("x", 20<<20)}, nil
				case 6:
					return answer{}, leveret.RetryAfter(time.Hour, leveret.Errorf(leveret.Unavailable, "later"))
				default:
					deadline, _ := ctx.Deadline()
					if !m.Deadline.Equal(deadline) {
						return answer{}, leveret.Errorf(leveret.Internal, "%v is not %v", m.Deadline, deadline)
					}
					return answer{N: v.N * 2}, nil
				}
			})
			b.run(w)

			ctx, cancel := context.WithTimeout(b.ctx, patience) // sooner than the limit of handlers
			defer cancel()
			m := leveret.NewMessage(ctx, b.ask, []byte(`{"n":21}`))
			require.NoError(t, client.Call(ctx, m))
			require.JSONEq(t, `{"n":42}`, string(m.Reply))
			require.Equal(t, "a@here/1", m.AnsweredBy)

			_, err = b.ask.Call(b.ctx, client, thing{N: 1})
			require.ErrorIs(t, err, errDeclined)
			require.ErrorIs(t, err, leveret.FailedPrecondition)
			require.EqualError(t, err, "failed_precondition: the card was declined")
			_, err = b.ask.Call(b.ctx, client, thing{N: 2})
			require.EqualError(t, err, "internal: the handler panicked")
			_, err = b.ask.Call(b.ctx, client, thing{N: 3})
			require.EqualError(t, err, "unknown: discarded: of no use")
			_, err = b.ask.Call(b.ctx, client, thing{N: 4})
			require.EqualError(t, err, "unknown: uncoded")
			_, err = b.ask.Call(b.ctx, client, thing{N: 5})
			require.EqualError(t, err, "resource_exhausted: outcome unknown: the reply has 20971537 bytes; the limit is 16777216")
			_, err = b.ask.Call(b.ctx, client, thing{N: 6})
			require.EqualError(t, err, "unavailable: later", "the caller decides when to call again")
			_, err = b.ask.Call(b.ctx, client, thing{N: -1})
			require.ErrorIs(t, err, leveret.InvalidArgument, "not even sent")
			m = leveret.NewMessage(b.ctx, b.ask, []byte(`{"n":"x"}`))
			require.EqualError(t, client.Call(b.ctx, m), "invalid_argument: n: must be a JSON integer (int), not a string")

			var all sync.WaitGroup
			for i := range 200 {
				all.Go(func() {
					reply, err := b.ask.Call(b.ctx, client, thing{N: 100 + i})
					if err != nil || reply.N != 2*(100+i) {
						t.Errorf("%d: %v %v", i, reply, err)
					}
				})
			}
			all.Wait()
		})
	}
}

// TestDeadlineTravels: the handler's context ends when the caller's does.
func TestDeadlineTravels(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(300*time.Millisecond))
	began, causes, release := make(chan struct{}, 100), make(chan error, 100), make(chan struct{})
	defer close(release)
	b.answering(leveret.WorkerConfig{}, func(ctx context.Context, _ thing) (answer, error) {
		began <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		<-release // an answer could come before the caller notices its own deadline
		return answer{}, ctx.Err()
	})
	took, err := b.expired(b.newCaller(), began)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.GreaterOrEqual(t, took, 300*time.Millisecond)
	require.EqualError(t, receive(t, causes), "the caller's deadline has passed")
}

// TestExpired: what waited longer than its caller is never handled.
func TestExpired(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	started, release := make(chan struct{}, 1), make(chan struct{})
	var handled sync.Map
	b.answering(leveret.WorkerConfig{Concurrency: 1, Prefetch: 100}, func(ctx context.Context, v thing) (answer, error) {
		handled.Store(v.N, ctx.Err() == nil)
		if v.N == 1 {
			started <- struct{}{}
			<-release
			return answer{}, errDeclined // of which nobody learns how long success takes
		}
		return answer{N: v.N}, nil
	})
	foreign := b.peer()
	body := func(n string) []byte { return []byte(`{"n":` + n + `}`) }
	foreign.publish("requests", "a.ask", amqp.Publishing{Body: body("1")})
	receive(t, started)
	past := func(d time.Duration) amqp.Table {
		return amqp.Table{"leveret-deadline": time.Now().Add(-d).Format(time.RFC3339Nano)}
	}
	// These are in the worker's hands already, behind the first.
	foreign.publish("requests", "a.ask", amqp.Publishing{Body: body("2"), Headers: past(10 * time.Second)})
	foreign.publish("requests", "a.ask", amqp.Publishing{Body: body("4"), Headers: amqp.Table{"leveret-deadline": time.Now().Add(-10 * time.Second)}})
	close(release)
	b.eventually(func() bool { // it has two seconds, which may pass on a busy machine
		foreign.publish("requests", "a.ask", amqp.Publishing{Body: body("3"), Headers: past(time.Millisecond), Expiration: "60000"})
		_, three := handled.Load(3)
		return three
	}, "the broker did not drop it: clocks may differ by two seconds")
	reply := foreign.ask("a.ask", amqp.Publishing{Body: body("5"), CorrelationId: "c"})
	require.JSONEq(t, `{"n":5}`, string(reply.Body))
	require.NotContains(t, reply.Headers, "leveret-conversation-id", "there is none")
	_, two := handled.Load(2)
	three, _ := handled.Load(3)
	_, four := handled.Load(4)
	require.False(t, two, "expired long ago")
	require.Equal(t, true, three, "its handler has what is left of the two seconds")
	require.False(t, four, "an AMQP timestamp is a time as well")
}

// TestExpiredInTheQueue: the broker itself drops what nobody has taken in time.
func TestExpiredInTheQueue(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	client := b.newCaller()
	w := b.answering(leveret.WorkerConfig{}, func(context.Context, thing) (answer, error) { return answer{}, nil })
	require.NoError(t, w.halt())
	ctx, cancel := context.WithTimeout(b.ctx, 200*time.Millisecond)
	defer cancel()
	_, err := b.ask.Call(ctx, client, thing{N: 1})
	require.ErrorIs(t, err, leveret.DeadlineExceeded, "the queue outlives its worker for a while: the call waits")
	foreign := b.peer()
	b.eventually(func() bool { return foreign.count("a.ask") == 0 })
	var handled atomic.Int64
	b.answering(leveret.WorkerConfig{}, func(_ context.Context, v thing) (answer, error) {
		handled.Add(1)
		return answer{N: v.N}, nil
	})
	_, err = b.ask.Call(b.ctx, client, thing{N: 2})
	require.NoError(t, err)
	require.EqualValues(t, 1, handled.Load())
}

// TestCancel: a caller that gives up ends the handler's context, over other connections, and nobody else's call.
func TestCancel(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	started, causes, release := make(chan int, 2), make(chan error, 1), make(chan struct{})
	b.answering(leveret.WorkerConfig{}, func(ctx context.Context, v thing) (answer, error) {
		started <- v.N
		if v.N == 1 {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return answer{}, ctx.Err()
		}
		<-release
		return answer{N: v.N}, nil
	})
	b.hear(1)
	client := b.newCaller()
	replies := make(chan answer, 1)
	go func() { reply, _ := b.ask.Call(b.ctx, client, thing{N: 2}); replies <- reply }()
	receive(t, started)
	errs := make(chan error, 1)
	ctx, giveUp := context.WithCancel(b.ctx)
	go func() { _, err := b.ask.Call(ctx, client, thing{N: 1}); errs <- err }()
	receive(t, started)
	giveUp()
	err := receive(t, errs)
	require.ErrorIs(t, err, leveret.Canceled)
	require.ErrorIs(t, err, context.Canceled)
	require.EqualError(t, receive(t, causes), "the caller has given up")
	close(release)
	require.Equal(t, answer{N: 2}, receive(t, replies))
}

// TestRedelivered: a request that a worker had before is handled again only where that does no harm.
func TestRedelivered(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]leveret.ContractOption{"not idempotent": nil, "idempotent": {leveret.Idempotent()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupAsking(t, options...)
			first := b.answering(leveret.WorkerConfig{}, func(context.Context, thing) (answer, error) { return answer{}, nil })
			require.NoError(t, first.halt())
			// A worker that dies with a request in its hands.
			crashing := b.peer()
			deliveries, err := crashing.Consume("a.ask", "", false, false, false, false, nil)
			require.NoError(t, err)
			type result struct {
				answer
				error
			}
			results := make(chan result, 1)
			client := b.newCaller()
			go func() { a, err := b.ask.Call(b.ctx, client, thing{N: 7}); results <- result{a, err} }()
			receive(t, deliveries)
			require.NoError(t, crashing.conn.Close())
			var handled atomic.Int64
			b.answering(leveret.WorkerConfig{}, func(_ context.Context, v thing) (answer, error) {
				handled.Add(1)
				return answer{N: v.N}, nil
			})
			r := receive(t, results)
			if options == nil {
				require.ErrorIs(t, r.error, leveret.Aborted)
				require.ErrorContains(t, r.error, "outcome unknown")
				require.Zero(t, handled.Load())
			} else {
				require.NoError(t, r.error)
				require.Equal(t, 7, r.N)
			}
		})
	}
}

// TestCallerLosesConnection: a pending call fails at once, or is made again.
func TestCallerLosesConnection(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]leveret.ContractOption{"not idempotent": nil, "idempotent": {leveret.Idempotent()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupAsking(t, append(options, leveret.Timeout(patience))...)
			started, release := make(chan *leveret.Message, 9), make(chan struct{})
			letGo := sync.OnceFunc(func() { close(release) })
			defer letGo()
			b.answering(leveret.WorkerConfig{}, func(ctx context.Context, v thing) (answer, error) {
				m := leveret.MessageFrom(ctx)
				started <- m
				<-release
				return answer{N: v.N}, nil
			})
			way := b.proxy()
			client := b.client(b.connect(leveret.ConnConfig{URLs: []string{way.url}}), b.caller, leveret.ClientConfig{})
			type result struct {
				answer
				error
			}
			results := make(chan result, 1)
			go func() { a, err := b.ask.Call(b.ctx, client, thing{N: 7}); results <- result{a, err} }()
			one := receive(t, started)
			way.cut()
			if options == nil {
				r := receive(t, results)
				require.ErrorIs(t, r.error, leveret.Unavailable)
				require.ErrorIs(t, r.error, leveret.ErrUnconfirmed)
				return
			}
			two := receive(t, started)
			require.Equal(t, one.ID, two.ID, "under the same id")
			require.NotSame(t, one, two)
			letGo()
			r := receive(t, results)
			require.NoError(t, r.error)
			require.Equal(t, 7, r.N)
		})
	}
}

// TestRollingRestart: a restart costs latency, not errors, even where no request may be handled twice.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	var handled sync.Map
	h := func(ctx context.Context, v thing) (answer, error) {
		if _, twice := handled.LoadOrStore(v.N, true); twice {
			return answer{}, leveret.Errorf(leveret.Internal, "%d came twice", v.N)
		}
		select { // as something that takes a moment
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
		}
		return answer{N: v.N}, nil
	}
	config := leveret.WorkerConfig{Concurrency: 2, Prefetch: 64}
	w := b.answering(config, h)
	client := b.newCaller()
	var next atomic.Int64
	done, finish := context.WithCancel(b.ctx)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			for done.Err() == nil {
				n := int(next.Add(1))
				if reply, err := b.ask.Call(b.ctx, client, thing{N: n}); err != nil || reply.N != n {
					t.Errorf("%d: %v %v", n, reply, err)
				}
			}
		})
	}
	for range 4 {
		before := next.Load()
		b.eventually(func() bool { return next.Load() > before+100 })
		fresh := b.answering(config, h)
		require.NoError(t, w.halt())
		w = fresh
	}
	finish()
	all.Wait()
}

// patient is a context whose deadline passes when the test says so.
type patient struct {
	context.Context
	over chan struct{}
}

func (p patient) Done() <-chan struct{} { return p.over }

func (p patient) Err() error {
	select {
	case <-p.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestLate counts the replies that nobody waits for: too late, or never asked for.
func TestLate(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	meter := newMeter()
	conn := b.connect(leveret.ConnConfig{MeterProvider: meter.provider, Instance: "here/1"})
	client := b.client(conn, b.caller, leveret.ClientConfig{ReplyQueue: true})
	started, release := make(chan string, 1), make(chan struct{})
	b.answering(leveret.WorkerConfig{}, func(ctx context.Context, v thing) (answer, error) {
		if v.N == 1 {
			started <- leveret.MessageFrom(ctx).ReplyTo
			<-release
		}
		return answer{}, nil
	})
	_, err := b.ask.Call(b.ctx, client, thing{}) // opens what has to be opened
	require.NoError(t, err)
	ctx, errs := patient{context.WithoutCancel(b.ctx), make(chan struct{})}, make(chan error, 1)
	go func() { _, err := b.ask.Call(ctx, client, thing{N: 1}); errs <- err }()
	replyTo := receive(t, started)
	close(ctx.over)
	require.ErrorIs(t, receive(t, errs), leveret.DeadlineExceeded)
	require.Contains(t, replyTo, "reply.tester.here/1-")
	close(release)
	b.eventually(func() bool { return meter.sum(t, "leveret.late.replies") == 1 }, "the late one")
	b.peer().publish("", replyTo, amqp.Publishing{CorrelationId: "guessed", Body: []byte(`{}`)})
	b.eventually(func() bool { return meter.sum(t, "leveret.late.replies") == 2 }, "the one that was never asked for")
}

// TestTwoOfOneService: several clients and workers of one service live on one connection.
func TestTwoOfOneService(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	conn := b.connect(leveret.ConnConfig{})
	causes := make(chan error, 2)
	started := make(chan struct{}, 2)
	config := leveret.WorkerConfig{Concurrency: 1, Prefetch: 1}
	for range 2 {
		w := b.worker(conn, b.service, config)
		b.ask.Answer(w.Handlers, func(ctx context.Context, v thing) (answer, error) {
			if v.N > 0 {
				return answer{N: v.N}, nil
			}
			started <- struct{}{}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return answer{}, ctx.Err()
		})
		b.run(w)
	}
	var clients []*leveret.Client
	for range 2 {
		clients = append(clients, b.client(conn, b.caller, leveret.ClientConfig{ReplyQueue: true}))
	}
	for i := range 100 {
		reply, err := b.ask.Call(b.ctx, clients[i%2], thing{N: i + 1})
		require.NoError(t, err)
		require.Equal(t, i+1, reply.N)
	}
	b.hear(2)
	ctx, giveUp := context.WithCancel(b.ctx)
	var all sync.WaitGroup
	for _, client := range clients {
		all.Go(func() { _, _ = b.ask.Call(ctx, client, thing{}) })
	}
	receive(t, started)
	receive(t, started)
	giveUp()
	for range 2 {
		require.EqualError(t, receive(t, causes), "the caller has given up", "each worker has its own queue for control")
	}
	all.Wait()
}

// TestMiddlewareOfBothSides sees the message on its way out and in, and may end it there.
func TestMiddlewareOfBothSides(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	var mu sync.Mutex
	var trail []string
	note := func(what string) leveret.Middleware {
		return func(next leveret.Handler) leveret.Handler {
			return func(ctx context.Context, m *leveret.Message) error {
				mu.Lock()
				trail = append(trail, what)
				mu.Unlock()
				if err := next(ctx, m); err != nil {
					return leveret.Errorf(leveret.Internal, "%s: %w", what, err)
				}
				m.Reply = append(m.Reply, ' ')
				return nil
			}
		}
	}
	w := b.worker(b.connect(leveret.ConnConfig{}), b.service, leveret.WorkerConfig{},
		leveret.HandlersConfig{Middleware: []leveret.Middleware{note("worker outer"), note("worker inner")}})
	b.ask.Answer(w.Handlers, func(_ context.Context, v thing) (answer, error) {
		if v.N == 0 {
			panic("within middleware")
		}
		return answer{N: v.N}, nil
	})
	b.run(w)
	client := b.client(b.connect(leveret.ConnConfig{}), b.caller, leveret.ClientConfig{Middleware: []leveret.Middleware{note("client outer"), note("client inner")}})
	m := leveret.NewMessage(b.ctx, b.ask, []byte(`{"n":1}`))
	require.NoError(t, client.Call(b.ctx, m))
	require.Equal(t, `{"n":1}    `, string(m.Reply))
	require.Equal(t, []string{"client outer", "client inner", "worker outer", "worker inner"}, trail)
	_, err := b.ask.Call(b.ctx, client, thing{N: 0})
	require.EqualError(t, err, "internal: client outer: internal: client inner: internal: the handler panicked")
}

// TestExpiredWhileHandlersAreBusy: a request that says no more than an expiration is not handled when that has passed,
// though it has passed in this process.
func TestExpiredWhileHandlersAreBusy(t *testing.T) {
	t.Parallel()
	b := setupAsking(t)
	started, release, handled := make(chan struct{}, 1), make(chan struct{}), make(chan int, 9)
	b.answering(leveret.WorkerConfig{Concurrency: 1, Prefetch: 3}, func(_ context.Context, v thing) (answer, error) {
		if v.N == 1 {
			started <- struct{}{}
			<-release
		}
		handled <- v.N
		return answer{N: v.N}, nil
	})
	foreign := b.peer()
	foreign.publish("requests", "a.ask", amqp.Publishing{Body: []byte(`{"n":1}`)})
	receive(t, started)
	foreign.publish("requests", "a.ask", amqp.Publishing{Body: []byte(`{"n":2}`), Expiration: "100"})
	b.eventually(func() bool { return foreign.count("a.ask") == 0 })
	// What is tested is that time passes. It counts from the arrival in this process, which may be a while after the broker
	// has sent the request.
	<-time.NewTimer(1600 * time.Millisecond).C
	close(release)
	require.Equal(t, 1, receive(t, handled))
	foreign.publish("requests", "a.ask", amqp.Publishing{Body: []byte(`{"n":3}`)})
	require.Equal(t, 3, receive(t, handled), "the second was dropped")
}

// TestReplyThatCannotBeSent is the fault of the worker, not of the caller.
func TestReplyThatCannotBeSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ask := leveret.NewRequest[thing, *answer]("a.ask", leveret.Timeout(patience))
	w := b.worker(b.connect(leveret.ConnConfig{}), leveret.NewService("a", leveret.Answers(ask)), leveret.WorkerConfig{})
	ask.Answer(w.Handlers, func(context.Context, thing) (*answer, error) { return nil, nil }) //nolint:nilnil // the mistake
	b.run(w)
	_, err := ask.Call(b.ctx, b.sender(leveret.Calls(ask)), thing{})
	require.ErrorIs(t, err, leveret.Internal)
	require.ErrorContains(t, err, "the reply to a.ask cannot be sent")
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown, "the handler has done its work")
}

// TestStuckBeyondItsDeadline: a handler that ignores the end of its request is noticed by the request's deadline, not
// by the limit of handlers.
func TestStuckBeyondItsDeadline(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(50*time.Millisecond))
	begun, release := make(chan struct{}, 100), make(chan struct{})
	r := b.answering(leveret.WorkerConfig{StuckAfter: 50 * time.Millisecond, DrainTimeout: 20 * time.Millisecond}, func(context.Context, thing) (answer, error) {
		begun <- struct{}{}
		<-release
		return answer{}, nil
	})
	b.t.Cleanup(func() { close(release) })
	b.expired(b.newCaller(), begun)
	require.ErrorIs(t, r.wait(), leveret.ErrStuck)
}

// TestSoonerDeadlineOfMiddleware travels as the caller's own does.
func TestSoonerDeadlineOfMiddleware(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Timeout(patience))
	began, causes := make(chan struct{}, 100), make(chan error, 100)
	b.answering(leveret.WorkerConfig{}, func(ctx context.Context, _ thing) (answer, error) {
		began <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return answer{}, ctx.Err()
	})
	client := b.client(b.connect(leveret.ConnConfig{}), b.caller, leveret.ClientConfig{Middleware: []leveret.Middleware{
		func(next leveret.Handler) leveret.Handler {
			return func(ctx context.Context, m *leveret.Message) error {
				ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
				return next(ctx, m)
			}
		},
	}})
	b.expired(client, began)
	require.ErrorContains(t, receive(t, causes), "deadline has passed")
}

// TestCallThatKillsItsConnection: what makes the broker close the connection is called again once, though it is
// idempotent, and those beside it go on. A stream cannot take in decimals; other queues can.
func TestCallThatKillsItsConnection(t *testing.T) {
	t.Parallel()
	b := setupAsking(t, leveret.Idempotent(), leveret.Timeout(patience))
	b.answering(leveret.WorkerConfig{}, func(_ context.Context, v thing) (answer, error) { return answer{N: v.N}, nil })
	conn := b.connect(leveret.ConnConfig{})
	client := b.client(conn, b.caller, leveret.ClientConfig{})
	_, err := b.ask.Call(b.ctx, client, thing{N: 1})
	require.NoError(t, err)
	foreign := b.peer()
	_, err = foreign.QueueDeclare("audit", true, false, false, false, amqp.Table{"x-queue-type": "stream"})
	require.NoError(t, err)
	require.NoError(t, foreign.QueueBind("audit", "a.ask", "requests", false, nil))
	_, err = b.ask.Call(b.ctx, client, thing{N: 2}, leveret.Header("amount", amqp.Decimal{Scale: 2, Value: 999}))
	require.ErrorIs(t, err, leveret.ErrUnconfirmed)
	require.NotErrorIs(t, err, leveret.DeadlineExceeded)
	require.ErrorContains(t, err, "Exception (541)")
	_, err = b.ask.Call(b.ctx, client, thing{N: 3})
	require.NoError(t, err)
	require.Equal(t, 2, conn.Publishing().State().Lost)
}

// TestReplyTooLarge: a reply that the broker would not take is an error, for the caller and for the books.
func TestReplyTooLarge(t *testing.T) {
	t.Parallel()
	ask := leveret.NewRequest[thing, string]("a.ask")
	h := leveret.NewHandlers(leveret.NewService("a", leveret.Answers(ask)), leveret.HandlersConfig{})
	ask.Answer(h, func(context.Context, thing) (string, error) { return strings.Repeat("x", rabbit.DefaultMaxBody), nil })
	o := h.Process(t.Context(), &leveret.Message{Contract: ask, Body: []byte(`{}`)}, nil)
	require.ErrorIs(t, o.Err, leveret.ResourceExhausted)
	require.EqualError(t, o.Err, "resource_exhausted: outcome unknown: the reply has 16777218 bytes; the limit is 16777216")
}
