package leveret_test

import (
	"context"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// isPoison says which messages kill the worker process of TestPoison that handles them.
func isPoison(n int) bool { return n >= 1_000_000 }

// TestPoison: messages that kill their worker become dead letters after some crashes, and take no other message along.
func TestPoison(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 300
	do, service := crashes()
	client := b.client(b.connect(leveret.ConnConfig{}), service, leveret.ClientConfig{})
	effects := t.TempDir() + "/effects"
	require.NoError(t, os.WriteFile(effects, nil, 0o600))
	for i := range n {
		number := i
		if i == 40 || i == 45 { // side by side: each crash has the other one in hand, too
			number = 1_000_000 + i
		}
		require.NoError(t, do.Send(b.ctx, client, thing{N: number}))
	}
	foreign := b.peer()
	dead := map[int]int{}
	collect := func() {
		for range foreign.count("a.do.dlq") {
			d := foreign.take("a.do.dlq")
			v, err := do.Decode(d.Body)
			require.NoError(t, err)
			dead[v.N]++
			if isPoison(v.N) {
				require.Equal(t, "crashed_worker", d.Headers["leveret-error-reason"])
				require.Equal(t, "a.do", d.Headers["leveret-failed-queue"])
			}
		}
	}
	// A message that was about to be acked when its worker died is handled twice.
	done := func() bool {
		collect()
		return len(dead) == 2+n/10 && len(ledger(t, effects)) == n-2-n/10 &&
			foreign.count("a.do")+foreign.count("quarantine.a")+foreign.count("retry.50ms") == 0
	}
	crashed := 0
	for !done() {
		require.Less(t, crashed, 40, "it crashes forever")
		p := b.launch("crashing", b.url, crashFile+"="+effects)
		ended := make(chan int, 1)
		go func() { ended <- p.wait() }()
		gone := false
		b.eventually(func() bool {
			select {
			case <-ended:
				gone = true
				return true
			default:
				return done()
			}
		}, "it crashes, or is done")
		if gone {
			crashed++
			continue
		}
		p.signal(syscall.SIGKILL)
		<-ended
	}
	t.Logf("%d crashes for 2 messages", crashed)
	for i := range dead {
		require.True(t, isPoison(i) || i%10 == 3, "%d is innocent", i)
	}
	// Where a worker crashes after it has moved one of them, and before the original is acked, there are two of it.
	require.NotZero(t, dead[1_000_040])
	require.NotZero(t, dead[1_000_045])
}

// TestReturnsProveNothing: messages that come back to their queue again and again, because workers stop and connections
// are lost, are handled in the end; none is dead-lettered for it.
func TestReturnsProveNothing(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	const n = 40
	for i := range n {
		h.send(thing{N: i})
	}
	foreign := h.peer()
	var handled atomic.Int64
	for range 8 {
		begun := make(chan struct{}, n)
		conn := h.connect(leveret.ConnConfig{})
		w := h.worker(conn, h.service, leveret.WorkerConfig{DrainTimeout: 10 * time.Millisecond})
		h.do.Handle(w.Handlers, func(ctx context.Context, _ thing) error {
			begun <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		r := h.run(w)
		receive(t, begun)
		require.NoError(t, r.halt())
		require.NoError(t, conn.Close(h.ctx))
		h.eventually(func() bool { return foreign.count("a.do")+foreign.count("quarantine.a") == n }, "all of them came back")
	}
	h.handle(leveret.WorkerConfig{}, func(context.Context, thing) error { handled.Add(1); return nil })
	h.eventually(func() bool { return handled.Load() == n })
	h.eventually(func() bool { return foreign.count("a.do")+foreign.count("quarantine.a") == 0 })
	require.Zero(t, foreign.count("a.do.dlq"))
}

// TestTrialsAreAlone: while a suspect is tried, no request is handled either, which may crash the worker, too.
func TestTrialsAreAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, ask := leveret.NewCommand[thing]("a.do"), leveret.NewRequest[thing, answer]("a.ask", leveret.Timeout(time.Minute))
	service := leveret.NewService("a", leveret.Handles(do), leveret.Answers(ask))
	trial, release, beside := make(chan struct{}), make(chan struct{}), make(chan bool, 1)
	var tried atomic.Bool
	start := func() *running {
		w := b.worker(b.connect(leveret.ConnConfig{}), service, leveret.WorkerConfig{})
		do.Handle(w.Handlers, func(context.Context, thing) error {
			close(trial)
			<-release
			tried.Store(true)
			return nil
		})
		ask.Answer(w.Handlers, func(context.Context, thing) (answer, error) {
			beside <- !tried.Load()
			return answer{}, nil
		})
		return b.run(w)
	}
	require.NoError(t, start().halt()) // the queues are there now
	foreign := b.peer()
	foreign.publish("quarantine.a", "a.do", amqp.Publishing{Body: []byte(`{"n":1}`)})
	r := start()
	<-trial
	caller := b.client(b.connect(leveret.ConnConfig{}), leveret.NewService("tester", leveret.Calls(ask)), leveret.ClientConfig{})
	answered, asked := make(chan error, 1), time.Now()
	go func() {
		_, err := ask.Call(b.ctx, caller, thing{})
		answered <- err
	}()
	for range 20 { // the time that a request takes to its handler
		require.Zero(t, foreign.count("a.do"))
	}
	close(release)
	b.eventually(tried.Load)
	inTime := time.Since(asked) < 5*time.Second // a request waits no longer for a trial
	require.False(t, receive(t, beside) && inTime)
	require.NoError(t, receive(t, answered))
	require.NoError(t, r.halt())
	require.Zero(t, foreign.count("quarantine.a"))
}

// tryingWorker is a worker that a poison message kills. All others are handled when the process is told to go on.
func tryingWorker(conn *leveret.Conn, told <-chan string) (*leveret.Worker, error) {
	do, service := crashes()
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	do.Handle(h, func(_ context.Context, v thing) error {
		if isPoison(v.N) {
			killOwnProcess()
		}
		say("trying")
		<-told
		return nil
	})
	return leveret.NewWorker(conn, h, leveret.WorkerConfig{})
}

// TestATrialEndsWithItsSettlement: what waits behind the trial of a suspect, and may crash the worker, begins when the suspect is
// settled, so that the crash does not speak against it.
func TestATrialEndsWithItsSettlement(t *testing.T) {
	t.Parallel()
	for range 3 {
		b := setup(t)
		do, service := crashes()
		client := b.client(b.connect(leveret.ConnConfig{}), service, leveret.ClientConfig{})
		w := b.worker(b.connect(leveret.ConnConfig{}), service, leveret.WorkerConfig{})
		do.Handle(w.Handlers, func(context.Context, thing) error { return nil })
		require.NoError(t, b.run(w).halt()) // the queues are there now
		foreign := b.peer()
		foreign.publish("quarantine.a", "a.do", amqp.Publishing{MessageId: "suspect", Body: []byte(`{"n":1}`)})
		p := b.launch("trying", b.url)
		p.await("trying")
		require.NoError(t, do.Send(b.ctx, client, thing{N: 1_000_000}))
		b.eventually(func() bool { return foreign.count("a.do") == 0 }, "it waits in the worker")
		p.tell("go on")
		require.Equal(t, -1, p.wait())
		b.eventually(func() bool { return foreign.count("a.do") == 1 }, "it came back with the crash")
		_, ok, err := foreign.Get("quarantine.a", true)
		require.NoError(t, err)
		require.False(t, ok, "the suspect was handled, and came back all the same")
	}
}

// TestLostConnectionsAreNoCrashes: a message whose trials and handlings are interrupted by lost connections is neither
// suspected by the worker that lived through them, nor convicted by the next one.
func TestLostConnectionsAreNoCrashes(t *testing.T) {
	t.Parallel()
	h := setupHandling(t)
	foreign := h.peer()
	way := h.proxy()
	begun, release := make(chan bool, 99), make(chan struct{})
	hold := func(ctx context.Context, _ thing) error {
		begun <- leveret.MessageFrom(ctx).Redelivered // which a copy in quarantine is not
		<-release
		return nil
	}
	w := h.worker(h.connect(leveret.ConnConfig{URLs: []string{way.url}}), h.service, leveret.WorkerConfig{})
	h.do.Handle(w.Handlers, hold)
	r := h.run(w)
	h.send(thing{N: 1})
	for n := range 5 {
		require.Equal(t, n > 0, receive(t, begun))
		way.cut()
	}
	require.True(t, receive(t, begun))
	close(release)
	h.eventually(func() bool { return foreign.count("a.do") == 0 })
	require.NoError(t, r.halt())
	require.Zero(t, foreign.count("a.do.dlq"))

	// A foreign sender's count is none.
	done := make(chan int, 1)
	h.handle(leveret.WorkerConfig{}, func(context.Context, thing) error { done <- foreign.count("quarantine.a"); return nil })
	foreign.publish("commands", "a.do", amqp.Publishing{Headers: amqp.Table{"x-delivery-count": int64(9)}, Body: []byte(`{"n":2}`)})
	require.Zero(t, receive(t, done))
}
