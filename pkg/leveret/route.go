package leveret

import "github.com/leveretmq/leveret/pkg/topology"

// route is where the messages of a contract are published. An exchange without a name is the broker's default one,
// which takes the name of a queue as its routing key.
func route(n topology.Names, s *Spec) (exchange topology.Exchange, routingKey string) {
	if a := s.Address; a != nil && (a.RoutingKey != "" || a.External) {
		exchange.Name, routingKey = a.Exchange, a.RoutingKey
		if routingKey == "" && exchange.Name == "" {
			routingKey = a.Queue
		}
		exchange.Type = topology.Direct
		if s.Kind == KindEvent {
			exchange.Type = topology.Topic
		}
		return exchange, routingKey
	}
	switch s.Kind {
	case KindCommand:
		exchange = topology.Exchange{Name: n.CommandExchange(), Type: topology.Direct}
	case KindEvent:
		exchange = topology.Exchange{Name: n.EventExchange(), Type: topology.Topic}
	case KindRequest:
		exchange = topology.Exchange{Name: n.RequestExchange(), Type: topology.Direct}
	}
	return exchange, n.RoutingKey(s.Name)
}

// Queue returns the queue from which a service takes the messages of a contract. For an event, service is the
// subscriber, and subscription the name given with [As], or "".
func Queue(n topology.Names, c Contract, service, subscription string) string {
	s := c.Spec()
	if s.Address != nil && s.Address.Queue != "" {
		return s.Address.Queue
	}
	if s.Kind == KindEvent {
		return n.SubscriptionQueue(service, subscription, s.Name)
	}
	return n.ContractQueue(s.Name)
}

// A WorkQueue is a queue from which a service takes the messages of a contract.
type WorkQueue struct {
	Name     string
	Contract Contract
	// Subscription is the name given with [SubscribesAs]; empty for the plain subscription, and for commands and requests.
	Subscription string
}

// WorkQueues returns the queues from which the service takes messages, in the order in which it declared its contracts.
func (s *Service) WorkQueues(n topology.Names) []WorkQueue {
	var queues []WorkQueue
	for _, u := range s.serves() {
		queues = append(queues, WorkQueue{Queue(n, u.contract, s.name, u.name), u.contract, u.name})
	}
	return queues
}

// Topology returns everything that must exist on a broker for the service to run: exchanges, queues and bindings.
// The queues of its requests are of the given type, "classic" or "quorum".
func (s *Service) Topology(n topology.Names, requestQueueType string) topology.Topology {
	var t topology.Topology
	for _, u := range s.uses {
		t.Add(u.topology(n, s.name, requestQueueType))
	}
	return t
}

// topology is what one use of a contract needs. A sender declares a command's queue as the worker does, so that a
// command sent before the first worker ever ran waits; a caller declares no request's queue, so that a request nobody
// serves comes back. What is external is never declared; its failures are ours all the same.
func (u use) topology(n topology.Names, service, requestQueueType string) topology.Topology {
	s := u.contract.Spec()
	exchange, routingKey := route(n, s)
	queue := Queue(n, u.contract, service, u.name)
	external := s.Address != nil && s.Address.External
	var t topology.Topology
	switch u.role {
	case RoleHandles, RoleSubscribes:
		if external {
			t = n.Failing(queue)
		} else {
			t = n.Work(exchange, routingKey, queue)
		}
		t.Add(n.RetryTiers(s.Retry.Delays...))
	case RoleAnswers:
		if !external {
			t = n.Request(exchange, routingKey, queue, requestQueueType)
		}
	case RoleSends:
		if !external {
			t = n.Work(exchange, routingKey, queue)
		}
	case RolePublishes:
		if !external {
			t = topology.Topology{Exchanges: []topology.Exchange{exchange}}
		}
	case RoleCalls:
		if !external {
			t = n.Requests()
		}
	}
	return t
}
