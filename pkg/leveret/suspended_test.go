package leveret_test

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

const (
	// suspendedStuckAfter is how long a handler of the suspended worker may take to return after its context has ended.
	suspendedStuckAfter = 6 * time.Second
	// suspendedFor is longer, whatever had passed of it before.
	suspendedFor = suspendedStuckAfter + 500*time.Millisecond
)

// suspensions is what the suspended worker serves.
func suspensions() (*leveret.Command[thing], *leveret.Service) {
	do := leveret.NewCommand[thing]("a.do", quick)
	return do, leveret.NewService("a", leveret.Handles(do), leveret.Sends(do))
}

// suspendedWorker is a worker whose handlers do not return when their contexts end, but when the process gets a line
// from the test.
func suspendedWorker(conn *leveret.Conn, told <-chan string) (*leveret.Worker, error) {
	do, service := suspensions()
	h := leveret.NewHandlers(service, leveret.HandlersConfig{
		HandlerTimeout: 500 * time.Millisecond,
		OnOutcome: func(_ context.Context, m *leveret.Message, o leveret.Outcome) {
			say("%v of attempt %d: %v, %v", o.Verdict, m.Attempt, o.Err, o.SettleErr)
		},
	})
	goOn := make(chan struct{})
	go func() {
		<-told
		close(goOn)
	}()
	do.Handle(h, func(ctx context.Context, v thing) error {
		say("begun %d", v.N)
		select {
		case <-ctx.Done():
			say("interrupted %d", v.N)
			<-goOn
		case <-goOn:
		}
		return nil
	})
	return leveret.NewWorker(conn, h, leveret.WorkerConfig{StuckAfter: suspendedStuckAfter})
}

// TestSuspended: a process that was suspended, as by a machine that sleeps, does not take its handlers for stuck,
// though each of them has had its time by the clock: they did not run either.
func TestSuspended(t *testing.T) {
	t.Parallel()
	b := setup(t)
	do, service := suspensions()
	client := b.client(b.connect(leveret.ConnConfig{}), service, leveret.ClientConfig{})
	p := b.launch("suspended", b.url)
	send := func(numbers ...int) {
		for _, i := range numbers {
			require.NoError(t, do.Send(b.ctx, client, thing{N: i}))
		}
	}
	send(0, 1, 2, 3)
	p.await("begun 0", "begun 1", "begun 2", "begun 3", "interrupted 0", "interrupted 1", "interrupted 2", "interrupted 3")
	send(4, 5, 6, 7)
	p.await("begun 4", "begun 5", "begun 6", "begun 7")
	// The first four have begun to return, and the others are in the middle of their work.
	p.signal(syscall.SIGSTOP)
	<-time.After(suspendedFor) // the process's clock goes on, and there is nothing else to wait for
	p.signal(syscall.SIGCONT)
	p.await("interrupted 4", "interrupted 5", "interrupted 6", "interrupted 7")
	send(8)
	p.await("begun 8") // it still takes messages; one that had found a stuck handler would take no more
	p.tell("go on")
	p.await(slices.Repeat([]string{"ack of attempt 1: <nil>, <nil>"}, 9)...)

	p.signal(syscall.SIGTERM)
	require.Zero(t, p.wait(), "nothing was stuck")
	for i := range 9 {
		require.NotContains(t, p.said, fmt.Sprint("begun ", i), "again")
	}
	foreign := b.peer()
	for _, queue := range []string{"a.do", "a.do.dlq", "retry.50ms", "quarantine.a"} {
		require.Zero(t, foreign.count(queue), queue)
	}
}
