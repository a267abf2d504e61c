package leveret

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// replyExchange returns the exchange through which a request is answered. Others answer through the default one.
func (s *Spec) replyExchange(n topology.Names) string {
	if s.external() {
		return ""
	}
	return n.ReplyExchange(s.Owner())
}

// external reports whether the exchange and the queue belong to somebody else.
func (s *Spec) external() bool { return s.Address != nil && s.Address.External }

// QueueName returns the name of the queue from which a service takes the messages of a contract. For an event, service
// is the subscriber, and subscription the name given with [As], or "". For [topology.PerProcess] it is a pattern: each process
// has its own instance in place of the * at the end.
func QueueName(n topology.Names, c Contract, service, subscription string) string {
	s := c.Spec()
	switch a := s.Address; {
	case s.Kind == KindEvent && subscription == topology.PerProcess:
		return n.ProcessQueue(service, s.Name, "*")
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

// deadLetters returns the name of the queue that keeps the failed messages of a contract's queue.
func (s *Spec) deadLetters(n topology.Names, queue, subscription string) string {
	switch s.givenUp(subscription) {
	case VerdictReject:
		return s.Address.DeadLetterQueue
	case VerdictDeadLetter:
		return n.DeadLetterQueue(queue)
	default:
		return ""
	}
}

// processBindings returns the bindings that the address has for the queue of each process.
func (s *Spec) processBindings() []topology.Binding {
	if s.Address == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.Address.Topology.Bindings), func(b topology.Binding) bool { return b.Queue != "" })
}

// A WorkQueue is a queue from which a service takes the messages of a contract.
type WorkQueue struct {
	Name     string
	Contract Contract
	// Subscription is the name given with [SubscribesAs]; empty for the plain subscription, and for commands and requests.
	// That of [SubscribesPerProcess] is [topology.PerProcess], and Name then ends in a * where each process has its own
	// instance.
	Subscription string
	// DeadLetters is the queue that keeps its failed messages; empty where there is none.
	DeadLetters string
	// Exclusive says that the queue belongs to one process and goes with it. It has no retries, and no dead letters of ours.
	Exclusive bool
}

// exclusive reports whether the queue that a subscription's messages are taken from belongs to one process.
func (s *Spec) exclusive(subscription string) bool {
	return s.Kind == KindEvent && subscription == topology.PerProcess ||
		s.Address != nil && slices.ContainsFunc(s.Address.Topology.Queues, func(q topology.Queue) bool { return q.Exclusive })
}

// WorkQueues returns the queues from which the service takes messages, in the order in which it declared its contracts. A
// queue of several contracts is there once for each.
func (s *Service) WorkQueues(n topology.Names) []WorkQueue {
	var queues []WorkQueue
	for _, u := range s.serves() {
		spec, queue := u.contract.Spec(), QueueName(n, u.contract, s.name, u.name)
		queues = append(queues, WorkQueue{queue, u.contract, u.name, spec.deadLetters(n, queue, u.name), spec.exclusive(u.name)})
	}
	return queues
}

// Topology returns everything that must exist on a broker for the service to run: exchanges, queues and bindings.
// The queues of its requests are of the given type. Queues that belong to one process are not part of it.
func (s *Service) Topology(n topology.Names, requestQueues topology.QueueType) topology.Topology {
	parts := make([]topology.Topology, 0, len(s.uses))
	for _, u := range s.uses {
		parts = append(parts, u.topology(n, s.name, "", requestQueues))
	}
	var t topology.Topology
	t.Add(parts...)
	return t
}

// topology returns what one use of a contract needs. A sender declares a command's queue as the worker does, so that a
// command sent before the first worker ever ran waits; a caller does not declare a request's queue, so that a request
// that nobody serves comes back. What is external is declared in the form that its address gives, or not at all; the
// queues for its failed messages are ours, but for a DeadLetterQueue. Queues that belong to one process are part of it where
// that has an instance.
func (u use) topology(n topology.Names, service, instance string, requestQueues topology.QueueType) topology.Topology {
	s := u.contract.Spec()
	exchange, routingKey := s.Route(n)
	queue := QueueName(n, u.contract, service, u.name)
	var t topology.Topology
	switch external := s.external(); {
	case external && (u.role == RoleCalls || u.role == RolePublishes || u.name == topology.PerProcess || instance == "" && s.exclusive(u.name)):
		t.Exchanges = s.Address.Topology.Exchanges
	case u.role == RoleCalls:
		t = n.Calling(s.Owner(), exchange)
	case external:
		t = s.Address.Topology
	case s.Kept != nil && (u.role == RolePublishes || u.role == RoleReads):
		t = n.Kept(exchange, routingKey, s.Name, s.Kept.Age, s.Kept.Bytes)
	case u.role == RolePublishes, u.name == topology.PerProcess:
		t.Exchanges = []topology.Exchange{exchange}
	case u.role == RoleAnswers:
		t = n.Request(s.Owner(), exchange, routingKey, queue, requestQueues)
	case u.role == RoleSends:
		t = n.Work(s.Owner(), exchange, routingKey, queue)
	default:
		t = n.Work(service, exchange, routingKey, queue)
	}
	if instance != "" && u.name == topology.PerProcess {
		bindings := s.processBindings()
		if len(bindings) == 0 {
			bindings = []topology.Binding{{Exchange: exchange.Name, RoutingKey: routingKey}}
		}
		t.Add(n.Process(service, s.Name, instance, bindings...))
	}
	if u.works() {
		if s.givenUp(u.name) == VerdictDeadLetter {
			t.Add(n.Failing(service, queue))
		}
		t.Add(n.Returning(service, queue), n.RetryTiers(service, s.Retry.Delays...), n.QuarantineQueue(service))
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
		spec := u.contract.Spec()
		_, routingKey := spec.Route(n)
		check("routing key", routingKey)
		queue := QueueName(n, u.contract, s.name, u.name)
		if u.name == topology.PerProcess {
			queue += strings.Repeat("*", maxInstance+8) // of the longest instance, made unique
		}
		if u.role.serves() || u.role == RoleSends {
			check("queue", queue)
		}
		if spec.Kept != nil {
			check("stream", n.KeptStream(spec.Name))
		}
		if u.works() || u.role == RoleSends {
			check("queue", spec.deadLetters(n, queue, u.name))
		}
	}
	return errors.Join(errs...)
}
