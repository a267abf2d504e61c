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
	cmd := group("dlq", "Inspect and replay dead letters: messages that failed for good",
		"Inspect and replay dead letters: messages that failed for good. QUEUE is the work queue in which they failed.\n\n"+
			"Inspecting removes nothing. While a command reads dead letters, they are missing from their queue for a moment.",
		a.dlqListCommand(), a.dlqShowCommand(), a.dlqReplayCommand())
	cmd.Aliases = []string{"deadletters"}
	return cmd
}

// readAtOnce is how many dead letters of a queue a command reads by default: enough for people, in about a second. It
// is the same for all commands, so that a letter keeps its number: see [deadletter.Store.Peek].
const readAtOnce = 1000

// completeDeadLetters completes the first argument with the queues that can have dead letters.
func (a *App) completeDeadLetters() cobra.CompletionFunc {
	return a.completeQueue(func() []shownQueue {
		var all []shownQueue
		for _, q := range a.deadLetterQueues() {
			all = append(all, shownQueue{q.name, kindWork, q.contract, q.service})
		}
		return all
	})
}

// letters connects, and returns the broker's dead letters.
func (a *App) letters(ctx context.Context) (*leveret.Conn, *deadletter.Store, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	return conn, deadletter.New(conn), nil
}

// failingQueue returns the work queue that a person named: by its own name, by the name of its dead-letter queue, or
// without the namespace. It need not be in the catalog.
func (a *App) failingQueue(name string) string {
	known := a.deadLetterQueues()
	for _, candidate := range []string{name, deadletter.WorkQueue(name), a.names().ContractQueue(deadletter.WorkQueue(name))} {
		if slices.ContainsFunc(known, func(q workQueue) bool { return q.name == candidate }) {
			return candidate
		}
	}
	return deadletter.WorkQueue(name)
}

// consumer returns the service of the catalog that consumes a work queue, or "" for other queues.
func (a *App) consumer(queue string) string {
	for _, q := range a.deadLetterQueues() {
		if q.name == queue {
			return q.service
		}
	}
	return ""
}

// explainLetters adds to an error of a dead-letter queue what to do about it.
func (a *App) explainLetters(queue string, err error) error {
	switch {
	case errors.Is(err, deadletter.ErrNoQueue):
		all := a.workQueues()
		i := slices.IndexFunc(all, func(q workQueue) bool { return q.name == queue })
		switch {
		case i >= 0 && all[i].kind == leveret.KindRequest:
			return Fail(ExitNotFound, a.Name+" dlq ls", "%s is a request queue, which has no dead letters: the caller gets the error", queue)
		case i >= 0:
			return Fail(ExitNotFound, "start the service once; it declares its queues", "%s has no dead-letter queue yet: %w", queue, err)
		}
		var among []shownQueue
		for _, q := range a.deadLetterQueues() {
			among = append(among, shownQueue{name: q.name})
		}
		return a.noQueue(queue, among)
	case errors.Is(err, rabbit.ErrRefused):
		return Fail(ExitUnreachable, fmt.Sprintf("grant the user permission to configure and read %s, or log in as another user", a.names().DeadLetterQueue(queue)), "%w", err)
	default:
		return a.explain(err)
	}
}
