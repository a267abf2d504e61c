package cli

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
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

// delays returns the delays of all retry tiers, shortest first.
func (a *App) delays() []time.Duration {
	all := map[time.Duration]bool{}
	for _, s := range a.Catalog.Services() {
		for _, q := range s.WorkQueues(topology.Names{}) {
			if spec := q.Contract.Spec(); spec.Kind != leveret.KindRequest {
				for _, delay := range spec.Retry.Delays {
					all[delay] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}
