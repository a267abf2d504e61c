package leveret_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// stormLedger names the file in which the workers of the storm write a line for each message that they have handled:
// its number.
const stormLedger = "LEVERET_TEST_LEDGER"

// stormy is what the workers of the storm serve.
func stormy() (*leveret.Command[thing], *leveret.Service) {
	do := leveret.NewCommand[thing]("a.do", quick)
	return do, leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))
}

// stormyWorker is a worker that writes into the ledger what it has handled. Before that, each handler waits for hold.
func stormyWorker(conn *leveret.Conn, config leveret.WorkerConfig, hold func(context.Context) error) (*leveret.Worker, error) {
	done, err := os.OpenFile(os.Getenv(stormLedger), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	do, service := stormy()
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	do.Handle(h, func(ctx context.Context, v thing) error {
		if err := hold(ctx); err != nil {
			return err
		}
		_, err := done.WriteString(strconv.Itoa(v.N) + "\n")
		return err
	})
	return leveret.NewWorker(conn, h, config)
}

// unhinderedWorker handles whatever comes at once, and says when it has begun.
func unhinderedWorker(conn *leveret.Conn, _ <-chan string) (*leveret.Worker, error) {
	return stormyWorker(conn, leveret.WorkerConfig{OnReady: func() { say("ready") }}, func(context.Context) error { return nil })
}

// hinderedWorker says when it is busy with several messages at once, and remains so until it is stopped or gets a line
// from the test. What is handled alone, as suspects are, is handled at once. So a hindered worker that is busy tries no
// suspect.
func hinderedWorker(conn *leveret.Conn, told <-chan string) (*leveret.Worker, error) {
	r := newRendezvous()
	go func() {
		for range told {
			r.part()
		}
	}()
	return stormyWorker(conn, leveret.WorkerConfig{Concurrency: 4, Prefetch: 16, DrainTimeout: 10 * time.Millisecond}, r.meet)
}

// rendezvous is where handlers wait while they are several.
type rendezvous struct {
	mu   sync.Mutex
	here *meeting
}

type meeting struct {
	n              int           // handlers that are here
	several, ended chan struct{} // closed when they are
}

func newRendezvous() *rendezvous { return &rendezvous{here: newMeeting()} }

func newMeeting() *meeting { return &meeting{several: make(chan struct{}), ended: make(chan struct{})} }

// meet blocks until those who have met are to part. A caller that meets nobody within a moment does not wait any
// longer.
func (r *rendezvous) meet(ctx context.Context) error {
	r.mu.Lock()
	m := r.here
	m.n++
	if m.n == 2 {
		close(m.several)
		say("busy")
	}
	r.mu.Unlock()
	moment := time.NewTimer(100 * time.Millisecond)
	defer moment.Stop()
	select {
	case <-m.several:
	case <-moment.C:
		r.mu.Lock()
		if m.n == 1 {
			m.n = 0
			r.mu.Unlock()
			return nil
		}
		r.mu.Unlock()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-m.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// part ends the meeting.
func (r *rendezvous) part() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.here.ended)
	r.here = newMeeting()
}

// TestStorm: ten stops, five kills of a worker that is busy, and five losses of all connections, one of them with the
// broker, over one backlog. All of them bring the same messages back to their queue, so that they are suspected; but
// none becomes a dead letter, and all are handled in the end.
func TestStorm(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.WithoutCancel(ctx))) })
	b := &bench{t, ctx, node.URL(), logger(t)}
	const n = 300
	do, service := stormy()
	conn := b.connect(leveret.ConnConfig{})
	require.NoError(t, do.Send(ctx, b.client(conn, service, leveret.ClientConfig{}), thing{})) // declares its queue
	publisher := rabbit.NewPublisher(conn.Publishing(), rabbit.PublisherConfig{})
	pipeline := publisher.Pipeline()
	for i := range n - 1 {
		require.NoError(t, pipeline.Publish(ctx, &rabbit.Publication{Exchange: "commands", RoutingKey: "a.do", Mandatory: true, Publishing: rabbit.Publishing{
			MessageId: strconv.Itoa(i), DeliveryMode: amqp.Persistent, Body: fmt.Appendf(nil, `{"n":%d}`, i+1),
			Headers: rabbit.Table{"leveret-returned": int64(3)}, // before RabbitMQ 4.3, their second chance
		}}, nil))
	}
	require.NoError(t, pipeline.Flush(ctx))
	require.NoError(t, publisher.Close(ctx))
	effects := t.TempDir() + "/effects"
	require.NoError(t, os.WriteFile(effects, nil, 0o600))
	handled := func() map[int]int { return ledger(t, effects) }
	foreign, suspects := b.peer(), 0
	way, began := b.proxy(), time.Now()

	stop := func(p *process) {
		p.signal(syscall.SIGTERM)
		require.Zero(t, p.wait())
	}
	kill := func(p *process) {
		p.signal(syscall.SIGKILL)
		require.Equal(t, -1, p.wait())
	}
	losing := func(lose func()) func(*process) {
		return func(p *process) {
			lose()
			p.tell("go on")
			p.await("busy") // consuming again
			stop(p)
		}
	}
	cut := losing(way.cut)
	restart := losing(func() {
		// A node that is killed may have forgotten queues that it has declared within the last second: see
		// [devbroker.Broker.Kill].
		<-time.After(time.Until(began.Add(3 * time.Second)))
		suspects := foreign.count("quarantine.a")
		way.refuse(true) // or the worker may handle some before they are counted
		require.NoError(t, node.Kill())
		require.NoError(t, node.Start(ctx))
		foreign = b.peer()
		b.eventually(func() bool { return foreign.count("quarantine.a") >= suspects }, "the queue has started, too")
		way.refuse(false)
	})
	events := slices.Concat(
		slices.Repeat([]func(*process){cut}, 4),
		slices.Repeat([]func(*process){stop}, 5),
		slices.Repeat([]func(*process){kill}, 5), // in a row: after a stop or a cut, a trial that was broken off starts over
		[]func(*process){restart},
	)
	for i, event := range events {
		p := b.launch("hindered", way.url, stormLedger+"="+effects)
		p.await("busy")
		suspects = max(suspects, foreign.count("quarantine.a"))
		event(p)
		t.Logf("event %d: %d handled, %d wait, %d are suspects", i, len(handled()), foreign.count("a.do"), foreign.count("quarantine.a"))
	}

	for calm := false; !calm; calm = foreign.count("a.do")+foreign.count("quarantine.a") == 0 {
		p := b.launch("unhindered", way.url, stormLedger+"="+effects)
		p.await("ready")
		b.eventually(func() bool {
			waiting := foreign.count("a.do") + foreign.count("quarantine.a")
			return foreign.count("a.do.dlq") > 0 || waiting == 0 && len(handled()) == n
		}, "all are handled")
		stop(p)
	}
	for _, queue := range []string{"a.do.dlq", "a.do", "quarantine.a", "retry.50ms", "retry.lost"} {
		d, ok, err := foreign.Get(queue, true) // which fails where a count could only be out of date
		require.NoError(t, err)
		require.False(t, ok, "%s holds a message, with the headers %v", queue, d.Headers)
	}
	again, times := 0, handled()
	for i := range n {
		require.NotZero(t, times[i], "%d is lost", i)
		again += times[i] - 1
	}
	require.NotZero(t, suspects, "it was no storm")
	t.Logf("%d of %d were handled more than once, %d at most were suspects", again, n, suspects)
}
