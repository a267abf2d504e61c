package conformance

import (
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/topology"
)

// A Role is what a client does.
type Role string

// The roles.
const (
	Worker   Role = "worker"   // handles a command
	Answerer Role = "answerer" // answers a request
	Sender   Role = "sender"   // sends commands and publishes events
	Caller   Role = "caller"   // makes requests
	Listener Role = "listener" // listens to an event
)

// roles are those that have rules.
var roles = []Role{Worker, Answerer, Sender, Caller, Listener}

// RoleNames returns the names of all roles.
func RoleNames() []string {
	all := make([]string, len(roles))
	for i, r := range roles {
		all[i] = string(r)
	}
	return all
}

// The kit's own contracts.
const (
	Work     = "conformance.work"     // a command
	Happened = "conformance.happened" // an event
	Ask      = "conformance.ask"      // a request

	service = "conformance"
)

// roleSetup is what the kit has ready for a role.
type roleSetup struct {
	exchange, key string // where the kit publishes what the client takes
	queue         string // from which the client takes it; empty if it takes nothing
	topology      func() topology.Topology
}

var setups = map[Role]roleSetup{
	Worker: {exchange: "commands", key: Work, queue: Work, topology: func() topology.Topology {
		return withTiers(names.Work(service, commands, Work, Work))
	}},
	Answerer: {exchange: "requests", key: Ask, queue: Ask, topology: func() topology.Topology {
		return names.Request(service, requests, Ask, Ask, topology.Classic)
	}},
	Listener: {exchange: events.Name, key: Happened, queue: Subscription, topology: listenerTopology},
	Caller: {topology: func() topology.Topology {
		return names.Request(service, requests, Ask, Ask, topology.Classic)
	}},
	Sender: {topology: func() topology.Topology {
		t := withTiers(names.Work(service, commands, Work, Work))
		t.Exchanges = append(t.Exchanges, events)
		return t
	}},
}

var (
	names    = topology.Names{}
	commands = topology.Exchange{Name: names.CommandExchange(service), Type: topology.Direct}
	events   = topology.Exchange{Name: names.EventExchange(service), Type: topology.Topic}
	requests = topology.Exchange{Name: names.RequestExchange(service), Type: topology.Direct}
)

func withTiers(t topology.Topology) topology.Topology {
	t.Add(names.RetryTiers(service, time.Second, 10*time.Second, time.Minute, 10*time.Minute))
	// Nothing comes back from the tiers, to be in the way of what the kit does then: it ends in retry.lost.
	t.Bindings = slices.DeleteFunc(t.Bindings, func(b topology.Binding) bool { return b.Exchange == names.RetryReturnExchange(service) })
	return t
}
