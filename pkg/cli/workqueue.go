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

// workQueues returns the work queues of the catalog in the configured namespace, sorted by name.
func (a *App) workQueues() []workQueue {
	var all []workQueue
	for _, s := range a.Catalog.Services() {
		for _, q := range s.WorkQueues(a.names()) {
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

// retryTiers returns the retry tiers of the catalog's services, shortest delay first, then the queues of messages whose
// queue was deleted, or that may have crashed a service.
func (a *App) retryTiers() []shownQueue {
	n := a.names()
	delays, lost, quarantines := map[time.Duration][]shownQueue{}, []shownQueue(nil), []shownQueue(nil)
	for _, s := range a.Catalog.Services() {
		failing := false
		for _, role := range []leveret.Role{leveret.RoleHandles, leveret.RoleSubscribes} {
			for _, c := range s.Contracts(role) {
				failing = true
				for _, d := range c.Spec().Retry.Delays {
					delays[d] = append(delays[d], shownQueue{name: n.RetryTier(s.Name(), d), kind: kindRetry})
				}
			}
		}
		if failing {
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
