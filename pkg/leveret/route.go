package leveret

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/pkg/topology"
)

// Route returns where the messages of a contract are published. An exchange without a name is the broker's default one,
// which takes the name of a queue as its routing key.
func (s Spec) Route(n topology.Names) (exchange topology.Exchange, routingKey string) {
	exchange = [...]topology.Exchange{
		KindCommand: {Name: n.CommandExchange(s.Owner()), Type: topology.Direct},
		KindEvent:   {Name: n.EventExchange(s.Owner()), Type: topology.Topic},
		KindRequest: {Name: n.RequestExchange(s.Owner()), Type: topology.Direct},
	}[s.Kind]
	routingKey = n.RoutingKey(s.Name)
	switch a := s.Address; {
	case a == nil:
	case a.External:
		exchange.Name, routingKey = a.Exchange, a.RoutingKey
		if i := slices.IndexFunc(a.Topology.Exchanges, func(e topology.Exchange) bool { return e.Name == a.Exchange }); i >= 0 {
			exchange = a.Topology.Exchanges[i]
		}
		if exchange.Name == "" {
			routingKey = cmp.Or(routingKey, a.Queue)
		}
	default:
		exchange.Name, routingKey = cmp.Or(a.Exchange, exchange.Name), cmp.Or(a.RoutingKey, routingKey)
	}
	return exchange, routingKey
}

// external reports whether the exchange and the queue belong to somebody else.
func (s *Spec) external() bool { return s.Address != nil && s.Address.External }

// QueueName returns the name of the queue from which a service takes the messages of a contract. For an event, service
// is the subscriber, and subscription the name given with [As], or "".
func QueueName(n topology.Names, c Contract, service, subscription string) string {
	s := c.Spec()
	switch a := s.Address; {
	case a != nil && a.Queue != "":
		return a.Queue
	case a != nil && a.External && a.Exchange == "" && a.RoutingKey != "":
		return a.RoutingKey // the default exchange's
	case s.Kind == KindEvent:
		return n.SubscriptionQueue(service, subscription, s.Name)
	default:
		return n.ContractQueue(s.Name)
	}
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
		queues = append(queues, WorkQueue{QueueName(n, u.contract, s.name, u.name), u.contract, u.name})
	}
	return queues
}

// Topology returns everything that must exist on a broker for the service to run: exchanges, queues and bindings.
// The queues of its requests are of the given type.
func (s *Service) Topology(n topology.Names, requestQueues topology.QueueType) topology.Topology {
	parts := make([]topology.Topology, 0, len(s.uses))
	for _, u := range s.uses {
		parts = append(parts, u.topology(n, s.name, requestQueues))
	}
	var t topology.Topology
	t.Add(parts...)
	return t
}

// topology returns what one use of a contract needs. A sender declares a command's queue as the worker does, so that a
// command sent before the first worker ever ran waits; a caller does not declare a request's queue, so that a request
// that nobody serves comes back. What is external is declared in the form that its address gives, or not at all; the
// queues for its failed messages are ours.
func (u use) topology(n topology.Names, service string, requestQueues topology.QueueType) topology.Topology {
	s := u.contract.Spec()
	exchange, routingKey := s.Route(n)
	queue := QueueName(n, u.contract, service, u.name)
	var t topology.Topology
	switch external := s.external(); {
	case external && (u.role == RoleCalls || u.role == RolePublishes):
		t.Exchanges = s.Address.Topology.Exchanges
	case u.role == RoleCalls:
		t = n.Calling(s.Owner(), exchange)
	case external:
		t = s.Address.Topology
	case u.role == RolePublishes:
		t.Exchanges = []topology.Exchange{exchange}
	case u.role == RoleAnswers:
		t = n.Request(s.Owner(), exchange, routingKey, queue, requestQueues)
	case u.role == RoleSends:
		t = n.Work(s.Owner(), exchange, routingKey, queue)
	default:
		t = n.Work(service, exchange, routingKey, queue)
	}
	if u.role.works() {
		t.Add(n.Failing(service, queue), n.RetryTiers(service, s.Retry.Delays...), n.QuarantineQueue(service))
	}
	if u.role.serves() {
		t.Add(n.Serving(service))
	}
	return t
}

// checkNames finds names that AMQP cannot carry. The names that are not looked at are short enough whatever they hold.
func (s *Service) checkNames(n topology.Names) error {
	var errs []error
	seen := map[string]bool{}
	check := func(what, name string) {
		if len(name) > maxShortString && !seen[name] {
			seen[name] = true
			errs = append(errs, fmt.Errorf("the %s %q has %d bytes; AMQP allows %d", what, name, len(name), maxShortString))
		}
	}
	for _, u := range s.uses {
		_, routingKey := u.contract.Spec().Route(n)
		check("routing key", routingKey)
		queue := QueueName(n, u.contract, s.name, u.name)
		if u.role.serves() || u.role == RoleSends {
			check("queue", queue)
		}
		if u.role.works() || u.role == RoleSends {
			check("queue", n.DeadLetterQueue(queue))
		}
	}
	return errors.Join(errs...)
}
