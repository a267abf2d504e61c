package definitions

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/topology"
)

// user is somebody who may use RabbitMQ, and what for.
type user struct {
	name                   string
	tags                   []string
	configure, write, read names
	queues, exchanges      names // of all these, which are meant as which
	own                    names // the queues that are its own
	folds                  names // what may stand for others if a pattern gets too long
}

func newUser(name string, tags ...string) *user {
	return &user{name, tags, names{}, names{}, names{}, names{}, names{}, names{}, names{}}
}

// publish allows to publish to an exchange, which may be the default one.
func (u *user) publish(exchange string) {
	if exchange == "" {
		exchange = "amq.default"
	}
	u.write.add(exchange)
	u.exchanges.add(exchange)
}

// take allows to take the messages of queues.
func (u *user) take(queues ...string) {
	u.read.add(queues...)
	u.queues.add(queues...)
}

// declare allows to declare a queue, to bind it to exchanges, and to take its messages.
func (u *user) declare(queue string, exchanges ...string) {
	u.take(queue)
	u.configure.add(queue)
	u.write.add(queue)
	for _, e := range exchanges {
		if e != "" {
			u.read.add(e)
			u.exchanges.add(e)
		}
	}
}

// service returns the user of a service.
func (o Options) service(s *leveret.Service) *user {
	u := newUser(s.Name())
	u.folds.add(o.Names.ContractQueue(s.Name()) + "." + many)
	o.sends(u, s)
	queues := s.WorkQueues(o.Names)
	for _, q := range queues {
		u.own.add(q.Name, q.DeadLetters)
		o.takes(u, s, q)
	}
	for _, c := range s.Contracts(leveret.RoleReads) {
		u.take(o.Names.KeptStream(c.Spec().Name))
	}
	if len(queues) > 0 {
		o.asked(u, s)
	}
	return u
}

// sends allows what a sender, publisher or caller needs.
func (o Options) sends(u *user, s *leveret.Service) {
	n := o.Names
	for _, role := range []leveret.Role{leveret.RoleSends, leveret.RolePublishes, leveret.RoleCalls} {
		for _, c := range s.Contracts(role) {
			spec := c.Spec()
			exchange, _ := spec.Route(n)
			u.publish(exchange.Name)
			if role != leveret.RoleCalls {
				continue
			}
			var through string
			if !external(spec) {
				u.publish(n.ControlExchange(spec.Owner()))
				through = n.ReplyExchange(spec.Owner())
			}
			if o.ReplyQueue || n.Layout == topology.Isolated { // direct reply-to needs no right
				u.declare(n.ReplyQueue(s.Name(), many), through)
			}
		}
	}
}

// takes allows what it needs to handle the messages of a queue, and to put aside those that fail.
func (o Options) takes(u *user, s *leveret.Service, q leveret.WorkQueue) {
	n, spec := o.Names, q.Contract.Spec()
	exchange, _ := spec.Route(n)
	switch {
	case q.Exclusive:
		name := q.Name
		if q.Subscription == topology.PerProcess {
			name = n.ProcessQueue(s.Name(), spec.Name, many)
		}
		u.declare(name, sources(spec, q, exchange.Name)...)
	case spec.Kind != leveret.KindRequest:
		u.take(q.Name, n.Quarantine(s.Name()))
		u.publish(n.Quarantine(s.Name()))
		u.publish(n.RetryReturnExchange(s.Name()))
		for _, tier := range tiers(n, s.Name(), spec) {
			u.publish(tier)
			u.queues.add(tier) // it has the same name
		}
		if q.DeadLetters == n.DeadLetterQueue(q.Name) {
			u.publish(n.DeadLetterExchange(s.Name()))
		} else {
			u.publish("") // a suspect goes to somebody else's queue
		}
	case external(spec):
		u.take(q.Name)
		u.publish("")
	default:
		u.declare(q.Name, exchange.Name) // it may have expired
		u.publish(n.ReplyExchange(s.Name()))
		u.declare(n.ControlQueue(s.Name(), many), n.ControlExchange(s.Name()))
	}
}

// asked allows a service to be asked by operators what it is doing, and to answer. Answers through the default exchange
// are no reason for a right to that.
func (o Options) asked(u *user, s *leveret.Service) {
	n := o.Names
	switch {
	case n.Layout == topology.Isolated:
		u.publish(n.OperatorExchange(s.Name()))
	case !u.write["amq.default"]:
		return
	}
	u.declare(n.ControlQueue(s.Name(), many), n.OperatorExchange(s.Name()))
}

// operator returns the user of operators: see docs/operations.md for what each command needs.
func (o Options) operator(c *leveret.Catalog) *user {
	n, u := o.Names, newUser(o.Operator, "monitoring")
	for _, event := range c.Contracts() {
		if event.Spec().Kept != nil {
			u.take(n.KeptStream(event.Spec().Name))
		}
	}
	u.folds.add(n.KeptStream(many), n.DeadLetterQueue(n.ContractQueue(many)), n.RetryLost(many), n.RetryReturnExchange(many), n.OperatorExchange(many))
	for _, s := range c.Services() {
		queues := s.WorkQueues(n)
		for _, q := range queues {
			if q.DeadLetters == "" {
				continue
			}
			u.take(q.DeadLetters, n.RetryLost(s.Name()))
			u.take(tiers(n, s.Name(), q.Contract.Spec())...)
			u.folds.add(tiers(n, many, q.Contract.Spec())...)
			u.exchanges.add(n.RetryLost(s.Name()))
			u.exchanges.add(tiers(n, s.Name(), q.Contract.Spec())...)
			u.publish(n.RetryReturnExchange(s.Name()))
		}
		if len(queues) == 0 {
			continue
		}
		u.publish(n.OperatorExchange(s.Name()))
		if n.Layout == topology.Isolated {
			u.declare(n.ReplyQueue(operator.Name, many), n.OperatorExchange(s.Name()))
		}
	}
	return u
}

func external(s leveret.Spec) bool { return s.Address != nil && s.Address.External }

// tiers returns the retry tiers of a contract in a service, each of which is an exchange and a queue.
func tiers(n topology.Names, service string, s leveret.Spec) []string {
	var all []string
	for _, d := range s.Retry.Delays {
		all = append(all, n.RetryTier(service, d))
	}
	return all
}

// sources returns the exchanges that the queue of a process is bound to.
func sources(s leveret.Spec, q leveret.WorkQueue, exchange string) []string {
	var all []string
	if s.Address != nil {
		for _, b := range s.Address.Topology.Bindings {
			if b.Queue == "" && q.Subscription == topology.PerProcess || b.Queue == q.Name {
				all = append(all, b.Exchange)
			}
		}
	}
	if len(all) == 0 {
		return []string{exchange}
	}
	return all
}

// check finds what the user's patterns reach beside what they are meant for: an exchange that has the name of one of
// its queues, for instance.
func (u *user) check(p Permission, t topology.Topology, users []*user) error {
	queues, exchanges, others := names{}, names{"amq.default": true}, names{}
	for _, q := range t.Queues {
		queues.add(q.Name)
	}
	for _, other := range users {
		maps.Copy(queues, other.configure)      // those of processes too
		if other != u && len(other.tags) == 0 { // operators take what is everybody's
			maps.Copy(others, other.own)
			maps.Copy(others, other.configure)
			maps.Copy(others, other.queues)
		}
	}
	for _, e := range t.Exchanges {
		exchanges.add(e.Name)
	}
	reached := names{}
	for _, pattern := range []string{p.Configure, p.Write, p.Read} {
		allows := regexp.MustCompile("(?s)" + pattern)
		for name := range queues {
			if !allows.MatchString(name) || u.queues[name] {
				continue
			}
			// What stands for many may reach further queues of its own.
			if others.cover(name) || !u.queues.cover(name) && !u.folds.cover(name) {
				reached.add(fmt.Sprintf("the queue %q", readable(name)))
			}
		}
		for name := range exchanges {
			if allows.MatchString(name) && !u.exchanges.cover(name) {
				reached.add(fmt.Sprintf("the exchange %q", readable(name)))
			}
		}
	}
	if len(reached) == 0 {
		return nil
	}
	return fmt.Errorf("the user %q would reach %s, since it needs something of that name, or of a longer one: rename the service that gives the name",
		u.name, strings.Join(slices.Sorted(maps.Keys(reached)), ", "))
}

// readable returns a name as people write it that stands for many.
func readable(name string) string { return strings.ReplaceAll(name, many, "*") }
