package rabbit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// The driver writes a message as several frames, and lets go of its lock between them. A method of the same channel that
// comes in between costs the whole connection, with all that others do on it.

const rounds = 10

// large is a message of many frames that is routed nowhere.
func large() *rabbit.Publication {
	m := to("nowhere", "x")
	m.Mandatory, m.DeliveryMode, m.CorrelationId = false, 1, "x"
	m.Body = make([]byte, 1<<20)
	return m
}

func TestStoppingAConsumerSparesTheRepliesThatAreBeingWritten(t *testing.T) {
	t.Parallel()
	conn := connected(t)
	declare(t, conn, queue("q", "classic"))
	for range rounds {
		fill(t, conn, "q", 1)
		replying, once := make(chan struct{}), sync.Once{}
		var stopped atomic.Bool
		stop := running(t, rabbit.NewConsumer(conn, rabbit.ConsumerConfig{
			Queue: "q",
			Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
				for more := 5; more > 0; {
					if err := d.Reply(ctx, large()); err != nil {
						t.Error(err)
						break
					}
					once.Do(func() { close(replying) })
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
	require.Zero(t, conn.State().Lost)
	requireReady(t, conn, "q", 0)
}

func TestClosingARequesterSparesTheRequestsThatAreBeingWritten(t *testing.T) {
	t.Parallel()
	for name, publish := range map[string]func(*rabbit.Requester){
		"requests": func(r *rabbit.Requester) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, _ = r.Call(ctx, large())
		},
		"hints": func(r *rabbit.Requester) { r.Tell(large()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, ctx := connected(t), within(t)
			answering(t, conn, nil)
			for range rounds {
				r := rabbit.NewRequester(conn, rabbit.RequesterConfig{})
				_, err := r.Call(ctx, request("1"))
				require.NoError(t, err)
				var closed atomic.Bool
				publishing, once := make(chan struct{}), sync.Once{}
				var all sync.WaitGroup
				for range 2 {
					all.Go(func() {
						for !closed.Load() {
							publish(r)
							once.Do(func() { close(publishing) })
						}
					})
				}
				<-publishing
				require.NoError(t, r.Close(ctx))
				closed.Store(true)
				all.Wait()
			}
			require.Zero(t, conn.State().Lost)
		})
	}
}
