package definitions_test

import (
	"slices"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/topology"
)

// needs are what somebody needs to do what the contracts say, written down from the roles and not from permissions.
// What is not in here belongs to others.
type needs struct {
	publish map[string]bool // to these exchanges
	listen  map[string]bool // to these exchanges, with a queue of its own
	take    map[string]bool // the messages of these queues
	declare map[string]bool // these queues, which are its own
	reach   map[string]bool // these queues: what it publishes may arrive there
}

// A right is one to a name, whether that is an exchange's or a queue's. Tiers and quarantines are both, each of one
// owner.

// binds reports whether a queue may be bound to what is heard.
func (n needs) binds(queue string) bool { return n.declare[queue] || n.publish[queue] }

// hears reports whether a queue may be bound to an exchange.
func (n needs) hears(exchange string) bool { return n.listen[exchange] || n.take[exchange] }

// live is the instance of the one process that each service has in these tests.
const live = "live"

// needsOf returns what a service needs; nil stands for the operators.
func (s *system) needsOf(me *leveret.Service) needs {
	n, need := s.names, needs{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	if me == nil {
		s.operates(need)
		return need
	}
	for _, c := range me.Contracts(leveret.RoleSends) {
		add(need.publish, n.CommandExchange(c.Spec().Owner()))
		add(need.reach, n.ContractQueue(c.Spec().Name))
	}
	for _, c := range me.Contracts(leveret.RolePublishes) {
		add(need.publish, n.EventExchange(me.Name()))
		if spec := c.Spec(); spec.Kept != nil {
			add(need.reach, n.KeptStream(spec.Name))
		}
		for _, other := range s.catalog.Services() {
			for _, q := range other.WorkQueues(n) {
				if q.Contract == c {
					add(need.reach, q.Name)
				}
			}
		}
	}
	for _, c := range me.Contracts(leveret.RoleReads) {
		add(need.take, n.KeptStream(c.Spec().Name))
	}
	for _, c := range me.Contracts(leveret.RoleCalls) {
		owner := c.Spec().Owner()
		add(need.publish, n.RequestExchange(owner), n.ControlExchange(owner))
		add(need.reach, n.ContractQueue(c.Spec().Name), n.ControlQueue(owner, live))
		s.isReplied(need, me.Name(), n.ReplyExchange(owner))
	}
	for _, c := range me.Contracts(leveret.RoleAnswers) {
		queue := n.ContractQueue(c.Spec().Name)
		add(need.declare, queue, n.ControlQueue(me.Name(), live)) // the former may have expired
		add(need.take, queue, n.ControlQueue(me.Name(), live))
		add(need.listen, n.RequestExchange(me.Name()), n.ControlExchange(me.Name()))
		add(need.publish, n.ReplyExchange(me.Name())) // in the shared layout, the default exchange
		for _, other := range s.catalog.Services() {
			if slices.Contains(other.Contracts(leveret.RoleCalls), c) && n.Layout == topology.Isolated {
				add(need.reach, n.ReplyQueue(other.Name(), live))
			}
		}
	}
	for _, role := range []leveret.Role{leveret.RoleHandles, leveret.RoleSubscribes} {
		if len(me.Contracts(role)) > 0 {
			s.puts(need, me)
		}
	}
	if len(me.WorkQueues(n)) > 0 && (n.Layout == topology.Isolated || len(me.Contracts(leveret.RoleAnswers)) > 0) {
		add(need.declare, n.ControlQueue(me.Name(), live))
		add(need.take, n.ControlQueue(me.Name(), live))
		add(need.listen, n.OperatorExchange(me.Name()))
		if n.Layout == topology.Isolated {
			add(need.publish, n.OperatorExchange(me.Name()))
			add(need.reach, n.ReplyQueue(operator.Name, live))
		}
	}
	for q := range s.queuesOf(me) {
		add(need.reach, q)
	}
	return need
}

// puts adds what failing needs: to put messages aside, and to take what might crash the service.
func (s *system) puts(need needs, me *leveret.Service) {
	n := s.names
	for _, q := range me.WorkQueues(n) {
		if q.Contract.Spec().Kind == leveret.KindRequest {
			continue
		}
		add(need.take, q.Name)
		for _, d := range q.Contract.Spec().Retry.Delays {
			add(need.publish, n.RetryTier(me.Name(), d))
			add(need.reach, n.RetryTier(me.Name(), d))
		}
	}
	add(need.take, n.Quarantine(me.Name()))
	add(need.publish, n.Quarantine(me.Name()), n.DeadLetterExchange(me.Name()), n.RetryReturnExchange(me.Name()))
	add(need.reach, n.RetryLost(me.Name()))
}

// operates adds what the commands of the command line need: to ask processes what they do, to read and replay what is
// put aside, to read and replay what is kept.
func (s *system) operates(need needs) {
	n := s.names
	for _, c := range s.catalog.Contracts() {
		if spec := c.Spec(); spec.Kept != nil {
			add(need.take, n.KeptStream(spec.Name))
		}
	}
	for _, other := range s.catalog.Services() {
		for _, q := range other.WorkQueues(n) {
			add(need.publish, n.OperatorExchange(other.Name()))
			add(need.reach, n.ControlQueue(other.Name(), live))
			s.isReplied(need, operator.Name, n.OperatorExchange(other.Name()))
			if q.Contract.Spec().Kind == leveret.KindRequest {
				continue
			}
			add(need.take, n.DeadLetterQueue(q.Name), n.RetryLost(other.Name()))
			add(need.publish, n.RetryReturnExchange(other.Name()))
			add(need.reach, q.Name, n.RetryLost(other.Name()))
			for _, d := range q.Contract.Spec().Retry.Delays {
				add(need.take, n.RetryTier(other.Name(), d))
			}
		}
	}
}

// isReplied adds what somebody needs to be answered through an exchange: nothing in the shared layout, thanks to direct
// reply-to.
func (s *system) isReplied(need needs, me, through string) {
	if s.names.Layout != topology.Isolated {
		return
	}
	queue := s.names.ReplyQueue(me, live)
	add(need.declare, queue)
	add(need.take, queue)
	add(need.reach, queue)
	add(need.listen, through)
}

// queuesOf returns the queues of a service: what it takes messages from, what it puts aside, and those of its process.
func (s *system) queuesOf(me *leveret.Service) map[string]bool {
	n, own := s.names, map[string]bool{}
	for _, q := range me.WorkQueues(n) {
		add(own, q.Name)
		if q.DeadLetters != "" {
			add(own, q.DeadLetters, n.Quarantine(me.Name()))
		}
		if q.DeadLetters != "" && n.Layout == topology.Isolated {
			add(own, n.RetryLost(me.Name()))
			for _, d := range q.Contract.Spec().Retry.Delays {
				add(own, n.RetryTier(me.Name(), d))
			}
		}
	}
	add(own, n.ControlQueue(me.Name(), live), n.ReplyQueue(me.Name(), live))
	return own
}

func add(set map[string]bool, all ...string) {
	for _, one := range all {
		set[one] = true
	}
}
