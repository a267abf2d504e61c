package rabbit_test

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// The driver writes a message as several frames, and lets go of its lock between them. A method of the same channel
// that comes in between costs the whole connection, with all that others do on it.

const rounds = 10

// large is a message of many frames that is routed nowhere.
func large(body []byte) *rabbit.Publication {
	m := to("nowhere", "x")
	m.Mandatory, m.DeliveryMode, m.CorrelationId, m.Body = false, 1, rand.Text(), body
	return m
}

// requireNeverLost asks the broker something first, so that what it had to say before has come.
func requireNeverLost(t *testing.T, conn *rabbit.Conn) {
	t.Helper()
	_, err := conn.Inspect(within(t), "nowhere")
	require.ErrorIs(t, err, rabbit.ErrNotFound)
	require.Zero(t, conn.State().Lost)
}

func TestStoppingAConsumerSparesTheRepliesThatAreBeingWritten(t *testing.T) {
	t.Parallel()
	conn, body := connected(t), make([]byte, 1<<20)
	declare(t, conn, queue("q", "classic"))
	for range rounds {
		fill(t, conn, "q", 1)
		replying := make(chan struct{})
		begun := sync.OnceFunc(func() { close(replying) })
		var stopped atomic.Bool
		stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
			Queue: "q",
			Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
				defer begun()
				for more := 5; more > 0; {
					if err := d.Reply(ctx, large(body)); err != nil {
						t.Error(err)
						break
					}
					begun()
					if stopped.Load() {
						more--
					}
				}
				return rabbit.Ack
			},
		}))
		<-replying
		stopped.Store(true)
		require.NoError(t, stop())
	}
	requireNeverLost(t, conn)
	requireReady(t, conn, "q", 0)
}

func TestClosingARequesterSparesTheRequestsThatAreBeingWritten(t *testing.T) {
	t.Parallel()
	body := make([]byte, 1<<20)
	for name, publish := range map[string]func(*rabbit.Requester) error{
		"requests": func(r *rabbit.Requester) error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := r.Call(ctx, large(body)) // nobody answers
			return err
		},
		"hints": func(r *rabbit.Requester) error { r.PublishHint(large(body)); return context.DeadlineExceeded },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, ctx := connected(t), within(t)
			answering(t, conn, nil)
			for range rounds {
				r := rabbit.NewRequester(conn, rabbit.RequesterConfig{})
				_, err := r.Call(ctx, request("1"))
				require.NoError(t, err)
				living, closed := context.WithCancel(ctx)
				publishing := make(chan struct{})
				written := sync.OnceFunc(func() { close(publishing) })
				var all sync.WaitGroup
				for range 2 {
					all.Go(func() {
						for living.Err() == nil {
							err := publish(r)
							if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, rabbit.ErrBlocked) {
								written()
							}
							runtime.Gosched()
						}
					})
				}
				<-publishing
				err = r.Close(ctx)
				closed()
				all.Wait()
				require.NoError(t, err)
			}
			requireNeverLost(t, conn)
		})
	}
}
