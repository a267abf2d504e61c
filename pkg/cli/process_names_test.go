package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// versioned has the queues of an event, and of its next version, both for each process.
func versioned() ([]shownQueue, map[string]management.Queue) {
	process := func(name string) shownQueue {
		return shownQueue{name: name, stands: name, kind: kindProcess, contracts: []string{name}, service: "desk"}
	}
	return []shownQueue{process("on.order.placed.*"), process("on.order.placed.v2.*"), {name: "work", kind: kindWork}, process("only")},
		map[string]management.Queue{"on.order.placed.a/1": {}, "on.order.placed.v2.a/1": {}, "only": {}, "other": {}, "work": {}}
}

// TestAProcessQueueHasTheLongestName: the name of order.placed fits the queues of order.placed.v2, too.
func TestAProcessQueueHasTheLongestName(t *testing.T) {
	t.Parallel()
	all, managed := versioned()
	of := func(queues []shownQueue) map[string]string {
		found := map[string]string{}
		for _, q := range queues {
			require.NotContains(t, found, q.name)
			found[q.name] = ""
			if q.kind == kindProcess {
				found[q.name] = q.contracts[0]
			}
		}
		return found
	}
	require.Equal(t, map[string]string{
		"on.order.placed.a/1": "on.order.placed.*", "on.order.placed.v2.a/1": "on.order.placed.v2.*", "work": "", "only": "only",
	}, of(live(all, all, managed)))
	require.Equal(t, map[string]string{"on.order.placed.a/1": "on.order.placed.*"}, of(live(all[:1], all, managed)), "one that was asked for")
	for name, want := range map[string]string{
		"on.order.placed.a/1": "on.order.placed.*", "on.order.placed.v2.a/1": "on.order.placed.v2.*", "on.order.placed.v2.a*": "on.order.placed.v2.*",
	} {
		found := ofProcess(all, name)
		require.Len(t, found, 1, name)
		require.Equal(t, shownQueue{name: name, stands: want, kind: kindProcess, contracts: []string{want}, service: "desk"}, found[0])
		require.Len(t, live(found, all, managed), 1)
	}
	require.Empty(t, ofProcess(all, "on.order.cancelled.a/1"))
}

// TestALateListHasTheProcessQueues: where the management API answers after the broker has been asked, they are not left out.
func TestALateListHasTheProcessQueues(t *testing.T) {
	t.Parallel()
	all, managed := versioned()
	l := &look{queues: all, among: all}
	require.Len(t, live(l.queues, l.among, nil), 1)
	l.listing.queues = managed
	var seven state
	seven.Ready = 7
	queues, states := l.completed([]state{seven})
	require.Len(t, queues, 4)
	for i, q := range queues {
		if q.kind == kindProcess {
			require.ErrorIs(t, states[i].err, rabbit.ErrRefused)
		} else {
			require.Equal(t, seven, states[i])
		}
	}
}

// TestContractsOfALetter: without a type it is nobody's, and one whose type several contracts have may be of each.
func TestContractsOfALetter(t *testing.T) {
	t.Parallel()
	at := func(queue, kind string) leveret.ContractOption {
		return leveret.At(leveret.Address{Queue: queue, External: true, Type: kind})
	}
	a := &App{Catalog: leveret.NewCatalog(leveret.NewService("desk", leveret.Handles(
		leveret.NewCommand[string]("desk.first", at("first", "")), leveret.NewCommand[string]("desk.second", at("second", "order")),
		leveret.NewCommand[string]("desk.third", at("third", "order")), leveret.NewCommand[string]("desk.fourth", at("fourth", leveret.NoType)))))}
	require.NoError(t, a.Catalog.Err())
	for k, want := range map[letterKind][]string{
		{queue: "elsewhere"}: nil, {queue: "elsewhere", contract: "order"}: {"desk.second", "desk.third"},
		{queue: "elsewhere", contract: "desk.first"}: {"desk.first"}, {queue: "third", contract: "desk.third"}: {"desk.third"},
		{queue: "fourth"}: {"desk.fourth"}, {source: "first.dlq"}: {"desk.first"},
	} {
		var names []string
		for _, c := range a.contractsOf(k) {
			names = append(names, c.Spec().Name)
		}
		require.Equal(t, want, names, "%+v", k)
	}
}
