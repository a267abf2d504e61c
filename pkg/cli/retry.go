package cli

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
)

func (a *App) retryCommand() *cobra.Command {
	return group("retry", "Inspect and release what waits for a retry",
		"Inspect and release what waits for a retry: messages that failed, and are to be tried again after a delay. They wait in\n"+
			"the retry tiers, which queues share. QUEUE is the work queue that they go back to.\n\n"+
			"Inspecting changes neither how long they wait nor their order. While a command reads a tier, what has become due there\n"+
			"goes back a moment later.",
		a.retryListCommand(), a.retryReleaseCommand())
}

// retryWhereHelp explains --where in the help of these commands.
func (a *App) retryWhereHelp() string {
	return fmt.Sprintf("--where selects messages by an expression, as %s dlq show --help explains it; host is empty here.\n"+
		"Messages that were sent to be handled later wait here, too: --where 'not delayed' leaves them out.", a.Name)
}

// tiers returns the retry tiers of the catalog's services, the longest first: what is released, and fails again, mostly
// waits for as long as before, or longer, and is not released a second time.
func (a *App) tiers(letters *deadletter.Store) []deadletter.Source {
	var all []deadletter.Source
	for _, s := range a.Catalog.Services() {
		for _, c := range a.retried(s) {
			for _, d := range c.Retry.Delays {
				all = append(all, letters.RetryTier(s.Name(), d))
			}
		}
	}
	slices.SortStableFunc(all, func(x, y deadletter.Source) int {
		return cmp.Or(cmp.Compare(y.Delay, x.Delay), cmp.Compare(x.Name, y.Name))
	})
	return slices.CompactFunc(all, func(x, y deadletter.Source) bool { return x.Name == y.Name })
}

// retriedQueue returns the work queue that a person named. It need not be in the catalog; a request queue has no retries.
func (a *App) retriedQueue(name string) (string, error) {
	queue, all := a.failingQueue(name), a.workQueues()
	i := slices.IndexFunc(all, func(q workQueue) bool { return q.name == queue })
	if i >= 0 && all[i].kind == leveret.KindRequest {
		return "", Fail(ExitNotFound, a.Name+" retry ls", "%s is a request queue, whose messages are not retried: the caller gets the error", queue)
	}
	return queue, nil
}
