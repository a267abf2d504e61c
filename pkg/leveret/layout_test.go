package leveret_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// Everything works in both layouts: sending, publishing, calling and cancelling, retrying and dead-lettering. The
// second system finds the queues of the first, as one that changes its layout does.
func TestLayouts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	foreign := b.peer()
	for _, layout := range []topology.Layout{topology.Isolated, topology.Shared} {
		do, ask := leveret.NewCommand[thing]("a.do", quick), leveret.NewRequest[thing, answer]("a.ask", leveret.Timeout(patience))
		happened := leveret.NewEvent[thing]("a.happened")
		a := leveret.NewService("a", leveret.Handles(do), leveret.Publishes(happened), leveret.Answers(ask))
		listener := leveret.NewService("b", leveret.SubscribesTo(happened), leveret.Sends(do), leveret.Calls(ask))
		conn := b.connect(leveret.ConnConfig{Layout: layout, Instance: string(layout)})
		attempts, heard, asked, cancelled := make(chan int, 9), make(chan thing, 9), make(chan thing), make(chan error)
		w := b.worker(conn, a, leveret.WorkerConfig{}, leveret.HandlersConfig{HandlerTimeout: 10 * time.Second})
		do.Handle(w.Handlers, func(ctx context.Context, _ thing) error {
			attempts <- leveret.MessageFrom(ctx).Attempt
			return errors.New("no")
		})
		ask.Answer(w.Handlers, func(ctx context.Context, v thing) (answer, error) {
			if v.N == 0 {
				return answer{Text: "yes"}, nil
			}
			asked <- v
			<-ctx.Done()
			cancelled <- context.Cause(ctx)
			return answer{}, ctx.Err()
		})
		l := b.worker(conn, listener, leveret.WorkerConfig{})
		happened.Subscribe(l.Handlers, func(_ context.Context, v thing) error { heard <- v; return nil })
		answering, listening := b.run(w), b.run(l)

		caller, publisher := b.client(conn, listener, leveret.ClientConfig{}), b.client(conn, a, leveret.ClientConfig{})
		require.NoError(t, do.Send(b.ctx, caller, thing{N: 1}))
		for n := range 3 {
			require.Equal(t, n+1, receive(t, attempts))
		}
		require.Equal(t, "a.do", foreign.take("a.do.dlq").Headers["leveret-failed-queue"])
		require.NoError(t, happened.Publish(b.ctx, publisher, thing{N: 2}))
		require.Equal(t, 2, receive(t, heard).N)
		reply, err := ask.Call(b.ctx, caller, thing{})
		require.NoError(t, err)
		require.Equal(t, "yes", reply.Text)
		const wanted = "the caller has given up"
		cause := ""
		for tries := 0; tries < 10 && cause != wanted; tries++ { // a worker that has just started may not hear of it yet
			ctx, cancel := context.WithCancel(b.ctx)
			gone := make(chan error, 1)
			go func() { _, err := ask.Call(ctx, caller, thing{N: 3}); gone <- err }()
			receive(t, asked)
			cancel()
			require.ErrorIs(t, receive(t, gone), leveret.Canceled)
			cause = receive(t, cancelled).Error()
		}
		require.Equal(t, wanted, cause)
		require.NoError(t, answering.halt())
		require.NoError(t, listening.halt())

		if layout == topology.Isolated { // nothing of the shared layout is there yet
			for _, e := range a.Topology(topology.Names{}, topology.Classic).Exchanges {
				if e.Name != (topology.Names{}).Quarantine("a") {
					require.Error(t, b.peer().ExchangeDeclarePassive(e.Name, e.Type, true, false, false, false, nil), e.Name)
				}
			}
		}
	}
}
