package leveret_test

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

const (
	// suspendedStuckAfter is how long a handler of the suspended worker may take to return after its context has ended.
	suspendedStuckAfter = 10 * time.Second
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
