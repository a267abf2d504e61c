package cli

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A workQueue is a queue from which a service of the catalog consumes the messages of a contract.
type workQueue struct {
	name, contract, service string
	kind                    leveret.Kind
}

// workQueues returns the work queues of the catalog in the configured namespace, sorted by name, but for those of single
// processes.
func (a *App) workQueues() []workQueue { return a.queuesOf(false) }

// processQueues returns those of single processes. A name that ends in * stands for one of each process.
func (a *App) processQueues() []workQueue { return a.queuesOf(true) }

func (a *App) queuesOf(processes bool) []workQueue {
	var all []workQueue
	for _, s := range a.Catalog.Services() {
		for _, q := range s.WorkQueues(a.names()) {
			if q.Exclusive != processes {
				continue
			}
			spec := q.Contract.Spec()
			all = append(all, workQueue{name: q.Name, contract: spec.Name, service: s.Name(), kind: spec.Kind})
		}
	}
	slices.SortStableFunc(all, func(x, y workQueue) int { return cmp.Compare(x.name, y.name) })
	return all
}

// deadLetterQueues returns the work queues that can have dead letters: those of commands and events.
func (a *App) deadLetterQueues() []workQueue {
	all := slices.DeleteFunc(a.workQueues(), func(q workQueue) bool { return q.kind == leveret.KindRequest })
	return slices.CompactFunc(all, func(x, y workQueue) bool { return x.name == y.name })
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
