package cli

import (
	"cmp"
	"slices"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A workQueue is a queue from which a service of the catalog takes the messages of a contract.
type workQueue struct {
	name, contract, service string
	kind                    leveret.Kind
}

// workQueues returns the work queues of the catalog, with their names as the configured namespace makes them, in order.
func (a *App) workQueues() []workQueue {
	var all []workQueue
	for _, s := range a.Catalog.Services() {
		for _, q := range s.WorkQueues(a.names()) {
			spec := q.Contract.Spec()
			all = append(all, workQueue{name: q.Name, contract: spec.Name, service: s.Name(), kind: spec.Kind})
		}
	}
	slices.SortStableFunc(all, func(x, y workQueue) int { return cmp.Compare(x.name, y.name) })
	return slices.CompactFunc(all, func(x, y workQueue) bool { return x.name == y.name })
}
