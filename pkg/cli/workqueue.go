package cli

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A workQueue is a queue from which a service of the catalog consumes the messages of a contract, or of several.
type workQueue struct {
	name, service string
	contracts     []leveret.Contract // in the order in which they are asked whose a message is
	kind          leveret.Kind       // of the first; the others may be events where that is a command
	deadLetters   string             // the queue of its dead letters; empty for requests
	theirs        bool               // that queue is somebody else's
}

// names returns the names of the contracts.
func (q workQueue) names() []string {
	var all []string
	for _, c := range q.contracts {
		all = append(all, c.Spec().Name)
	}
	return all
}

// contractOf returns the name of the contract that a message of the queue belongs to; empty if it belongs to none.
func (q workQueue) contractOf(d *rabbit.Delivery) string {
	for _, c := range q.contracts {
		if spec := c.Spec(); spec.Claims(d, len(q.contracts) == 1) {
			return spec.Name
		}
	}
	return ""
}

// workQueues returns the work queues of the catalog in the configured namespace, sorted by name, but for those of single
// processes.
func (a *App) workQueues() []workQueue { return a.queuesOf(false) }

// processQueues returns those of single processes. A name that ends in * stands for one of each process.
func (a *App) processQueues() []workQueue { return a.queuesOf(true) }

func (a *App) queuesOf(processes bool) []workQueue {
	var all []workQueue
	at := map[string]int{}
	for _, s := range a.Catalog.Services() {
		for _, q := range s.WorkQueues(a.names()) {
			if q.Exclusive != processes {
				continue
			}
			i, known := at[q.Name]
			if !known {
				i = len(all)
				at[q.Name] = i
				a := q.Contract.Spec().Address // which says whose that queue is, whatever its name is
				all = append(all, workQueue{
					name: q.Name, service: s.Name(), kind: q.Contract.Spec().Kind,
					deadLetters: q.DeadLetters, theirs: q.DeadLetters != "" && a != nil && a.DeadLetterQueue != "",
				})
			}
			all[i].contracts = append(all[i].contracts, q.Contract)
		}
	}
	slices.SortStableFunc(all, func(x, y workQueue) int { return cmp.Compare(x.name, y.name) })
	return all
}

// deadLetterQueues returns the work queues that can have dead letters: those of commands and events.
func (a *App) deadLetterQueues() []workQueue {
	return slices.DeleteFunc(a.workQueues(), func(q workQueue) bool { return q.kind == leveret.KindRequest })
}

// theirDeadLetters returns the queues of dead letters that are somebody else's, and the work queues of each, by name.
func (a *App) theirDeadLetters() map[string][]workQueue {
	all := map[string][]workQueue{}
	for _, q := range a.deadLetterQueues() {
		if q.theirs {
			all[q.deadLetters] = append(all[q.deadLetters], q)
		}
	}
	return all
}

// retried returns the contracts of the messages that a service tries again.
func (a *App) retried(s *leveret.Service) []leveret.Spec {
	var all []leveret.Spec
	for _, q := range s.WorkQueues(a.names()) {
		if spec := q.Contract.Spec(); spec.Kind != leveret.KindRequest && !q.Exclusive {
			all = append(all, spec)
		}
	}
	return all
}

// keptStreams returns the streams of the events that are kept.
func (a *App) keptStreams() []shownQueue {
	var all []shownQueue
	for _, c := range a.Catalog.Contracts() {
		if spec := c.Spec(); spec.Kept != nil {
			all = append(all, shownQueue{
				name: a.names().KeptStream(spec.Name), kind: kindKept, contracts: []string{spec.Name}, service: spec.Owner(), kept: *spec.Kept,
			})
		}
	}
	return all
}

// retryTiers returns the retry tiers of the catalog's services, shortest delay first, then the queues of messages whose
// queue was deleted, or that may have crashed a service.
func (a *App) retryTiers() []shownQueue {
	n := a.names()
	delays, lost, quarantines := map[time.Duration][]shownQueue{}, []shownQueue(nil), []shownQueue(nil)
	for _, s := range a.Catalog.Services() {
		retried := a.retried(s)
		for _, c := range retried {
			for _, d := range c.Retry.Delays {
				delays[d] = append(delays[d], shownQueue{name: n.RetryTier(s.Name(), d), kind: kindRetry})
			}
		}
		if len(retried) > 0 {
			lost = append(lost, shownQueue{name: n.RetryLost(s.Name()), kind: kindLost})
			quarantines = append(quarantines, shownQueue{name: n.Quarantine(s.Name()), kind: kindQuarantine, service: s.Name()})
		}
	}
	var all []shownQueue
	for _, d := range slices.Sorted(maps.Keys(delays)) {
		all = append(all, delays[d]...)
	}
	return append(append(all, lost...), quarantines...)
}
