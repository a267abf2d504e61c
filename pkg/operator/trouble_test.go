package operator_test

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

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// Answers that come while an asker is closed are nobody's, and hold nothing up.
func TestCloseAmongAnswers(t *testing.T) {
	t.Parallel()
	conn := connect(t, leverettest.Broker(t), topology.Shared)
	where := operator.Listening(conn.Names(), "post", "here")
	require.NoError(t, rabbit.NewDeclarer(conn.Publishing()).Declare(t.Context(), where))
	const answers = 3000
	begun := make(chan struct{})
	consumer := rabbit.NewConsumer(conn.Publishing(), rabbit.ConsumerConfig{
		Queue: where.Queues[0].Name,
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			for i := range answers {
				if err := d.Reply(ctx, &rabbit.Publication{RoutingKey: d.ReplyTo, Publishing: rabbit.Publishing{
					CorrelationId: d.CorrelationId, Type: "leveret.report", Body: []byte("{}"),
				}}); err != nil {
					break // the asker has gone
				}
				if i == answers/2 {
					close(begun)
				}
			}
			return rabbit.Ack
		},
	})
	consuming, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = consumer.Run(consuming) })
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	a := operator.NewAsker(conn)
	reports, err := a.Ask(t.Context(), "post", 1)
	require.NoError(t, err)
	require.NotEmpty(t, reports)
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, a.Close(ctx))
}

// A flood of questions costs the broker little.
func TestQuestionsThatWait(t *testing.T) {
	t.Parallel()
	conn := connect(t, leverettest.Broker(t), topology.Shared)
	where := operator.Listening(conn.Names(), "post", "here")
	require.NoError(t, rabbit.NewDeclarer(conn.Publishing()).Declare(t.Context(), where))
	p := rabbit.NewPublisher(conn.Publishing(), rabbit.PublisherConfig{})
	t.Cleanup(func() { require.NoError(t, p.Close(context.WithoutCancel(t.Context()))) })
	failures := make([]error, 20)
	var flooding sync.WaitGroup
	for i := range failures {
		flooding.Go(func() {
			for range 15 {
				failures[i] = errors.Join(failures[i], p.Publish(t.Context(), &rabbit.Publication{
					Exchange: where.Bindings[0].Exchange, RoutingKey: where.Bindings[0].RoutingKey, Mandatory: true,
					Publishing: rabbit.Publishing{MessageId: "m", Body: []byte("{}")},
				}))
			}
		})
	}
	flooding.Wait()
	require.NoError(t, errors.Join(failures...))
	state, err := conn.Publishing().Inspect(t.Context(), where.Queues[0].Name)
	require.NoError(t, err)
	require.Equal(t, 256, state.Ready)
}

// A relay leads to the broker, over connections of which the client's half can be lost alone.
type relay struct {
	mu        sync.Mutex
	near, far []net.Conn
}

func (r *relay) accept(l net.Listener, target string, running *sync.WaitGroup) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", target)
		if err != nil {
			_ = near.Close()
			continue
		}
		r.mu.Lock()
		r.near, r.far = append(r.near, near), append(r.far, far)
		r.mu.Unlock()
		running.Go(func() { _, _ = io.Copy(far, near) })
		running.Go(func() { _, _ = io.Copy(near, far) })
	}
}

// lose ends the client's halves, and returns what ends the broker's.
func (r *relay) lose() (noticed func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	near, far := r.near, r.far
	r.near, r.far = nil, nil
	for _, c := range near {
		_ = c.Close()
	}
	return func() {
		for _, c := range far {
			_ = c.Close()
		}
	}
}

// counter counts what is logged.
type counter struct {
	slog.Handler
	records chan string
}

func (c counter) Enabled(context.Context, slog.Level) bool { return true }

func (c counter) Handle(_ context.Context, r slog.Record) error {
	select {
	case c.records <- r.Message:
	default:
	}
	return nil
}

// For as long as the broker has not noticed that a connection is gone, its exclusive queue cannot be declared over the
// next one. A process can be asked again after that.
func TestTheQueueOfTheConnectionBefore(t *testing.T) {
	t.Parallel()
	address := leverettest.Broker(t)
	u, err := url.Parse(address)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{}
	var relaying sync.WaitGroup
	target := u.Host
	relaying.Go(func() { r.accept(l, target, &relaying) })
	t.Cleanup(func() {
		_ = l.Close()
		r.lose()()
		relaying.Wait()
	})
	u.Host = l.Addr().String()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{
		URLs: []string{u.String()}, Name: "post", MaxBackoff: 10 * time.Millisecond, Heartbeat: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	log := counter{slog.DiscardHandler, make(chan string, 100)}
	serving, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		_ = operator.Serve(serving, conn, operator.Config{Service: post, Instance: "here/1", Logger: slog.New(log)})
	})
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	a := asker(t, connect(t, address, topology.Shared))
	await(t, a, 1, func(rs []operator.Report) bool { return len(rs) == 1 })

	noticed := r.lose()
	t.Cleanup(noticed)
	for failed := 0; failed < 11; {
		select {
		case text := <-log.records:
			if text == "not consuming" {
				failed++
			}
		case <-time.After(patience):
			require.FailNow(t, "it has given up", "after %d attempts", failed)
		}
	}
	noticed()
	await(t, a, 1, func(rs []operator.Report) bool { return len(rs) == 1 })
}
