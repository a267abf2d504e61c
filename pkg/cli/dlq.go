package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

func (a *App) dlqCommand() *cobra.Command {
	cmd := group("dlq", "Messages that failed for good: look at them, give them back to their queue",
		"Messages that failed for good. Each work queue has its dead letters; QUEUE is the one that they failed in. Looking takes\n"+
			"nothing away: what is looked at is out of the dead-letter queue for as long as that lasts.",
		a.dlqListCommand(), a.dlqShowCommand(), a.dlqReplayCommand())
	cmd.Aliases = []string{"deadletters"}
	return cmd
}

// readAtOnce is how many dead letters of a queue a command looks at where it is not told: enough for people, and a second
// or so. It is the same for all of them, so that a letter keeps its number: see [deadletter.Store.Peek].
const readAtOnce = 1000

// completeDeadLetters completes the first argument with queues that have dead letters.
func (a *App) completeDeadLetters() cobra.CompletionFunc {
	return a.completeQueue(func() []shownQueue {
		var all []shownQueue
		for _, q := range a.deadLetterQueues() {
			all = append(all, shownQueue{q.name, kindWork, q.contract, q.service})
		}
		return all
	})
}

// letters connects to look at dead letters.
func (a *App) letters(ctx context.Context) (*leveret.Conn, *deadletter.Store, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	return conn, deadletter.New(conn), nil
}

// failingQueue is the work queue that a person means: by its own name, by that of its dead-letter queue, or without the
// namespace. It need not be one of the catalog.
func (a *App) failingQueue(name string) string {
	known := a.deadLetterQueues()
	for _, candidate := range []string{name, deadletter.WorkQueue(name), a.names().ContractQueue(deadletter.WorkQueue(name))} {
		if slices.ContainsFunc(known, func(q workQueue) bool { return q.name == candidate }) {
			return candidate
		}
	}
	return deadletter.WorkQueue(name)
}

// explainLetters says what to do about an error of a dead-letter queue.
func (a *App) explainLetters(queue string, err error) error {
	switch {
	case errors.Is(err, deadletter.ErrNoQueue):
		all := a.workQueues()
		i := slices.IndexFunc(all, func(q workQueue) bool { return q.name == queue })
		switch {
		case i >= 0 && all[i].kind == leveret.KindRequest:
			return Fail(ExitNotFound, a.Name+" dlq ls", "%s is a queue of requests, which have no dead letters: who asks is told", queue)
		case i >= 0:
			return Fail(ExitNotFound, "start the service once: it declares its queues", "%s has no dead-letter queue yet: %w", queue, err)
		}
		var among []shownQueue
		for _, q := range a.deadLetterQueues() {
			among = append(among, shownQueue{name: q.name})
		}
		return a.noQueue(queue, among)
	case errors.Is(err, rabbit.ErrRefused):
		return Fail(ExitUnreachable, fmt.Sprintf("let the user configure and read %s, or be another one", a.names().DeadLetterQueue(queue)), "%w", err)
	default:
		return a.explain(err)
	}
}
